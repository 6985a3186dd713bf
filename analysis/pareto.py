"""Which points are not dominated, and how much they dominate. Directions are arguments, never sign flips of the caller.

A point dominates another if it is at least as good in every objective and better in one. Equal points do not dominate
each other, so duplicates stay together. A point with a NaN in any objective cannot be ranked: it is never on the front
and dominates nothing. Infinities are ordinary values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def non_dominated(values: ArrayLike, *, directions: Sequence[str]) -> NDArray[np.bool_]:
    """True where no other point dominates. values: [n, m] with m >= 1; directions: 'max' or 'min' for each objective.

    O(n log n) for two objectives, O(n f) with f points on the front for more.
    """
    costs = _as_costs(values, directions)
    front = np.zeros(len(costs), dtype=np.bool_)
    ranked = np.flatnonzero(~np.isnan(costs).any(axis=1))
    if not ranked.size:
        return front
    unique, inverse = np.unique(costs[ranked], axis=0, return_inverse=True)
    keep = _sweep(unique) if unique.shape[1] <= 2 else _filter(unique)
    front[ranked] = keep[inverse.ravel()]
    return front


def hypervolume(values: ArrayLike, *, reference: Sequence[float], directions: Sequence[str]) -> float:
    """The area (two objectives) or volume (three) between the points and the reference, the worst value of each.

    Points that are not better than the reference in every objective add nothing, nor do those with NaN.
    """
    costs = _as_costs(values, directions)
    worst = _as_costs([reference], directions)[0]
    if not np.isfinite(worst).all():
        raise ValueError(f"reference {tuple(reference)} must be finite in every objective")
    inside = costs[(costs < worst).all(axis=1)]
    if costs.shape[1] == 2:
        return _area(inside, worst)
    if costs.shape[1] == 3:
        return _volume(inside, worst)
    raise ValueError(f"hypervolume of {costs.shape[1]} objectives is not computed; choose two or three")


def refuse_mixed_devices(objectives: Iterable[str], devices: Iterable[str]) -> None:
    """ValueError if a cost is to be compared across devices: their memory and latency are not the same quantity."""
    costs = [name for name in objectives if name.startswith("cost.")]
    found = sorted(set(devices))
    if costs and len(found) > 1:
        raise ValueError(f"{costs[0]} was measured on {' and on '.join(found)}; make one frontier per device")


def _as_costs(values: ArrayLike, directions: Sequence[str]) -> Floats:
    points = np.array(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != len(directions) or not directions:
        raise ValueError(f"values of shape {points.shape} do not give {len(directions)} objectives for each point")
    unknown = [direction for direction in directions if direction not in ("max", "min")]
    if unknown:
        raise ValueError(f"direction {unknown[0]!r} is not 'max' or 'min'")
    return points * np.array([-1.0 if direction == "max" else 1.0 for direction in directions])


def _sweep(costs: Floats) -> NDArray[np.bool_]:
    """Distinct points sorted by the first objective: one is on the front if its second is below all before it."""
    last = costs[:, -1]
    before = np.concatenate([[np.inf], np.minimum.accumulate(last)[:-1]])
    keep = last < before
    keep[0] = True
    return keep


def _filter(costs: Floats) -> NDArray[np.bool_]:
    """Distinct points in lexicographic order: nobody is dominated by a later one, so each survivor sweeps the rest."""
    keep = np.ones(len(costs), dtype=np.bool_)
    for index in range(len(costs)):
        if keep[index]:
            rest = keep[index + 1 :]
            rest[rest] = (costs[index + 1 :][rest] < costs[index]).any(axis=1)
    return keep


def _area(costs: Floats, worst: Floats) -> float:
    ordered = costs[np.lexsort((costs[:, 1], costs[:, 0]))]
    heights = np.minimum.accumulate(np.concatenate([[worst[1]], ordered[:, 1]]))
    return float(((worst[0] - ordered[:, 0]) * (heights[:-1] - heights[1:])).sum())


def _volume(costs: Floats, worst: Floats) -> float:
    """Slices along the third objective; O(n^2 log n), enough for the fronts of a study."""
    ordered = costs[np.argsort(costs[:, 2], kind="stable")]
    depths = np.diff(np.concatenate([ordered[:, 2], [worst[2]]]))
    slices = [_area(ordered[: index + 1, :2], worst[:2]) for index in range(len(ordered))]
    return float(np.dot(depths, slices))
