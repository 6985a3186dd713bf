"""Evidence -> the one table of configurations that page, LaTeX and CSV show. Numbers stay numbers here.

`configs` averages the seeds; this adds what needs all configurations: who is on the frontier and how surely, who
cannot be told from the best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from scipy import stats

from analysis import pareto
from analysis.bootstrap import Interval
from analysis.chances import on_front, volume_interval, winners_luck
from analysis.claims import tied_with_best
from analysis.configs import LABELS, Config, configurations, label, score_draws
from analysis.reports import general
from analysis.table import COST_COLUMNS, Evidence

ENOUGH_DRAWS = 200  # of a hypervolume
MOST_DRAWN_VOLUMES = 500  # configurations
LESS_IS_BETTER = ("loss",)


@dataclass(frozen=True, kw_only=True)
class Column:
    """direction: 'max', 'min', or '' where no side is better. chosen_by: a test score's validation column, or ''."""

    key: str
    label: str
    kind: Literal["number", "text"]
    role: Literal["axis", "about", "score", "cost"]
    unit: str = ""
    direction: str = ""
    chosen_by: str = ""


@dataclass(frozen=True, kw_only=True)
class Front:
    """One device's frontier in the study's objectives. chances: of its members and others to be on it, by row.

    worst: of what was measured in each objective, the reference of `volume`. luck: by how much validation flatters the
    score of its best, NaN without per-clip scores; draws: how many.
    """

    device: str
    rows: tuple[int, ...]
    members: tuple[int, ...]
    chances: Mapping[int, float]
    luck: float
    draws: int
    worst: tuple[float, ...]
    volume: Interval


@dataclass(frozen=True, kw_only=True)
class Results:
    """configs: a row each; columns: what the rows have, in reading order."""

    metric: str
    direction: str
    objectives: tuple[tuple[str, str], ...]
    configs: tuple[Config, ...]
    columns: tuple[Column, ...]
    fronts: tuple[Front, ...]
    tied: tuple[bool, ...]

    @cached_property
    def on_front(self) -> frozenset[int]:
        """Rows on their device's frontier."""
        return frozenset(row for front in self.fronts for row in front.members)

    @cached_property
    def chance(self) -> tuple[float, ...]:
        """Each row's chance to be on its device's frontier; NaN where it was not asked."""
        known = {row: chance for front in self.fronts for row, chance in front.chances.items()}
        return tuple(known.get(row, np.nan) for row in range(len(self.configs)))

    def cells(self, column: Column) -> list[Any]:
        """The column's values: floats (NaN where not measured) or texts."""
        if column.role == "axis":
            return [_plain(config.point.get(column.key), column.kind) for config in self.configs]
        if column.role == "about":
            return [getattr(config, column.key) for config in self.configs]
        return [config.values.get(column.key, np.nan) for config in self.configs]


def results(evidence: Evidence) -> Results:
    """The configurations of a study, each device's frontier, and which cannot be told from the best on test."""
    metric, direction = general.score(evidence)
    configs = tuple(configurations(evidence, metric=metric))
    costs = [one for one in general.objectives(evidence) if one[0].startswith("cost.")]
    measured = [one for one in costs if any(config.has(one[0]) for config in configs)]
    wanted = ((f"val.{metric}", direction), *measured)
    return Results(
        metric=metric,
        direction=direction,
        objectives=wanted,
        configs=configs,
        columns=_columns(evidence, configs, metric, direction),
        fronts=tuple(
            _front(evidence, configs, device, wanted, metric) for device in sorted({one.device for one in configs})
        ),
        tied=_tied(evidence, configs, metric, direction),
    )


def _columns(evidence: Evidence, configs: Sequence[Config], metric: str, direction: str) -> tuple[Column, ...]:
    names = {name for config in configs for name in config.values}
    scores = sorted(names - set(COST_COLUMNS), key=lambda name: (metric not in name, "loss" not in name, name))
    found = [Column(key=axis, label=axis, kind=_kind(configs, axis), role="axis") for axis in evidence.axes]
    found += [
        Column(key="method", label="method", kind="text", role="about"),
        Column(key="seeds", label="seeds", kind="number", role="about"),
        Column(key="device", label="device", kind="text", role="about"),
    ]
    for name in scores:
        split, _, own = name.partition(".")
        better = direction if own == metric else "min" if own in LESS_IS_BETTER else "max"
        by = f"val.{own}" if split == "test" and f"val.{own}" in names else ""
        words = f"{label(own)} on {'validation' if split == 'val' else split}"
        found.append(Column(key=name, label=words, kind="number", role="score", direction=better, chosen_by=by))
    for name in COST_COLUMNS:
        if name in names:
            words, unit = LABELS.get(name, (name, ""))
            found.append(Column(key=name, label=words, kind="number", role="cost", unit=unit, direction="min"))
    return tuple(found)


def _front(
    evidence: Evidence,
    configs: Sequence[Config],
    device: str,
    objectives: Sequence[tuple[str, str]],
    metric: str,
) -> Front:
    names, directions = [name for name, _ in objectives], [direction for _, direction in objectives]
    rows = [row for row, config in enumerate(configs) if config.device == device and config.has(*names)]
    values = np.array([[configs[row].values[name] for name in names] for row in rows]).reshape(-1, len(names))
    members = tuple(
        row for row, keep in zip(rows, pareto.non_dominated(values, directions=directions), strict=True) if keep
    )
    worst = tuple(
        float((np.min if direction == "max" else np.max)(values[:, place])) if rows else np.nan
        for place, direction in enumerate(directions)
    )
    draws = score_draws(evidence, configs, rows, metric=metric, split="val")
    about = {"device": device, "rows": tuple(rows), "members": members, "worst": worst}
    if draws is None:
        return Front(**about, chances={}, luck=np.nan, draws=0, volume=_volume(values, None, worst, directions))
    chances = on_front(draws, values[:, 1:], directions=directions)
    return Front(
        **about,
        volume=_volume(values, draws, worst, directions),
        chances=dict(zip(rows, chances.tolist(), strict=True)),
        luck=winners_luck(draws, values[:, 0], direction=directions[0]),
        draws=len(draws),
    )


def _volume(
    values: np.ndarray, draws: np.ndarray | None, worst: Sequence[float], directions: Sequence[str]
) -> Interval:
    """The hypervolume up to the worst measured; its interval where there are draws, of not too many configurations."""
    if draws is None or len(values) > MOST_DRAWN_VOLUMES:
        alone = pareto.hypervolume(values, reference=worst, directions=directions) if len(values) else 0.0
        return Interval(estimate=alone, low=np.nan, high=np.nan)
    few = draws[:ENOUGH_DRAWS]
    return volume_interval(few, values[:, 0], values[:, 1:], reference=worst, directions=directions)


def _tied(evidence: Evidence, configs: Sequence[Config], metric: str, direction: str) -> tuple[bool, ...]:
    """Who cannot be told from the best on test: paired draws against it, Holm over all. False without a test score."""
    name = f"test.{metric}"
    rows = [row for row, config in enumerate(configs) if config.has(name)]
    draws = score_draws(evidence, configs, rows, metric=metric, split="test")
    tied = [False] * len(configs)
    if not rows or draws is None:
        return tuple(tied)
    scores = np.array([configs[row].values[name] for row in rows])
    best = int((np.argmax if direction == "max" else np.argmin)(scores))
    spread = (draws - draws[:, [best]]).std(axis=0, ddof=1)
    degrees = np.array([configs[row].score.degrees for row in rows])
    with np.errstate(invalid="ignore", divide="ignore"):
        p_values = 2 * stats.t.sf(np.abs(scores - scores[best]) / spread, degrees)
    for row, keep in zip(rows, tied_with_best(scores.tolist(), p_values.tolist(), direction=direction), strict=True):
        tied[row] = keep
    return tuple(tied)


def _kind(configs: Sequence[Config], axis: str) -> Literal["number", "text"]:
    values = [config.point.get(axis) for config in configs]
    numbers = all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values if value is not None
    )
    return "number" if numbers else "text"


def _plain(value: Any, kind: str) -> float | str:
    if kind == "number":
        return np.nan if value is None else float(value)
    return "" if value is None else str(value)
