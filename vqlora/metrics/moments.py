"""Moments in a video found for a query: recall at k above an overlap, as Ego4D's NLQ and Charades-STA score it.

A prediction is right if its intersection over union with the true stretch is greater than the threshold: strictly, as
in the published code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vqlora.metrics.intervals import interval, resampled_means

Stretch = tuple[float, float]
RANKS = (1, 5)
OVERLAPS = (0.3, 0.5, 0.7)


@dataclass(frozen=True, kw_only=True)
class MomentScores:
    """scores: 'R1@0.3' and the like in percent, 'mIoU' of the first prediction in percent; intervals: the same keys."""

    scores: Mapping[str, float]
    intervals: Mapping[str, list[float]]


def overlap(one: Stretch, other: Stretch) -> float:
    """Intersection over union of two stretches in seconds; 0 where one is empty or backwards."""
    shared = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    union = max(one[1], other[1]) - min(one[0], other[0])
    return shared / union if shared > 0 else 0.0


def score_moments(
    predictions: Mapping[str, Sequence[Stretch]],
    truths: Mapping[str, Stretch],
    videos: Mapping[str, str] | None = None,
) -> MomentScores:
    """predictions: best first; a query without any counts as missed. videos: of each query, for intervals.

    Raises:
        ValueError: no queries.
    """
    if not truths:
        raise ValueError("there are no queries, so there is nothing to score")
    rows = []
    for id, truth in truths.items():
        found = [overlap(stretch, truth) for stretch in predictions.get(id, ())]
        hits = [100.0 * any(share > limit for share in found[:k]) for k in RANKS for limit in OVERLAPS]
        rows.append([*hits, 100.0 * (found[0] if found else 0.0)])
    table = np.array(rows)
    means = resampled_means(table, [(videos or {}).get(id, id) for id in truths])
    names = [*(f"R{k}@{limit}" for k in RANKS for limit in OVERLAPS), "mIoU"]
    return MomentScores(
        scores=dict(zip(names, table.mean(axis=0).tolist(), strict=True)),
        intervals={name: interval(means[:, column]) for column, name in enumerate(names)},
    )
