"""Which points are not dominated, and how much they dominate. Directions are arguments, never sign flips of the caller.

A point dominates another if it is at least as good in every objective and better in one. Equal points do not dominate
each other, so duplicates stay together. A point with a NaN in any objective cannot be ranked: it is never on the front,
has no rank and dominates nothing. Infinities are ordinary values. Inputs are never changed.

The algorithms are in `fronts` and `volume`; choosing a point is `choices`, how sure a front is `chances` and
`attainment`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis import fronts, volume

Floats = NDArray[np.float64]
Engine = Literal["own", "moocore", "auto"]
MANY = 4  # from so many objectives on moocore is much faster; below, 'auto' is the own code, whatever is installed


def non_dominated(values: ArrayLike, *, directions: Sequence[str], engine: Engine = "auto") -> NDArray[np.bool_]:
    """True where no other point dominates. values: [n, m] with m >= 1; directions: 'max' or 'min' for each objective.

    O(n log n) for up to three objectives, O(n f m) with f points on the front for more. engine: 'moocore' is optional
    and gives the same answer; 'auto' takes it from four objectives on where it is installed.
    """
    costs = as_costs(values, directions)
    mask = np.zeros(len(costs), dtype=np.bool_)
    ranked = np.flatnonzero(~np.isnan(costs).any(axis=1))
    if not ranked.size:
        return mask
    if _takes_moocore(engine, len(directions)):
        import moocore

        places = np.column_stack([fronts.dense_ranks(column) for column in costs[ranked].T])
        mask[ranked] = moocore.is_nondominated(places, keep_weakly=True)  # 0.3.2 crashes on infinities, so places
    else:
        mask[ranked] = fronts.front(costs[ranked])
    return mask


def ranks(values: ArrayLike, *, directions: Sequence[str]) -> NDArray[np.intp]:
    """The front each point is on when fronts are peeled off one after the other: 0 for the first, -1 with a NaN."""
    costs = as_costs(values, directions)
    found = np.full(len(costs), -1, dtype=np.intp)
    ranked = np.flatnonzero(~np.isnan(costs).any(axis=1))
    found[ranked] = fronts.ranks(costs[ranked])
    return found


def hypervolume(
    values: ArrayLike, *, reference: Sequence[float], directions: Sequence[str], engine: Engine = "auto"
) -> float:
    """The exact area, volume, ... between the points and the reference, the worst value of each objective.

    Points that are not better than the reference in every objective add nothing, nor do those with NaN or beyond all
    bounds. Its unit is the product of the objectives' units. ValueError for a reference that is not finite, and for a
    point that is infinitely good, whose volume would be infinite.
    """
    costs = as_costs(values, directions)
    worst = as_costs([reference], directions)[0]
    if not np.isfinite(worst).all():
        raise ValueError(f"reference {tuple(reference)} must be finite in every objective")
    inside = costs[(costs < worst).all(axis=1)]
    if not np.isfinite(inside).all():
        raise ValueError("a point is infinitely good, so no volume is finite; leave it out or give its true value")
    if _takes_moocore(engine, len(directions)):
        import moocore

        return float(moocore.hypervolume(inside, ref=worst)) if len(inside) else 0.0
    return volume.volume(inside, worst)


def not_clearly_dominated(
    values: ArrayLike, *, directions: Sequence[str], tolerance: Sequence[float], relative: Sequence[bool] | None = None
) -> NDArray[np.bool_]:
    """The front and its near ties: True where no other is as good everywhere and better by more than the tolerance.

    tolerance: what measuring cannot tell apart, >= 0 for each objective, in its unit or, where `relative`, as a share
    of the point's own value.
    """
    costs = as_costs(values, directions)
    slack = _slack(costs, tolerance, relative)
    best = costs[non_dominated(values, directions=directions)]
    found = np.array(~np.isnan(costs).any(axis=1), dtype=np.bool_)
    for index in np.flatnonzero(found):
        as_good = (best <= costs[index]).all(axis=1)
        found[index] = not (as_good & (best < costs[index] - slack[index]).any(axis=1)).any()
    return found


def cover(values: ArrayLike, *, directions: Sequence[str], epsilon: Sequence[float]) -> NDArray[np.bool_]:
    """Few points of the front, enough that every point is at most epsilon better anywhere than one of them.

    epsilon: > 0 for each objective, in its unit. One point is kept in each cell of that size (Laumanns, Thiele, Deb and
    Zitzler, Evolutionary Computation 2002), the one nearest to the cell's best corner, the first among equals.
    """
    costs = as_costs(values, directions)
    sizes = np.asarray(epsilon, dtype=np.float64)
    if sizes.shape != (len(directions),) or not (sizes > 0).all():
        raise ValueError(
            f"epsilon {list(epsilon)} must hold a positive number for each of {len(directions)} objectives"
        )
    mask = np.zeros(len(costs), dtype=np.bool_)
    on_front = np.flatnonzero(non_dominated(values, directions=directions))
    if not on_front.size:
        return mask
    scaled = costs[on_front] / sizes
    cells = np.floor(scaled)
    order = np.argsort((scaled - cells).sum(axis=1), kind="stable")
    _, first = np.unique(cells[order], axis=0, return_index=True)
    chosen = order[first]
    mask[on_front[chosen[fronts.front(cells[chosen])]]] = True
    return mask


def refuse_mixed_devices(objectives: Iterable[str], devices: Iterable[str]) -> None:
    """ValueError if a cost is to be compared across devices: their memory and latency are not the same quantity."""
    costs = [name for name in objectives if name.startswith("cost.")]
    found = sorted(set(devices))
    if costs and len(found) > 1:
        raise ValueError(f"{costs[0]} was measured on {' and on '.join(found)}; make one frontier per device")


def as_costs(values: ArrayLike, directions: Sequence[str]) -> Floats:
    """A copy in which less is better; ValueError for another shape than [n, m] and for unknown directions."""
    points = np.array(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != len(directions) or not directions:
        raise ValueError(f"values of shape {points.shape} do not give {len(directions)} objectives for each point")
    unknown = [direction for direction in directions if direction not in ("max", "min")]
    if unknown:
        raise ValueError(f"direction {unknown[0]!r} is not 'max' or 'min'")
    return points * np.array([-1.0 if direction == "max" else 1.0 for direction in directions])


def _slack(costs: Floats, tolerance: Sequence[float], relative: Sequence[bool] | None) -> Floats:
    sizes = np.asarray(tolerance, dtype=np.float64)
    if sizes.shape != (costs.shape[1],) or not (sizes >= 0).all():
        raise ValueError(f"tolerance {list(tolerance)} must hold a number >= 0 for each of {costs.shape[1]} objectives")
    shares = np.zeros(len(sizes), dtype=np.bool_) if relative is None else np.asarray(relative, dtype=np.bool_)
    return np.where(shares, sizes * np.abs(costs), sizes)


def _takes_moocore(engine: Engine, objectives: int) -> bool:
    if engine == "moocore" and find_spec("moocore") is None:
        raise ValueError("engine 'moocore' is not installed; pip install moocore, or use engine 'own'")
    return engine == "moocore" or (engine == "auto" and objectives >= MANY and find_spec("moocore") is not None)
