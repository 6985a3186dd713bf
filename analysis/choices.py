"""Which point of a frontier to take: within a budget first, by a knee second.

A budget needs no scale. A knee does: 1/x has one on linear axes and none on logarithmic ones, so the scale is an
argument and belongs into every sentence about a knee.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.pareto import as_costs, non_dominated

Scale = Literal["linear", "log"]


def within(
    columns: Mapping[str, ArrayLike], limits: Mapping[str, tuple[float | None, float | None]]
) -> NDArray[np.bool_]:
    """True for the rows inside all limits {column: (least, most)}; None = no limit; a NaN meets no limit.

    ValueError for a limit on a column that is not there.
    """
    missing = sorted(set(limits) - set(columns))
    if missing:
        raise ValueError(f"limit on {missing[0]!r}, which is not one of {sorted(columns)}")
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    rows = len(next(iter(arrays.values()))) if arrays else 0
    inside = np.ones(rows, dtype=np.bool_)
    for name, (least, most) in limits.items():
        inside &= (arrays[name] >= (-np.inf if least is None else least)) & (
            arrays[name] <= (np.inf if most is None else most)
        )
    return inside


def best_within(score: ArrayLike, *, direction: str, inside: ArrayLike) -> int | None:
    """The row of the best score among those inside, the first of equals; None where no row with a score is inside."""
    costs = as_costs(np.asarray(score, dtype=np.float64)[:, None], [direction])[:, 0]
    costs = np.where(np.asarray(inside, dtype=np.bool_) & ~np.isnan(costs), costs, np.inf)
    return int(np.argmin(costs)) if costs.size and np.isfinite(costs).any() else None


def knee(values: ArrayLike, *, directions: Sequence[str], scales: Sequence[Scale] | None = None) -> int | None:
    """The row of the front farthest from the line (plane) through its extremes, towards better (Das, 1999).

    Each objective is taken to [0, 1] over the front, after its logarithm where its scale is 'log'. None for fewer than
    three distinct points on the front, or where none lies beyond the line: then there is no knee.
    """
    points = np.array(values, dtype=np.float64)
    on_front = np.flatnonzero(non_dominated(points, directions=directions))
    for column, scale in enumerate(scales or ()):
        if scale == "log":
            if (points[on_front, column] <= 0).any():
                raise ValueError(f"objective {column} has values <= 0, so it has no logarithm; use scale 'linear'")
            points[on_front, column] = np.log(points[on_front, column])
    costs = as_costs(points[on_front], directions)
    if len(np.unique(costs, axis=0)) < 3:
        return None
    spans = np.ptp(costs, axis=0)
    if (spans == 0).any():
        return None
    # extremes sit at (1, 0), (0, 1) in two objectives: their line is sum = 1; better is below it
    below = 1 - ((costs - costs.min(axis=0)) / spans).sum(axis=1)
    best = int(np.argmax(below))
    return int(on_front[best]) if below[best] > 1e-12 else None
