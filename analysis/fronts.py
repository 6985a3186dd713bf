"""Which of many points are not dominated: the algorithms, on costs (less is better, no NaN). `pareto` is the door.

Two objectives: sort and a running minimum. Three: divide and conquer on the order of the first objective, all blocks
of one size at once, so that numpy does n log n work in 2 log n passes (the idea of Kung, Luccio and Preparata, JACM
1975). More: blocks of points against the front found so far. Equal points stay together.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

SAMPLE = 2048  # points looked at to see whether a few of them dominate most
KILLERS = 48  # how many of these are held against all
BLOCK = 512  # rows compared at once with more than three objectives


def front(costs: Floats) -> Mask:
    """True for the points [n, m] that no other dominates. O(n log n) for m <= 3, O(n f m) with f on the front above."""
    kept = np.flatnonzero(_not_clearly_dominated(costs)) if len(costs) > 4 * SAMPLE else np.arange(len(costs))
    points, copies = distinct(costs[kept])
    width = costs.shape[1]
    keep = _front_2(points) if width <= 2 else _front_3(points) if width == 3 else _front_many(points)
    mask = np.zeros(len(costs), dtype=np.bool_)
    mask[kept] = keep[copies]
    return mask


def ranks(costs: Floats) -> NDArray[np.intp]:
    """The front a point is on when fronts are peeled off one after the other: 0 for the first.

    O(n log n) for m <= 2, one call of `front` for each rank above.
    """
    points, copies = distinct(costs)
    if costs.shape[1] <= 2:
        return _chains(points)[copies]
    found, rank = np.full(len(points), -1, dtype=np.intp), 0
    while (open_points := np.flatnonzero(found < 0)).size:
        found[open_points[front(points[open_points])]] = rank
        rank += 1
    return found[copies]


def distinct(costs: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """(each point once in lexicographic order, where every given point stands among them)."""
    order = np.lexsort(costs.T[::-1])
    ordered = costs[order]
    first = np.ones(len(costs), dtype=np.bool_)
    first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    copies = np.empty(len(costs), dtype=np.intp)
    copies[order] = np.cumsum(first) - 1
    return ordered[first], copies


def _not_clearly_dominated(costs: Floats) -> Mask:
    """Drops what a few good points dominate: nearly everything of a cloud, nothing of a surface."""
    sample = costs[:: max(1, len(costs) // SAMPLE)]
    good = sample[front(sample)]  # fewer than 2 SAMPLE, so this ends
    alive = np.arange(len(costs))
    if len(good) < len(sample) // 4:
        columns = np.ascontiguousarray(costs.T)
        places = np.argsort(np.argsort(good, axis=0), axis=0).sum(axis=1)
        for point in good[np.argsort(places, kind="stable")[:KILLERS]]:
            worse, equal = (np.ones(len(alive), dtype=np.bool_) for _ in range(2))
            for column, value in zip(columns, point, strict=True):
                worse &= column >= value
                equal &= column == value
            if (worse & ~equal).any():
                stay = ~worse | equal
                alive, columns = alive[stay], columns[:, stay]
    mask = np.zeros(len(costs), dtype=np.bool_)
    mask[alive] = True
    return mask


def _front_2(points: Floats) -> Mask:
    """Distinct points in lexicographic order: one is on the front if its last cost is below all before it."""
    last = points[:, -1]
    before = np.concatenate([[np.inf], np.minimum.accumulate(last)[:-1]])
    keep = last < before
    keep[:1] = True
    return keep


def _front_3(points: Floats) -> Mask:
    """Distinct points in lexicographic order: whoever dominates stands earlier.

    A point is dominated if among those before it one has neither a larger second nor a larger third cost. Blocks of
    2^k neighbours are kept sorted by the second cost; in each, the least third cost among the left half's points
    is carried to the right half's. Ranks stand for the costs, so that an infinity is an ordinary value.
    """
    size = 1 << max(1, (len(points) - 1).bit_length())
    third = np.full(size, size, dtype=np.int32)
    third[: len(points)] = dense_ranks(points[:, 2])
    # who stands where by the second cost, equals by place; the padding is last
    order = np.concatenate([np.argsort(points[:, 1], kind="stable"), np.arange(len(points), size)]).astype(np.int32)
    dominated = np.zeros(size, dtype=np.bool_)
    half = size // 2
    while half:
        is_right = (order & half) != 0
        carried = np.where(is_right, np.int32(size), third[order]).reshape(-1, 2 * half)
        least = np.minimum.accumulate(carried, axis=1).ravel()
        right = order[is_right]
        dominated[right] |= least[is_right] <= third[right]
        order = np.concatenate(
            [order[~is_right].reshape(-1, half), right.reshape(-1, half)], axis=1, dtype=np.int32
        ).ravel()
        half //= 2
    return ~dominated[: len(points)]


def _front_many(points: Floats) -> Mask:
    """Distinct points in lexicographic order, a block at a time against the front so far and against itself."""
    keep = np.zeros(len(points), dtype=np.bool_)
    survivors = points[:0]
    for start in range(0, len(points), BLOCK):
        block = points[start : start + BLOCK]
        alive = np.flatnonzero(~_dominated_by(block, survivors))
        inside = block[alive]
        alive = alive[_dominators(inside, inside).sum(axis=1) == 1]  # itself only
        keep[start + alive] = True
        survivors = np.concatenate([survivors, block[alive]])
    return keep


def _dominated_by(points: Floats, others: Floats) -> Mask:
    """Whether any of `others` is at least as good everywhere; 16 blocks of them at a time, dropping who is decided."""
    found = np.zeros(len(points), dtype=np.bool_)
    for start in range(0, len(others), 16 * BLOCK):
        open_points = np.flatnonzero(~found)
        found[open_points] = _dominators(points[open_points], others[start : start + 16 * BLOCK]).any(axis=1)
    return found


def _dominators(points: Floats, others: Floats) -> Mask:
    """[points, others]: whether the other is at least as good in every cost."""
    found = np.ones((len(points), len(others)), dtype=np.bool_)
    for column in range(points.shape[1]):
        found &= others[None, :, column] <= points[:, column, None]
    return found


def _chains(points: Floats) -> NDArray[np.intp]:
    """Ranks of distinct points in lexicographic order with at most two costs: the last cost of each front, bisected."""
    tails: list[float] = []
    found = np.empty(len(points), dtype=np.intp)
    for index, last in enumerate(points[:, -1].tolist()):
        place = bisect_right(tails, last)
        tails[place : place + 1] = [last]
        found[index] = place
    return found


def dense_ranks(values: Floats) -> NDArray[np.int32]:
    """Each value's place among the distinct ones, from 0."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    found = np.empty(len(values), dtype=np.int32)
    found[order] = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])]) if len(values) else 0
    return found
