"""The law of a score in one factor, from finished trials: its sentence and its plot. The fitting is `laws`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from analysis import laws
from analysis.configs import label, levels
from analysis.laws.cells import best_of_cells
from analysis.laws.influence import effects_without
from analysis.laws.power import slope_of
from analysis.laws.spread import MIN_CLUSTERS, Spread, spread_of
from analysis.plots import Band, Chart, Finding, Line, Marks
from analysis.table import Evidence, config_name
from vqlora.record import Record, Status

SEED = 0


def law_of(
    evidence: Evidence, records: Sequence[Record], *, metric: str, factor: str, block: str
) -> tuple[Finding, Chart | None]:
    """The saturating law of a test metric in `factor`, an asymptote for each `block`; no plot where it has no fit.

    Where other axes vary too, each cell of factor and block enters with its best setting of them on validation.
    """
    what = f"{label(metric)} on test"
    known = [record for record in records if metric in record.metrics["test"]]
    try:
        known, chosen = _best_of_cells(evidence, known, metric, factor, block)
    except laws.FitError as error:
        return Finding(sentence=f"law of {what} in {factor}: not answered", basis=str(error), clear=False), None
    x = [float(record.point[factor]) for record in known]
    y = [record.metrics["test"][metric] for record in known]
    try:
        fitted = laws.fit(laws.LAWS["saturating"], x, y, blocks=[record.point[block] for record in known])
    except laws.FitError as error:
        return Finding(sentence=f"law of {what} in {factor}: not answered", basis=str(error), clear=False), None
    spread = _spread(evidence, known, fitted, x, y, metric, block)
    ahead, checked = _extrapolated(known, x, y, factor, block)
    sentence = effect_sentence(fitted, spread, factor=factor, what=what)
    clear = spread is not None and spread.effect.clear_of_zero
    notes = [_basis(fitted, spread, factor, block), ahead, _influence(evidence, known, fitted, x, y, block)]
    notes.append(_found_exponent(evidence, known, x, y, factor, block))
    basis = "; ".join(note for note in [*notes, chosen, _kept_out(evidence)] if note)
    finding = Finding(sentence=sentence, basis=basis, clear=clear)
    chart = _chart(known, fitted, spread, metric=metric, factor=factor, block=block, sentence=sentence)
    return finding, replace(chart, lines=[*chart.lines, *checked])


def _extrapolated(
    records: Sequence[Record], x: Sequence[float], y: Sequence[float], factor: str, block: str
) -> tuple[str, list[Line]]:
    """How the law without its highest level predicts that level, in words and as a line; or why it cannot be asked."""
    top = max(x)
    below = [place for place, value in enumerate(x) if value < top]
    levels = [records[place].point[block] for place in below]
    try:
        fitted = laws.fit(laws.LAWS["saturating"], [x[p] for p in below], [y[p] for p in below], blocks=levels)
    except laws.FitError as error:
        return f"extrapolation to {factor} {top:g} not checked: {error}", []
    found: dict[Any, list[float]] = {}
    for record, value, score in zip(records, x, y, strict=True):
        if value == top and record.point[block] in fitted.asymptotes:
            found.setdefault(record.point[block], []).append(score)
    if set(found) != set(fitted.asymptotes):
        return f"extrapolation to {factor} {top:g} not checked: not every {block} was tried there", []
    measured = float(np.mean([np.mean(scores) for scores in found.values()]))  # as the curve, each block once
    predicted = float(fitted.predict([top])[0])
    grid = np.geomspace(fitted.low_x[0], top, 60)
    line = Line(name=f"fitted below {factor} {top:g}", x=grid.tolist(), y=fitted.predict(grid).tolist(), dashed=True)
    error = f"{predicted / measured - 1:+.1%}" if measured else "no relative error"
    return f"fitted below {factor} {top:g} it predicts {predicted:.3f} there, measured {measured:.3f} ({error})", [line]


def _best_of_cells(
    evidence: Evidence, records: list[Record], metric: str, factor: str, block: str
) -> tuple[list[Record], str]:
    """The records at each cell's best setting of the other axes, by mean validation score, and a note on it."""
    others = [axis for axis in evidence.axes if axis not in (factor, block)]
    others = [axis for axis in others if len({record.point.get(axis) for record in records}) > 1]
    if not others:
        return records, ""
    best = best_of_cells(
        [(record.point[factor], record.point[block]) for record in records],
        [tuple(record.point.get(axis) for axis in others) for record in records],
        [record.metrics.get("val", {}).get(metric, np.nan) for record in records],
        lowest=metric == "loss",
    )
    tried = sorted(set(best.tried.values()))
    uneven = "" if best.even else "; cells with fewer settings are worse for that alone"
    note = f"each cell at its best {' and '.join(others)} on validation, of {'-'.join(map(str, tried))} tried{uneven}"
    return [records[row] for row in best.rows], note


def _found_exponent(
    evidence: Evidence, records: Sequence[Record], x: Sequence[float], y: Sequence[float], factor: str, block: str
) -> str:
    """What exponent the design could have found; nothing where there is no slope to speak of."""
    try:
        slope = slope_of(
            x,
            y,
            clusters=[config_name(record.point, evidence.axes) for record in records],
            blocks=[record.point[block] for record in records],
        )
    except laws.FitError:
        return ""
    return f"smallest exponent of {factor} that this design finds in 4 of 5 repetitions: {slope.detectable:.2g}"


def _influence(
    evidence: Evidence, records: Sequence[Record], fitted: laws.Fit, x: Sequence[float], y: Sequence[float], block: str
) -> str:
    """On which configuration the effect hangs most."""
    names = [config_name(record.point, evidence.axes) for record in records]
    without = effects_without(fitted, x, y, clusters=names, blocks=[record.point[block] for record in records])
    if not without:
        return ""
    most = max(without, key=lambda name: abs(without[name] - fitted.effect))
    return f"without {most} the effect is {without[most]:+.3f}, its largest change of {len(without)} such fits"


def _kept_out(evidence: Evidence) -> str:
    """Trials in no fit: 'kept out: 1 stopped (censored), 2 failed'."""
    words = {Status.STOPPED: "stopped (censored)", Status.OUT_OF_MEMORY: "out of memory", Status.FAILED: "failed"}
    found = [f"{evidence.count(status)} {word}" for status, word in words.items() if evidence.count(status)]
    return f"kept out: {', '.join(found)}" if found else ""


def effect_sentence(fitted: laws.Fit, spread: Spread | None, *, factor: str, what: str) -> str:
    """What may be said about the factor's effect: its size, or that it is not distinguishable from zero."""
    span = f"from {factor} {fitted.low_x[0]:g} to {fitted.high_x[0]:g}"
    if spread is None:
        return f"effect of {factor} on {what}: {fitted.effect:+.3f} {span}; too few configurations for an interval"
    inside = f"{spread.effect.estimate:+.3f} [{spread.effect.low:+.3f}, {spread.effect.high:+.3f}] {span}"
    if spread.effect.clear_of_zero:
        return f"effect of {factor} on {what}: {inside}"
    return (
        f"effect of {factor} is not distinguishable from zero: {what} {inside}; "
        f"this design would find an effect of {spread.detectable:.3f} in 4 of 5 repetitions"
    )


def _spread(
    evidence: Evidence,
    records: Sequence[Record],
    fitted: laws.Fit,
    x: Sequence[float],
    y: Sequence[float],
    metric: str,
    block: str,
) -> Spread | None:
    """The law's intervals over configurations, and over clips where all trials share scored ones; None for too few."""
    scores = evidence.scores(split="test", metric=metric)
    own = [scores.get(record.trial, {}) for record in records]
    common = sorted(set.intersection(*map(set, own)))
    try:
        return spread_of(
            fitted,
            x,
            y,
            clusters=[config_name(record.point, evidence.axes) for record in records],
            blocks=[record.point[block] for record in records],
            clip_scores=[[one[clip] for clip in common] for one in own] if common else None,
            rng=np.random.default_rng(SEED),
        )
    except laws.FitError:
        return None


def _basis(fitted: laws.Fit, spread: Spread | None, factor: str, block: str) -> str:
    method = f"no interval below {MIN_CLUSTERS} configurations"
    if spread:
        clips = f" and {spread.clips} clips" if spread.clips else ""
        again = f", {spread.redrawn:.0%} of the draws repeated for lack of levels" if spread.redrawn >= 0.01 else ""
        method = f"{spread.level:.0%} cluster bootstrap of {spread.clusters} configurations{clips}{again}"
    return (
        f"law {fitted.law.equation} with x = {factor}, each value of {block} with its own asymptote; least squares on "
        f"{fitted.points} trials: {_status(fitted)}; {_parameters(fitted, spread)}; {method}"
    )


def _status(fitted: laws.Fit) -> str:
    edges = f" ({', '.join(fitted.at_bounds)})" if fitted.at_bounds else ""
    return fitted.status.value + edges


def _parameters(fitted: laws.Fit, spread: Spread | None) -> str:
    if fitted.status is laws.FitStatus.NOT_IDENTIFIED:
        return "its parameters are not given, because others fit as well"
    values = ", ".join(
        f"{name} {spread.params[name]}" if spread else f"{name} {value:.3g}" for name, value in fitted.params.items()
    )
    loose = f", {' and '.join(fitted.open_ended)} not held by the data and so no asymptote" if fitted.open_ended else ""
    return values + loose


def _chart(
    records: Sequence[Record],
    fitted: laws.Fit,
    spread: Spread | None,
    *,
    metric: str,
    factor: str,
    block: str,
    sentence: str,
) -> Chart:
    grid = np.geomspace(fitted.low_x[0], fitted.high_x[0], 60)
    marks = [
        _marks([one for one in records if one.point[block] == value], metric, factor, f"{block} {value}", style)
        for style, value in enumerate(levels((record.point for record in records), block))
    ]
    return Chart(
        id=f"law-{metric}",
        title=f"Law of {factor}: {label(metric)}",
        summary=f"{sentence[:1].upper()}{sentence[1:]}. Fit: {_status(fitted)}. The curve is the mean over {block}, "
        "each mark one trial.",
        x_label=factor,
        y_label=f"{label(metric)} on test",
        header=("trial", factor, block, "seed", label(metric)),
        rows=[_row(record, metric, factor, block) for record in records],
        marks=marks,
        lines=[Line(name=fitted.law.equation, x=grid.tolist(), y=fitted.predict(grid).tolist())],
        bands=_bands(spread) if spread else [],
        ticks=sorted({float(record.point[factor]) for record in records}),
        log_x=True,
    )


def _bands(spread: Spread) -> list[Band]:
    """Of the curve, and of one more trial."""
    level, x = f"{spread.level:.0%}", spread.band_x.tolist()
    ends = {"of the law": (spread.curve_low, spread.curve_high), "of a trial": (spread.trial_low, spread.trial_high)}
    return [
        Band(name=f"{level} {what}", x=x, low=low.tolist(), high=high.tolist()) for what, (low, high) in ends.items()
    ]


def _marks(records: Sequence[Record], metric: str, factor: str, name: str, style: int) -> Marks:
    values = [record.metrics["test"][metric] for record in records]
    return Marks(
        name=name,
        x=[float(record.point[factor]) * 1.03**style for record in records],  # beside each other, not on each other
        y=values,
        hovers=[
            [f"{name}, {factor} {record.point[factor]}, seed {record.seed}", f"{label(metric)} {value:.4f}"]
            for record, value in zip(records, values, strict=True)
        ],
        style=style,
    )


def _row(record: Record, metric: str, factor: str, block: str) -> tuple[str, ...]:
    point, value = record.point, record.metrics["test"][metric]
    return (record.trial, str(point[factor]), str(point[block]), str(record.seed), f"{value:.4f}")
