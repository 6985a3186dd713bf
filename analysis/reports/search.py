"""Which of several decisions matters, and what is the best trade-off? Verdict and plots of `studies/search.py`.

The frontier of all the study's objectives at once: whoever is not dominated in validation score and every cost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis import pareto, tables, views
from analysis.configs import Config, configurations, label, number
from analysis.importance import Importance, Share
from analysis.plots import Answer, Chart, Finding, Marks
from analysis.reports import general
from analysis.table import Evidence


def answer(evidence: Evidence) -> Answer:
    """The general answer with the frontier of all objectives in front, for each device."""
    plain = general.answer(evidence)
    metric = general.score(evidence)[0]
    configs = configurations(evidence, metric=metric)
    found = [front(evidence, configs, device) for device in sorted({config.device for config in configs})]
    findings = [*_matters(evidence, metric), *plain.findings, *(finding for finding, _ in found)]
    return Answer(findings=findings, plots=[*(chart for _, chart in found), *plain.plots])


def _matters(evidence: Evidence, metric: str) -> list[Finding]:
    """What the axes explain of the score, and whether the first stays so without any one of the trials."""
    whole = tables.explained(evidence, metric)
    if whole is None:
        return [Finding(sentence="which axis matters: not answered", basis="no axis takes two levels", clear=False)]
    trials = evidence.done["trial"].tolist()
    others = [left for trial in trials if (left := tables.explained(evidence, metric, without=trial))]
    first = _alone(whole)[0].axes
    shares = [one.share for left in others for one in _alone(left) if one.axes == first]
    stays = all(_alone(left)[0].axes == first for left in others)
    said = ", ".join(f"{one.axes[0]} {one.share:.0%}" for one in _alone(whole))
    return [
        Finding(
            sentence=f"of the variance of {label(metric)} on test the axes explain: {said}",
            basis=f"functional ANOVA over {len(trials)} finished trials of a search, {whole.filled} of {whole.cells} "
            f"cells estimated; without any one trial {first[0]} explains {min(shares):.0%} to {max(shares):.0%} and "
            + ("stays first" if stays else "does not always stay first"),
            clear=stays,
        )
    ]


def _alone(explained: Importance) -> list[Share]:
    """Single axes, the largest share first."""
    return sorted((one for one in explained.shares if len(one.axes) == 1), key=lambda one: -one.share)


def front(evidence: Evidence, configs: Sequence[Config], device: str) -> tuple[Finding, Chart]:
    """Who is not dominated on this device, as a sentence and as a plot of score against the first cost."""
    metric = general.score(evidence)[0]
    objectives = general.objectives(evidence)
    wanted = [name for name, _ in objectives]
    test = f"test.{metric}"
    known = [config for config in configs if config.device == device and config.has(test, *wanted)]
    values = np.reshape([[config.values[name] for name in wanted] for config in known], (-1, len(wanted)))
    mask = pareto.non_dominated(values, directions=tuple(direction for _, direction in objectives))
    costs = [name for name in wanted if name.startswith("cost.")]
    names = ", ".join(label(name) for name in wanted)
    sentence = f"{int(mask.sum())} of {len(known)} finished configurations are on the frontier of {names}"
    finding = Finding(
        sentence=sentence,
        basis=f"chosen on validation, measured on {device}; a point is dominated by one no worse in all and better in "
        "one; stopped trials take no part",
        clear=False,
    )
    rows = [_row(config, metric, costs, bool(on)) for config, on in zip(known, mask, strict=True)]
    chart = Chart(
        id=f"objectives-{len(wanted)}" + ("" if len({c.device for c in configs}) == 1 else f"-{device}"),
        title=f"The frontier of {len(wanted)} objectives",
        summary=f"{sentence}. Labels: {label(costs[-1], unit=True)}.",
        x_label=label(costs[0], unit=True),
        y_label=f"{label(metric)} on test",
        header=(
            "configuration",
            *(label(c, unit=True) for c in costs),
            "validation",
            "test",
            "on frontier",
            *views.KEPT,
        ),
        rows=rows,
        marks=[
            _marks([c for c, on in zip(known, mask, strict=True) if on], "on the frontier", 0, metric, costs, True),
            _marks([c for c, on in zip(known, mask, strict=True) if not on], "dominated", 6, metric, costs, False),
        ],
    )
    return finding, chart


def _row(config: Config, metric: str, costs: Sequence[str], on_front: bool) -> tuple[str, ...]:
    measured = (number(config.values[cost]) for cost in costs)
    scores = (f"{config.values[f'{split}.{metric}']:.3f}" for split in ("val", "test"))
    return (config.name, *measured, *scores, "yes" if on_front else "no", *views.kept(config, on_front))


def _marks(
    configs: Sequence[Config], name: str, style: int, metric: str, costs: Sequence[str], on_front: bool
) -> Marks:
    return Marks(
        name=name,
        x=[config.values[costs[0]] for config in configs],
        y=[config.values[f"test.{metric}"] for config in configs],
        low=[config.score.low for config in configs],
        high=[config.score.high for config in configs],
        labels=[number(config.values[costs[-1]]) if on_front else "" for config in configs],
        hovers=[views.hover(config, metric, on_front=on_front) for config in configs],
        style=style,
        hollow=not on_front,
    )
