"""What each axis does on average: marginal means with intervals, and shares of variance. Plots of `importance`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.bootstrap import Interval, mean_interval
from analysis.configs import common_scores, finished, label, levels, method_of
from analysis.importance import Importance
from analysis.plots import Chart, Marks
from analysis.results import Results
from analysis.table import Evidence, config_name
from vqlora.record import Record

MOST_LEVELS = 24
MARGINAL = (
    "averaged over the trained configurations there, each weighing the same. In a study that is not a full grid, "
    "values also differ in what else they were tried with. Bars: 95% bootstrap over clips and seeds."
)


def plots(evidence: Evidence, found: Results, explained: Importance | None) -> list[Chart]:
    """Marginal means by level and, where it can be asked, importance; none where no axis varies."""
    charts = [_marginal(evidence, found)]
    charts += [_importance(found, explained)] if explained and len(explained.shares) > 1 else []
    return [chart for chart in charts if chart]


def _marginal(evidence: Evidence, found: Results) -> Chart | None:
    """Test score of each level of each axis, averaged over everything else that was trained there."""
    name = f"test.{found.metric}"
    trained = [r for r in finished(evidence) if method_of(r) != "zero_shot" and found.metric in r.metrics["test"]]
    scores = common_scores(evidence.scores(split="test", metric=found.metric))
    marks: list[Marks] = []
    rows: list[tuple[str, ...]] = []
    for axis in evidence.axes:
        values = levels((record.point for record in trained), axis)
        if not 1 < len(values) <= MOST_LEVELS:
            continue
        own = [[record for record in trained if record.point.get(axis) == value] for value in values]
        ends = [_mean(records, scores, evidence, found.metric) for records in own]
        marks.append(
            Marks(
                name=axis,
                x=[f"{axis} {value}" for value in values],
                y=[one.estimate for one in ends],
                low=[one.low for one in ends],
                high=[one.high for one in ends],
                style=len(marks),
            )
        )
        rows += [
            (axis, str(value), str(len(records)), f"{one.estimate:.3f}", _span(one))
            for value, records, one in zip(values, own, ends, strict=True)
        ]
    if not marks:
        return None
    words = label(name)
    return Chart(
        id="marginal",
        title=f"Marginal effects on {words}",
        summary=f"{words} on test at each value of each axis, {MARGINAL}",
        x_label="",
        y_label=f"{words} on test",
        header=("axis", "value", "trials", words, "95% interval"),
        rows=rows,
        marks=marks,
    )


def _mean(records: Sequence[Record], scores: dict[str, list[float]], evidence: Evidence, metric: str) -> Interval:
    """Over configurations; without per-clip scores the mean alone."""
    groups = [(config_name(record.point, evidence.axes), record.provenance.device) for record in records]
    if all(record.trial in scores for record in records):
        rows = [scores[record.trial] for record in records]
        return mean_interval(rows, groups=groups, rng=np.random.default_rng(0), resamples=1000)
    values: dict[tuple[str, str], list[float]] = {}
    for group, record in zip(groups, records, strict=True):
        values.setdefault(group, []).append(record.metrics["test"][metric])
    return Interval(estimate=float(np.mean([np.mean(own) for own in values.values()])), low=np.nan, high=np.nan)


def _importance(found: Results, explained: Importance) -> Chart:
    shown = explained.shares[:12]
    names = [" × ".join(one.axes) for one in shown]
    first = shown[0]
    noise = "" if explained.noise is None else f" Seeds alone would explain {explained.noise:.1%}, taken off."
    return Chart(
        id="importance",
        title="Which axis matters",
        summary=f"Share of the variance of {label(found.metric)} on test that each axis or pair explains (functional "
        f"ANOVA, levels weighing the same): most by {' × '.join(first.axes)}, {first.share:.1%}.{noise}",
        x_label="",
        y_label="share of variance",
        header=("axis or pair", "share", "spread"),
        rows=[(name, f"{one.share:.3f}", f"{one.spread:.3f}") for name, one in zip(names, shown, strict=True)],
        marks=[
            Marks(name=kind, x=[name for name, _ in own], y=[share for _, share in own], style=style)
            for style, (kind, size) in enumerate((("axis", 1), ("pair", 2)))
            if (own := [(n, one.share) for n, one in zip(names, shown, strict=True) if len(one.axes) == size])
        ],
        from_zero=True,
    )


def _span(one: Interval) -> str:
    return f"{one.low:.3f} to {one.high:.3f}" if np.isfinite(one.low) else "–"
