"""The exact hypervolume of costs: how much space, up to a reference, they dominate. `pareto` is the door.

Two costs: a staircase's area. Three: planes swept along the third over a sorted staircase, O(n log n) (Beume, Fonseca,
Lopez-Ibanez, Paquete and Vahrenhold, IEEE TEVC 2009). More: the exclusive volumes of While, Bradstreet and Barone
(WFG, IEEE TEVC 2012), exact and exponential in the number of objectives; `moocore` is faster there and gives the same.
"""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from analysis import fronts

Floats = NDArray[np.float64]


def volume(costs: Floats, worst: Floats) -> float:
    """Of points [n, m], m >= 1, all below `worst` [m] in every cost."""
    if not len(costs):
        return 0.0
    if costs.shape[1] == 1:
        return float(worst[0] - costs.min())
    if costs.shape[1] == 2:
        return _area(costs, worst)
    kept = np.unique(costs[fronts.front(costs)], axis=0)
    return _swept(kept, worst) if costs.shape[1] == 3 else _exclusive_sum(kept, worst)


def _area(costs: Floats, worst: Floats) -> float:
    ordered = costs[np.lexsort((costs[:, 1], costs[:, 0]))]
    heights = np.minimum.accumulate(np.concatenate([[worst[1]], ordered[:, 1]]))
    return float(((worst[0] - ordered[:, 0]) * (heights[:-1] - heights[1:])).sum())


def _swept(front: Floats, worst: Floats) -> float:
    """Planes of equal third cost, best first; `xs` rises and `ys` falls along the staircase met so far."""
    xs, ys = [-np.inf, float(worst[0])], [float(worst[1]), -np.inf]  # sentinels: no point, and beyond all points
    area = total = 0.0
    depth = float(front[:, 2].min())
    for x, y, z in front[np.argsort(front[:, 2], kind="stable")].tolist():
        total += area * (z - depth)
        depth = z
        place = bisect_left(xs, x)
        if ys[place - 1] <= y or (xs[place] == x and ys[place] <= y):
            continue  # its projection is dominated by a point with a better third cost
        end, level, left = place, ys[place - 1], x
        while ys[end] >= y:  # these leave the staircase: the new point covers them
            area += (xs[end] - left) * (level - y)
            left, level = xs[end], ys[end]
            end += 1
        area += (xs[end] - left) * (level - y)
        xs[place:end], ys[place:end] = [x], [y]
    return total + area * (float(worst[2]) - depth)


def _exclusive_sum(front: Floats, worst: Floats) -> float:
    """Each point's own box less what the points after it cover of that box, which is a smaller problem of its kind."""
    ordered = front[np.argsort(-front[:, -1], kind="stable")]
    total = 0.0
    for index, point in enumerate(ordered):
        box = float(np.prod(worst - point))
        limited = np.maximum(ordered[index + 1 :], point)
        # the rest is no worse in the last cost, so all of it touches that face: one objective less
        total += box - (worst[-1] - point[-1]) * volume(limited[:, :-1], worst[:-1])
    return total
