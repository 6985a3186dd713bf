"""What a design could have found: the smallest exponent, and weights where the noise differs between sizes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from analysis.laws.law import FitError, Floats, block_codes


@dataclass(frozen=True, kw_only=True)
class Slope:
    """The slope of log y in log x, minus the exponent of y ~ x^(-a), with its standard error over configurations.

    detectable: the smallest exponent that this design finds with the given power; degrees: of freedom of its noise.
    """

    exponent: float
    se: float
    detectable: float
    degrees: int


def slope_of(
    x: ArrayLike,
    y: ArrayLike,
    *,
    clusters: Sequence[Hashable],
    blocks: Sequence[Hashable] | None = None,
    level: float = 0.95,
    power: float = 0.8,
) -> Slope:
    """A straight line through the logs of each cluster's mean; each block has its own height. x, y: [n] > 0.

    Seeds of a configuration share what is peculiar to it, so that configurations, not trials, are counted. detectable
    = (t quantile of level + t quantile of power) standard errors, as for any slope. FitError for too few clusters.
    """
    values, scores = np.array(x, dtype=np.float64), np.array(y, dtype=np.float64)
    if not ((values > 0).all() and (scores > 0).all()):
        raise FitError("an exponent needs x > 0 and y > 0 at every point, and no NaN")
    codes, names = block_codes(clusters, scores.size)
    block, _ = block_codes(blocks, scores.size)
    sizes = np.bincount(codes)
    heights, places = (np.bincount(codes, np.log(column)) / sizes for column in (scores, values))
    own = block[[int(np.flatnonzero(codes == k)[0]) for k in range(len(names))]]
    centred = places - (np.bincount(own, places) / np.bincount(own))[own]
    degrees, spread = len(names) - int(own.max()) - 2, float((centred**2).sum())
    if degrees < 1 or spread == 0:
        raise FitError(f"{len(names)} configurations in {int(own.max()) + 1} blocks are too few for a slope in x")
    slope = float(centred @ heights) / spread
    rest = heights - (np.bincount(own, heights) / np.bincount(own))[own] - slope * centred
    se = float(np.sqrt((rest**2).sum() / degrees / spread))
    found = stats.t.ppf((1 + level) / 2, degrees) + stats.t.ppf(power, degrees)
    return Slope(exponent=-slope, se=se, detectable=float(found * se), degrees=degrees)


def variance_weights(y: ArrayLike, size: ArrayLike, *, clusters: Sequence[Hashable], log: bool = True) -> Floats:
    """Weights [n], mean one, from replicates: variance = exp(u + v log size), fitted by maximum likelihood.

    y: [n]; size: [n] > 0, what the noise may depend on (model size, data, predicted loss). Each cluster's variance has
    a gamma distribution with half its degrees of freedom. FitError where fewer than three clusters have replicates.
    """
    scores, sizes = np.array(y, dtype=np.float64), np.array(size, dtype=np.float64)
    codes, _ = block_codes(clusters, scores.size)
    values = np.log(scores) if log else scores
    count = np.bincount(codes)
    apart = values - (np.bincount(codes, values) / count)[codes]
    squares, free = np.bincount(codes, apart**2), count - 1
    place = np.bincount(codes, np.log(sizes)) / count
    known = (free > 0) & (squares > 0)
    if known.sum() < 3:
        raise FitError(f"{int(known.sum())} configurations have replicates; a variance model takes 3")
    centre = place[known].mean()

    def minus_log(point: Floats) -> tuple[float, Floats]:
        log_variance = point[0] + point[1] * (place[known] - centre)
        ratio = squares[known] * np.exp(-log_variance)
        slope = (free[known] - ratio) / 2
        return float((free[known] * log_variance + ratio).sum() / 2), np.array(
            [slope.sum(), (slope * (place[known] - centre)).sum()]
        )

    start = np.array([np.log(squares[known].sum() / free[known].sum()), 0.0])
    found = optimize.minimize(minus_log, start, jac=True, method="BFGS")
    weights = np.exp(-found.x[1] * (np.log(sizes) - centre))
    return weights / weights.mean()
