"""How sure a frontier is: the chance of each configuration to be on it, its band, its volume, its winner's luck.

All come from the same draws of the scores (`draws`), in which configurations meet the same clips, so that what all
find hard does not make their order unsure. Costs are taken as measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.bootstrap import Interval
from analysis.pareto import as_costs, hypervolume, non_dominated

Floats = NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Band:
    """A frontier's quantiles over resamples, as a step line over the cost: best score at no more than that cost."""

    cost: Floats
    low: Floats
    middle: Floats
    high: Floats
    level: float = LEVEL


def on_front(draws: ArrayLike, costs: ArrayLike, *, directions: Sequence[str]) -> Floats:
    """For each configuration the share of resamples in which nobody dominates it.

    draws: [resamples, n] scores; costs: [n, k] fixed; directions: of the score, then of each cost. Without costs it is
    the chance to be the best.
    """
    drawn, fixed = _checked(draws, costs, directions)
    if fixed.shape[1] == 1:
        return _on_front_of_two(as_costs(drawn.reshape(-1, 1), directions[:1]).reshape(drawn.shape), fixed, directions)
    share = np.zeros(drawn.shape[1])
    for row in drawn:
        share += non_dominated(np.column_stack([row, fixed]), directions=directions)
    return share / len(drawn)


def band(draws: ArrayLike, cost: ArrayLike, *, directions: Sequence[str], level: float = LEVEL) -> Band:
    """The attainment surfaces at the level's ends and its middle: best score within each cost, over resamples.

    directions: of the score and of the cost.
    """
    drawn, fixed = _checked(draws, np.asarray(cost, dtype=np.float64)[:, None], directions)
    order = np.argsort(as_costs(fixed, directions[1:])[:, 0], kind="stable")
    best = (np.maximum if directions[0] == "max" else np.minimum).accumulate(drawn[:, order], axis=1)
    ordered = fixed[order, 0]
    last = np.append(ordered[1:] != ordered[:-1], True)  # of equal costs the one that has seen all
    low, middle, high = np.quantile(best[:, last], [(1 - level) / 2, 0.5, (1 + level) / 2], axis=0)
    return Band(cost=ordered[last], low=low, middle=middle, high=high, level=level)


def volume_interval(
    draws: ArrayLike,
    scores: ArrayLike,
    costs: ArrayLike,
    *,
    reference: Sequence[float],
    directions: Sequence[str],
    level: float = LEVEL,
) -> Interval:
    """The hypervolume of `scores` [n] with `costs` [n, k], and its percentile interval over the draws.

    The volume of noisy scores is biased upwards (the front picks lucky ones), so the interval may lie above the
    estimate's true value; compare two volumes by their paired draws, not by two intervals.
    """
    drawn, fixed = _checked(draws, costs, directions)
    volumes = [
        hypervolume(np.column_stack([row, fixed]), reference=reference, directions=directions)
        for row in (np.asarray(scores, dtype=np.float64), *drawn)
    ]
    low, high = np.quantile(volumes[1:], [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate=volumes[0], low=float(low), high=float(high), level=level)


def winners_luck(draws: ArrayLike, scores: ArrayLike, *, direction: str) -> float:
    """By how much the score of the best of n flatters it: mean of (best draw - the same configuration's score).

    >= 0 in the direction's sense; zero where one configuration is the best in every resample and its draws are
    centred. To be said beside the score of any choice made on the same clips.
    """
    drawn, measured = np.asarray(draws, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    sign = 1.0 if direction == "max" else -1.0
    best = np.argmax(sign * drawn, axis=1)
    return float((sign * (drawn[np.arange(len(drawn)), best] - measured[best])).mean())


def _on_front_of_two(drawn: Floats, fixed: Floats, directions: Sequence[str]) -> Floats:
    """All resamples at once: sorted by cost, on the front is who beats all cheaper ones, and all of the same cost."""
    cost = as_costs(fixed, directions[1:])[:, 0]
    levels, place = np.unique(cost, return_inverse=True)
    best = np.full((len(drawn), len(levels)), np.inf)
    for column, level in enumerate(place):
        best[:, level] = np.minimum(best[:, level], drawn[:, column])
    before = np.minimum.accumulate(np.column_stack([np.full(len(drawn), np.inf), best[:, :-1]]), axis=1)
    return ((drawn < before[:, place]) & (drawn == best[:, place])).mean(axis=0)


def _checked(draws: ArrayLike, costs: ArrayLike, directions: Sequence[str]) -> tuple[Floats, Floats]:
    drawn, fixed = np.asarray(draws, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    if drawn.ndim != 2 or fixed.ndim != 2 or len(fixed) != drawn.shape[1] or len(directions) != 1 + fixed.shape[1]:
        raise ValueError(
            f"draws {drawn.shape}, costs {fixed.shape}, {len(directions)} directions; give [resamples, n], [n, k], 1+k"
        )
    if np.isnan(drawn).any() or np.isnan(fixed).any():
        raise ValueError("a score or a cost is NaN; leave configurations out that were not measured")
    return drawn, fixed
