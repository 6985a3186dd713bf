"""Configurations -> plots: the frontier, the grid, the learning curves. Laws are drawn by `trends`.

Choosing reads validation scores and costs; what is drawn is the test score, with the gap between the two stated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from analysis import pareto
from analysis.chances import band
from analysis.configs import LABELS, Config, amount, label, levels, number
from analysis.plots import Band, Chart, Grid, Line, Marks
from analysis.table import Evidence
from vqlora.record import Status

BAND_WORDS = (
    " Band: the best test score within each cost, in the middle 95% of resamples; it takes the best of each resample, "
    "and so lies above a frontier that was chosen once."
)
KEPT = ("adapter kept", "adapter, bytes")  # what a user takes home
FRONTIER_COLUMNS = ("validation", "test", "95% interval", "gap", "on frontier", *KEPT)
MOST_LINES = 60  # learning curves above that are drawn as a median and a band a group
MOST_HOVERS = 200  # configurations up to which a frontier's marks carry labels and hovers; the explorer has them all
SMOOTH = 12  # learning curves: a window of this share of the points; the loss of one small batch is mostly noise


def frontier(
    configs: Sequence[Config],
    *,
    metric: str,
    direction: str,
    cost: str,
    group: str,
    id: str,
    draws: np.ndarray | None = None,
) -> Chart:
    """Test score against a cost; on the frontier is who is not dominated in validation score and cost.

    direction: of the score, 'max' or 'min'; less of a cost is better. draws: [resamples, configs] of the test score,
    for a band. Configurations in which one of the three numbers is missing are passed over. ValueError where the costs
    were measured on different devices.
    """
    val, test = f"val.{metric}", f"test.{metric}"
    places = [place for place, config in enumerate(configs) if config.has(val, test, cost)]
    known = [configs[place] for place in places]
    pareto.refuse_mixed_devices([cost], [config.device for config in known])
    pairs = [[config.values[val], config.values[cost]] for config in known]
    mask = pareto.non_dominated(np.reshape(pairs, (-1, 2)), directions=(direction, "min"))
    few = len(known) <= MOST_HOVERS
    chosen = {config.name for config, on_front in zip(known, mask, strict=True) if on_front}
    front = sorted((config for config in known if config.name in chosen), key=lambda config: config.values[cost])
    x, y = [config.values[cost] for config in front], [config.values[test] for config in front]
    marks = [
        _marks([one for one in known if one.point.get(group) == value], group, value, style, cost, metric, chosen, few)
        for style, value in enumerate(levels((config.point for config in known), group))
    ]
    return Chart(
        id=id,
        title=f"{label(metric)} against {label(cost)}",
        summary=_frontier_summary(known, front, metric=metric, direction=direction, cost=cost)
        + (BAND_WORDS if draws is not None else ""),
        x_label=label(cost, unit=True),
        y_label=f"{label(metric)} on test",
        header=("configuration", label(cost, unit=True), *FRONTIER_COLUMNS),
        rows=[_frontier_row(config, metric, cost, config.name in chosen) for config in known],
        marks=marks,
        lines=[Line(name="frontier", x=x, y=y, step=True)],
        bands=[] if draws is None else [_attained(draws[:, places], known, cost, direction)],
    )


def grid(configs: Sequence[Config], *, metric: str, across: str, down: str, id: str = "grid") -> Grid:
    """Test scores of `across` x `down`; several configurations in one cell are averaged."""
    name = f"test.{metric}"
    cells: dict[tuple[Any, Any], list[float]] = {}
    for config in configs:
        if config.has(name):
            cells.setdefault((config.point.get(down), config.point.get(across)), []).append(config.values[name])
    columns, lines = (levels((config.point for config in configs), axis) for axis in (across, down))
    values = [[float(np.mean(cells.get((line, column), [np.nan]))) for column in columns] for line in lines]
    texts = [["" if np.isnan(value) else f"{value:.3f}" for value in row] for row in values]
    known = [value for row in values for value in row if not np.isnan(value)]
    spread = f"from {min(known):.3f} to {max(known):.3f}" if known else "none was measured"
    return Grid(
        id=id,
        title=f"{label(metric)} by {across} and {down}",
        summary=f"{label(metric)} on test for each {across} and {down}, seeds averaged: {spread}.",
        x_label=across,
        y_label=down,
        header=(f"{down} \\ {across}", *map(str, columns)),
        rows=[(str(line), *row) for line, row in zip(lines, texts, strict=True)],
        columns=[str(column) for column in columns],
        lines=[str(line) for line in lines],
        values=values,
        texts=texts,
        colour_label=label(metric),
    )


def curves(evidence: Evidence, *, group: str, key: str = "loss", id: str = "curves") -> Chart:
    """One line a trial that has a curve, coloured by `group`; trials that ended early are dashed."""
    styles = {value: style for style, value in enumerate(levels((r.point for r in evidence.records), group))}
    lines: list[Line] = []
    rows: list[tuple[str, ...]] = []
    for record in evidence.records:
        points = [(row["step"], row[key]) for row in record.curve if row.get(key) is not None]
        value = record.point.get(group)
        if not points or value is None:
            continue
        steps, values = _smoothed(points)
        dashed = record.status is not Status.DONE
        lines.append(Line(name=f"{group} {value}", x=steps, y=values, style=styles[value], dashed=dashed))
        rows.append((record.trial, str(len(points)), number(values[0]), number(values[-1]), number(steps[-1])))
    shown, bands = (_named_once(lines), []) if len(lines) <= MOST_LINES else _bundled(lines)
    how = "dashed lines ended before their last step" if not bands else f"lines are medians by {group}, bands hold 80%"
    return Chart(
        id=id,
        title=f"Learning curves: {label(key)}",
        summary=f"Training {label(key)} of {len(lines)} trials, as a running mean over 1/{SMOOTH} of the steps; {how}.",
        x_label="step",
        y_label=f"training {label(key)}",
        header=("trial", "points", "first", "last", "last step"),
        rows=rows,
        lines=shown,
        bands=bands,
    )


def mark_label(config: Config, group: str) -> str:
    """What tells a mark from its group: 'zero-shot', or the values of the other axes."""
    if config.method == "zero_shot":
        return "zero-shot"
    values = (value for axis, value in config.point.items() if axis != group)
    return " ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in values)


def hover(config: Config, metric: str, *, on_front: bool) -> list[str]:
    """The whole configuration, its scores and its costs, one line each."""
    recipe, score = config.recipe, config.score
    val, test = config.values[f"val.{metric}"], config.values[f"test.{metric}"]
    schedule: Mapping[str, Any] = recipe.get("schedule") or {}
    settings = [f"{name} {value}" for name, value in sorted(schedule.items())]
    lines = [
        config.name + (" (on the frontier)" if on_front else ""),
        f"{label(metric)} on test {test:.3f} [{score.low:.3f}, {score.high:.3f}]",
        f"on validation {val:.3f}, gap {test - val:+.3f}",
        f"{config.method}, {config.seeds} seed{'s' if config.seeds > 1 else ''}",
        f"base {recipe.get('base')}, data {recipe.get('data')}",
        *(", ".join(settings[start : start + 4]) for start in range(0, len(settings), 4)),
        *(f"{label(cost)} {amount(cost, config.values[cost])}" for cost in LABELS if config.has(cost)),
        *(f"adapter in {place}" for place in config.adapters if on_front),
        config.device,
    ]
    return [line for line in lines if line]


def _marks(
    configs: Sequence[Config],
    group: str,
    value: Any,
    style: int,
    cost: str,
    metric: str,
    chosen: set[str],
    few: bool,
) -> Marks:
    return Marks(
        name=f"{group} {value}",
        x=[config.values[cost] for config in configs],
        y=[config.values[f"test.{metric}"] for config in configs],
        low=[config.score.low for config in configs],
        high=[config.score.high for config in configs],
        labels=[mark_label(config, group) for config in configs] if few else (),
        hovers=[hover(config, metric, on_front=config.name in chosen) for config in configs] if few else (),
        style=style,
    )


def _attained(draws: np.ndarray, configs: Sequence[Config], cost: str, direction: str) -> Band:
    """What resamples attain within each cost, as stairs."""
    found = band(draws, [config.values[cost] for config in configs], directions=(direction, "min"))
    x, low, high = (np.repeat(ends, 2).tolist() for ends in (found.cost, found.low, found.high))
    return Band(name=f"{found.level:.0%} of resamples attain", x=x[1:], low=low[:-1], high=high[:-1])


def _frontier_summary(
    known: Sequence[Config], front: Sequence[Config], *, metric: str, direction: str, cost: str
) -> str:
    if not front:
        return f"No finished configuration has both {label(metric)} and {label(cost)}."
    val, test = f"val.{metric}", f"test.{metric}"
    gap = np.mean([config.values[test] - config.values[val] for config in front])
    best = (max if direction == "max" else min)(front, key=lambda config: config.values[val])
    resampled = "clips and seeds" if any(config.seeds > 1 for config in known) else "clips"
    return (
        f"{len(front)} of {len(known)} configurations are on the frontier, chosen on validation, drawn at their "
        f"test score (test minus validation {gap:+.3f} on average). Best on validation: {best.name}, {label(metric)} "
        f"{best.values[test]:.3f} on test at {amount(cost, best.values[cost])}. Bars: 95% bootstrap over {resampled}."
    )


def _frontier_row(config: Config, metric: str, cost: str, on_front: bool) -> tuple[str, ...]:
    val, test = config.values[f"val.{metric}"], config.values[f"test.{metric}"]
    span = f"{config.score.low:.3f} to {config.score.high:.3f}" if np.isfinite(config.score.low) else "–"
    scores = (f"{val:.3f}", f"{test:.3f}", span, f"{test - val:+.3f}")
    return (config.name, number(config.values[cost]), *scores, "yes" if on_front else "no", *kept(config, on_front))


def kept(config: Config, on_front: bool) -> tuple[str, str]:
    """Where the adapters of a configuration on the frontier lie in the storage, and the bytes of one."""
    if not (on_front and config.adapters):
        return "–", "–"
    size = config.values.get("cost.adapter_bytes")
    return " · ".join(config.adapters), "–" if size is None else f"{size:.0f}"


def _smoothed(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Centred running means of (step, value), each at the middle of its window; short curves stay as they are."""
    window = max(1, len(points) // SMOOTH)
    kernel = np.full(window, 1 / window)
    steps, values = (np.convolve([point[side] for point in points], kernel, mode="valid") for side in (0, 1))
    return steps.tolist(), values.tolist()


def _bundled(lines: Sequence[Line]) -> tuple[list[Line], list[Band]]:
    """Each group's median and the band of its middle 80%, over those that have come so far."""
    medians: list[Line] = []
    bands: list[Band] = []
    for name, style in sorted({(line.name, line.style) for line in lines}, key=lambda one: one[1] or 0):
        own = [line for line in lines if line.name == name]
        steps = np.linspace(min(line.x[0] for line in own), max(line.x[-1] for line in own), 48)
        values = np.array([np.interp(steps, line.x, line.y, left=np.nan, right=np.nan) for line in own])
        reached = ~np.isnan(values).all(axis=0)
        low, middle, high = np.nanquantile(values[:, reached], [0.1, 0.5, 0.9], axis=0)
        x = steps[reached].tolist()
        medians.append(Line(name=name, x=x, y=middle.tolist(), style=style))
        bands.append(Band(name=f"{name}, 80%", x=x, low=low.tolist(), high=high.tolist()))
    return medians, bands


def _named_once(lines: Sequence[Line]) -> list[Line]:
    """Lines by style, each name in the legend once."""
    ordered = sorted(lines, key=lambda line: line.style or 0)
    first = {line.name: line for line in reversed(ordered)}
    return [replace(line, in_legend=first[line.name] is line) for line in ordered]
