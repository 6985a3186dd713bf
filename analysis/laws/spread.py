"""How uncertain a fitted law is: intervals from refits to resamples. The resamples are `resampling`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.bootstrap import Interval, clip_weights
from analysis.laws.descent import Problem, parameters
from analysis.laws.fitting import Fit, curves, effects, problem_of
from analysis.laws.law import FitError, Floats, Law
from analysis.laws.resampling import clusters_left_out, drawn_clusters, drawn_noise, noise_of
from analysis.laws.starts import refit

MIN_CLUSTERS = 6
MIN_RESAMPLES = 40
Method = Literal["percentile", "bca", "parametric"]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Intervals at `level`, the band of the law, curve_low to curve_high, and of a new trial, trial_low to trial_high.

    The bands are at `band_x`, values of the first factor. clips: how many were drawn too, 0 = none. redrawn: the share
    of draws that had lost too many levels for a fit. detectable: the smallest effect that this design finds in 4 of 5
    repetitions (2.8 standard errors).
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
    trial_low: Floats
    trial_high: Floats


@dataclass(frozen=True, kw_only=True)
class Refits:
    """E [b, 1] (mean over blocks), coefficients [b, t] and exponents [b, e] of b refits."""

    own: Floats
    coefficients: Floats
    exponents: Floats

    @property
    def values(self) -> Floats:
        """[b, parameters], in the order of `Law.names`."""
        return np.column_stack([self.own, self.coefficients, self.exponents])


def spread_of(
    fitted: Fit,
    x: ArrayLike,
    y: ArrayLike,
    *,
    clusters: Sequence[Hashable],
    rng: np.random.Generator,
    blocks: Sequence[Hashable] | None = None,
    weights: ArrayLike | None = None,
    clip_scores: ArrayLike | None = None,
    method: Method = "percentile",
    resamples: int = 1000,
    level: float = 0.95,
) -> Spread:
    """Intervals by drawing whole configurations; with `clip_scores` [n, clips] also clips, the same for all points.

    method: percentiles of refits to drawn clusters; their bias-corrected and accelerated form (Efron, JASA 82, 1987),
    the acceleration from leaving clusters out; or 'parametric': clusters stay, normal noise is drawn around the law.
    The bands run over the first factor with the others at their geometric mean. FitError for fewer than MIN_CLUSTERS
    clusters: percentiles of a handful of configurations mean nothing.
    """
    if len(set(clusters)) < MIN_CLUSTERS:
        raise FitError(f"{len(set(clusters))} configurations are too few for an interval; it takes {MIN_CLUSTERS}")
    if resamples < MIN_RESAMPLES:
        raise ValueError(f"{resamples} refits have no tail of 2.5 %; take at least {MIN_RESAMPLES}")
    problem, _ = problem_of(fitted.law, x, y, blocks=blocks, weights=weights, loss=fitted.loss)
    resampled, redrawn, clips = _resampled(fitted, problem, clusters, clip_scores, method, rng, resamples)
    refits = refits_of(fitted, resampled)
    left = refits_of(fitted, _left_out(problem, clusters)) if method == "bca" else None
    intervals, detectable = _intervals(fitted, problem.x, refits, left, level)
    band = _along_first(problem.x)
    return Spread(
        level=level,
        clusters=len(set(clusters)),
        clips=clips,
        redrawn=redrawn,
        effect=intervals.pop("effect"),
        params=intervals,
        detectable=detectable,
        band_x=band[:, 0],
        **_bands(fitted, problem, refits, band, clusters, rng, level),
    )


def _intervals(
    fitted: Fit, xs: Floats, refits: Refits, left: Refits | None, level: float
) -> tuple[dict[str, Interval], float]:
    """The intervals of the parameters and, under 'effect', of the effect over the design; the detectable effect."""
    values = _with_effect(fitted.law, xs, refits)
    others = _with_effect(fitted.law, xs, left).T if left else [None] * values.shape[1]
    estimates = {**fitted.params, "effect": fitted.effect}
    intervals = {
        name: interval_of(estimate, draws, other, level)
        for (name, estimate), draws, other in zip(estimates.items(), values.T, others, strict=True)
    }
    return intervals, float(2.8 * values[:, -1].std(ddof=1))


def _with_effect(law: Law, xs: Floats, refits: Refits) -> Floats:
    """The parameters of each refit and, last, its effect over the design, [b, parameters + 1]."""
    return np.column_stack([refits.values, effects(law, xs, refits.exponents, refits.coefficients)])


def refits_of(fitted: Fit, problem: Problem) -> Refits:
    """The law refitted to each of b problems, from the point of the fit."""
    found = refit(problem, fitted.search.point, widely=not fitted.settled)
    own, coefficients, exponents = parameters(problem, found.point)
    return Refits(own=own.mean(axis=1, keepdims=True), coefficients=coefficients, exponents=exponents)


def interval_of(estimate: float, draws: Floats, left_out: Floats | None, level: float) -> Interval:
    """Percentiles of the draws; with `left_out`, estimates without each cluster, the BCa interval."""
    low, high = np.quantile(draws, _tails(draws, estimate, left_out, level))
    return Interval(estimate=estimate, low=float(low), high=float(high), level=level, over="configurations")


def _tails(draws: Floats, estimate: float, left_out: Floats | None, level: float) -> Floats:
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if left_out is None:
        return tails
    below = (np.count_nonzero(draws < estimate) + np.count_nonzero(draws == estimate) / 2) / draws.size
    bias = stats.norm.ppf(np.clip(below, 1 / draws.size, 1 - 1 / draws.size))
    apart = left_out.mean() - left_out
    squares = float((apart**2).sum())
    acceleration = float((apart**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0
    moved = bias + stats.norm.ppf(tails)
    return stats.norm.cdf(bias + moved / (1 - acceleration * moved))


def _resampled(
    fitted: Fit,
    problem: Problem,
    clusters: Sequence[Hashable],
    clip_scores: ArrayLike | None,
    method: Method,
    rng: np.random.Generator,
    resamples: int,
) -> tuple[Problem, float, int]:
    """The resamples, the share of draws in vain and the number of clips drawn."""
    if method == "parametric":
        if clip_scores is not None:
            raise ValueError("a parametric bootstrap draws no clips; use 'percentile' or 'bca' with clip_scores")
        targets = drawn_noise(problem, fitted.search.point, clusters, rng, resamples)
        return _with(problem, targets, np.broadcast_to(problem.weights, targets.shape)), 0.0, 0
    weights, redrawn = drawn_clusters(fitted.law, problem.x, problem.codes, clusters, rng, resamples)
    per_clip = problem.y.T if clip_scores is None else np.array(clip_scores, dtype=np.float64)
    clips = per_clip.shape[1]
    targets = clip_weights(clips, rng=rng, resamples=resamples) @ per_clip.T
    return _with(problem, targets, weights * problem.weights), redrawn, 0 if clip_scores is None else clips


def _left_out(problem: Problem, clusters: Sequence[Hashable]) -> Problem:
    weights = clusters_left_out(clusters) * problem.weights
    return _with(problem, np.broadcast_to(problem.y, weights.shape), weights)


def _with(problem: Problem, y: Floats, weights: Floats) -> Problem:
    return Problem(law=problem.law, objective=problem.objective, x=problem.x, y=y, weights=weights, codes=problem.codes)


def _bands(
    fitted: Fit,
    problem: Problem,
    refits: Refits,
    band: Floats,
    clusters: Sequence[Hashable],
    rng: np.random.Generator,
    level: float,
) -> dict[str, Floats]:
    drawn = curves(fitted.law, band, refits.own, refits.coefficients, refits.exponents)
    noise = rng.normal(0, noise_of(problem, fitted.search.point, clusters).total, drawn.shape)
    trials = drawn * np.exp(noise) if fitted.loss.log else drawn + noise
    tails = [(1 - level) / 2, (1 + level) / 2]
    (low, high), (trial_low, trial_high) = (np.quantile(rows, tails, axis=0) for rows in (drawn, trials))
    return {"curve_low": low, "curve_high": high, "trial_low": trial_low, "trial_high": trial_high}


def _along_first(xs: Floats) -> Floats:
    """60 points along the range of the first factor, the others at their geometric mean."""
    grid = np.tile(np.exp(np.log(xs).mean(axis=0)), (60, 1))
    grid[:, 0] = np.geomspace(xs[:, 0].min(), xs[:, 0].max(), 60)
    return grid
