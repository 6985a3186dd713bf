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
from analysis.bootstrap import seed_noise
from analysis.chances import on_front, winners_luck
from analysis.claims import tied_with_best
from analysis.configs import LABELS, Config, common_scores, configurations, finished, label, method_of
from analysis.draws import draw_scores
from analysis.reports import general
from analysis.table import COST_COLUMNS, Evidence, config_name

MOST_DRAWS = 1000
ENOUGH_DRAWS = 200
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

    luck: by how much validation flatters the score of its best, NaN without per-clip scores; draws: how many.
    """

    device: str
    rows: tuple[int, ...]
    members: tuple[int, ...]
    chances: Mapping[int, float]
    luck: float
    draws: int


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
    draws = _draws(evidence, configs, rows, metric)
    if draws is None:
        return Front(device=device, rows=tuple(rows), members=members, chances={}, luck=np.nan, draws=0)
    chances = on_front(draws, values[:, 1:], directions=directions)
    return Front(
        device=device,
        rows=tuple(rows),
        members=members,
        chances=dict(zip(rows, chances.tolist(), strict=True)),
        luck=winners_luck(draws, values[:, 0], direction=directions[0]),
        draws=len(draws),
    )


def _draws(
    evidence: Evidence, configs: Sequence[Config], rows: Sequence[int], metric: str, split: str = "val"
) -> np.ndarray | None:
    """[resamples, rows] of the split's score; None where not every one of the rows has per-clip scores."""
    place = {(configs[row].name, configs[row].device): row for row in rows}
    own = {
        record.trial: place[key]
        for record in finished(evidence)
        if (key := (config_name(record.point, evidence.axes), record.provenance.device)) in place
    }
    scores = common_scores({t: s for t, s in evidence.scores(split=split, metric=metric).items() if t in own})
    if set(own.values()) != {own[trial] for trial in scores} or not rows:
        return None
    untrained = {
        own[record.trial] for record in finished(evidence) if record.trial in own and method_of(record) == "zero_shot"
    }
    trials = sorted(scores, key=lambda trial: own[trial])
    trained = [trial for trial in trials if own[trial] not in untrained]
    noise = seed_noise([scores[t] for t in trained], groups=[own[t] for t in trained]) if trained else None
    return draw_scores(
        [scores[trial] for trial in trials],
        groups=[own[trial] for trial in trials],
        noise=noise,
        fixed=untrained,
        rng=np.random.default_rng(0),
        resamples=MOST_DRAWS if len(rows) <= 500 else ENOUGH_DRAWS,
    )


def _tied(evidence: Evidence, configs: Sequence[Config], metric: str, direction: str) -> tuple[bool, ...]:
    """Who cannot be told from the best on test: paired draws against it, Holm over all. False without a test score."""
    name = f"test.{metric}"
    rows = [row for row, config in enumerate(configs) if config.has(name)]
    draws = _draws(evidence, configs, rows, metric, split="test")
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
