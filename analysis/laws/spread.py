"""How uncertain a fitted law is: whole configurations drawn with replacement, every resample refitted.

The law and its point estimate are `laws`, the drawing is `bootstrap`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.bootstrap import Interval, clip_weights, cluster_weights
from analysis.laws.descent import Problem, parameters
from analysis.laws.fitting import Fit, curves, effects
from analysis.laws.law import Codes, FitError, Floats, Law, block_codes, columns
from analysis.laws.starts import refit

MIN_CLUSTERS = 6


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Percentile intervals of a cluster bootstrap, and the band curve_low to curve_high at `band_x`.

    clips: how many were drawn too, 0 = none. redrawn: the share of draws that had lost too many levels to be fitted.
    detectable: the smallest effect that this design finds in 4 of 5 repetitions (2.8 standard errors).
    """

    level: float
    clusters: int
    clips: int
    redrawn: float
    params: Mapping[str, Interval]
    effect: Interval
    detectable: float
    band_x: Floats
    curve_low: Floats
    curve_high: Floats


def spread_of(
    fitted: Fit,
    x: ArrayLike,
    y: ArrayLike,
    *,
    clusters: Sequence[Hashable],
    rng: np.random.Generator,
    blocks: Sequence[Hashable] | None = None,
    clip_scores: ArrayLike | None = None,
    resamples: int = 1000,
    level: float = 0.95,
) -> Spread:
    """Intervals by drawing whole configurations; with `clip_scores` [n, clips] also clips, the same for all points.

    The band is drawn over the first factor with the others at their geometric mean. FitError for fewer than
    MIN_CLUSTERS clusters: percentiles of a handful of configurations mean nothing.
    """
    law, xs, (codes, _) = fitted.law, columns(x), block_codes(blocks, np.size(y))
    if len(set(clusters)) < MIN_CLUSTERS:
        raise FitError(f"{len(set(clusters))} configurations are too few for an interval; it takes {MIN_CLUSTERS}")
    weights, redrawn = _usable_weights(law, xs, codes, clusters, rng, resamples)
    per_clip = np.array(y if clip_scores is None else clip_scores, dtype=np.float64).reshape(len(xs), -1)
    clips = per_clip.shape[1]
    targets = clip_weights(clips, rng=rng, resamples=resamples) @ per_clip.T
    refits = _refits(fitted, Problem(law=law, objective=fitted.loss, x=xs, y=targets, weights=weights, codes=codes))
    draws, band = np.column_stack(refits), _along_first(xs)
    sizes = effects(law, xs, refits[2], refits[1])
    low, high = np.quantile(curves(law, band, *refits), _tails(level), axis=0)
    return Spread(
        level=level,
        clusters=len(set(clusters)),
        clips=clips if clip_scores is not None else 0,
        redrawn=redrawn,
        params={name: _interval(fitted.params[name], draws[:, k], level) for k, name in enumerate(law.names)},
        effect=_interval(fitted.effect, sizes, level),
        detectable=float(2.8 * sizes.std(ddof=1)),
        band_x=band[:, 0],
        curve_low=low,
        curve_high=high,
    )


def _refits(fitted: Fit, problem: Problem) -> tuple[Floats, Floats, Floats]:
    """E [b, 1], coefficients [b, t] and exponents [b, e] of each resample."""
    found = refit(problem, fitted.search.point, widely=not fitted.settled)
    own, coefficients, exponents = parameters(problem, found.point)
    return own.mean(axis=1, keepdims=True), coefficients, exponents


def _along_first(xs: Floats) -> Floats:
    """60 points along the range of the first factor, the others at their geometric mean."""
    grid = np.tile(np.exp(np.log(xs).mean(axis=0)), (60, 1))
    grid[:, 0] = np.geomspace(xs[:, 0].min(), xs[:, 0].max(), 60)
    return grid


def _usable_weights(
    law: Law, xs: Floats, codes: Codes, clusters: Sequence[Hashable], rng: np.random.Generator, resamples: int
) -> tuple[Floats, float]:
    """Draws that keep every block and as many levels as the law has parameters; and the share drawn in vain."""
    _, levels = np.unique(xs, axis=0, return_inverse=True)
    kept: list[Floats] = []
    drawn = 0
    while sum(map(len, kept)) < resamples:
        weights = cluster_weights(clusters, rng=rng, resamples=resamples)
        seen = weights @ np.eye(levels.max() + 1)[levels.ravel()] > 0
        whole = (weights @ np.eye(codes.max() + 1)[codes] > 0).all(axis=1)
        kept.append(weights[whole & (seen.sum(axis=1) >= len(law.names))])
        drawn += resamples
        if drawn >= 100 * resamples:
            raise FitError(f"{drawn} draws of {len(set(clusters))} configurations rarely keep enough levels for a fit")
    usable = np.concatenate(kept)
    return usable[:resamples], 1 - len(usable) / drawn


def _tails(level: float) -> tuple[float, float]:
    return (1 - level) / 2, (1 + level) / 2


def _interval(estimate: float, draws: Floats, level: float) -> Interval:
    low, high = np.quantile(draws, _tails(level))
    return Interval(estimate=estimate, low=float(low), high=float(high), level=level)
