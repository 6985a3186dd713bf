"""What a law is fitted on: for each cell of its factors, the trials at the best nuisance setting, chosen on validation.

A law over all trials would fit how well each cell happened to be tuned. Cells with fewer settings tried are worse for
that alone, so the numbers tried are given.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.laws.law import FitError


@dataclass(frozen=True, kw_only=True)
class Best:
    """rows: numbers of the trials kept, in order. chosen: {cell: setting}. tried: {cell: how many settings}."""

    rows: tuple[int, ...]
    chosen: dict[Hashable, Hashable]
    tried: dict[Hashable, int]

    @property
    def even(self) -> bool:
        """True where all cells had as many settings to choose from."""
        return len(set(self.tried.values())) == 1


def best_of_cells(
    cells: Sequence[Hashable], settings: Sequence[Hashable], validation: ArrayLike, *, lowest: bool
) -> Best:
    """The trials at each cell's setting of the best mean validation score over seeds.

    cells: each trial's levels of the factors; settings: its nuisance hyperparameters; lowest: True for losses. A
    setting with fewer seeds than its cell's fullest one is not chosen: the best of few draws is luck. FitError for NaN.
    """
    scores = np.array(validation, dtype=np.float64)
    if not np.isfinite(scores).all():
        raise FitError(f"{int((~np.isfinite(scores)).sum())} validation scores are not finite; leave those trials out")
    if not len(cells) == len(settings) == scores.size:
        raise FitError(f"{len(cells)} cells, {len(settings)} settings and {scores.size} scores are not of one length")
    seeds = Counter(zip(cells, settings, strict=True))
    sums: dict[tuple[Hashable, Hashable], float] = {}
    for key, score in zip(zip(cells, settings, strict=True), scores, strict=True):
        sums[key] = sums.get(key, 0.0) + float(score) * (-1 if lowest else 1)
    chosen: dict[Hashable, Hashable] = {}
    for cell in dict.fromkeys(cells):
        own = [key for key in sums if key[0] == cell]
        full = max(seeds[key] for key in own)
        chosen[cell] = max((key for key in own if seeds[key] == full), key=lambda key: sums[key] / seeds[key])[1]
    return Best(
        rows=tuple(k for k, (cell, setting) in enumerate(zip(cells, settings, strict=True)) if chosen[cell] == setting),
        chosen=chosen,
        tried={cell: sum(1 for key in sums if key[0] == cell) for cell in chosen},
    )
