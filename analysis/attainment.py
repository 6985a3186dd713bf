"""What several runs, seeds or resamples reach together: the empirical attainment function and its surfaces.

A run attains a place if one of its points is at least as good there in every objective. The share of runs that attain
it is the attainment function (Grunert da Fonseca, Fonseca and Hall, EMO 2001); the places reached by a given share form
a surface, the frontier's quantile.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.pareto import as_costs

Floats = NDArray[np.float64]


def attained_share(places: ArrayLike, runs: Sequence[ArrayLike], *, directions: Sequence[str]) -> Floats:
    """For each of places [n, m] the share of runs (each [k, m], any k) that attain it. NaN attains nothing."""
    if not runs:
        raise ValueError("no run to take a share of; give at least one set of points")
    wanted = as_costs(places, directions)
    share = np.zeros(len(wanted))
    for run in runs:
        own = as_costs(run, directions)
        at_least_as_good: NDArray[np.bool_] = np.all(own[None] <= wanted[:, None], axis=2)
        share += at_least_as_good.any(axis=1)
    return share / len(runs)


def surface(runs: Sequence[ArrayLike], *, share: float, directions: Sequence[str]) -> Floats:
    """The corners [n, 2] of the surface that at least `share` of the runs attain, in order of the first objective.

    Two objectives; O(sum of points x runs). Empty where so many runs have no point at all. share: in (0, 1].
    """
    if len(directions) != 2:
        raise ValueError(f"a surface of {len(directions)} objectives is not drawn; use attained_share")
    if not 0 < share <= 1 or not runs:
        raise ValueError(f"share {share} of {len(runs)} runs; give a share in (0, 1] of at least one run")
    stairs = [_stairs(as_costs(run, directions)) for run in runs]
    first = np.unique(np.concatenate([run[:, 0] for run in stairs]))
    heights = np.full((len(runs), len(first)), np.inf)
    for own, run in zip(heights, stairs, strict=True):
        if len(run):
            place = np.searchsorted(run[:, 0], first, side="right") - 1
            own[:] = np.where(place >= 0, run[np.maximum(place, 0), 1], np.inf)
    needed = int(np.ceil(share * len(runs) - 1e-9))
    second = np.partition(heights, needed - 1, axis=0)[needed - 1]
    corner = np.isfinite(second) & (second < np.concatenate([[np.inf], second[:-1]]))
    signs = np.array([-1.0 if direction == "max" else 1.0 for direction in directions])
    corners = np.column_stack([first[corner], second[corner]]) * signs
    return corners[np.argsort(corners[:, 0], kind="stable")]


def _stairs(costs: Floats) -> Floats:
    """The points by first cost with the least second cost so far."""
    known = costs[np.isfinite(costs).all(axis=1)]
    ordered = known[np.lexsort((known[:, 1], known[:, 0]))]
    return np.column_stack([ordered[:, 0], np.minimum.accumulate(ordered[:, 1])])
