"""How much of a fitted effect hangs on one cluster of trials: fits without each in turn (deletion, Cook 1977)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from analysis.laws.fitting import Fit, fit
from analysis.laws.law import FitError, columns


def effects_without(
    fitted: Fit, x: ArrayLike, y: ArrayLike, *, clusters: Sequence[Hashable], blocks: Sequence[Hashable] | None = None
) -> dict[Hashable, float]:
    """{cluster: the law's effect over the range of all points, fitted without it}; one it cannot spare is left out.

    x: [n] or [n, factors], y: [n]; clusters and blocks name each point's.
    """
    xs, ys = columns(x), np.array(y, dtype=np.float64)
    found: dict[Hashable, float] = {}
    for cluster in dict.fromkeys(clusters):
        kept = [place for place, name in enumerate(clusters) if name != cluster]
        own = None if blocks is None else [blocks[place] for place in kept]
        try:
            without = fit(fitted.law, xs[kept], ys[kept], blocks=own, loss=fitted.loss)
        except FitError:
            continue
        low, high = without.predict(np.array([fitted.low_x, fitted.high_x]))
        found[cluster] = float(high - low)
    return found
