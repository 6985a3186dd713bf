"""What a fit is repeated on: clusters drawn with replacement, clusters left out one by one, noise drawn anew.

The drawing of clusters itself is `bootstrap`; the refits and their intervals are `spread`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from analysis.bootstrap import cluster_weights
from analysis.laws.descent import Problem, predict, residuals
from analysis.laws.law import Codes, FitError, Floats, Law, block_codes


class Noise(NamedTuple):
    """Standard deviations of the residuals: what the points of a cluster share, and what each has of its own."""

    shared: float
    own: float

    @property
    def total(self) -> float:
        return float(np.hypot(self.shared, self.own))


def drawn_clusters(
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


def clusters_left_out(clusters: Sequence[Hashable]) -> Floats:
    """[clusters, n] weights, each row without one cluster."""
    codes, names = block_codes(clusters, len(clusters))
    return 1.0 - np.eye(len(names))[:, codes]


def noise_of(problem: Problem, point: Floats, clusters: Sequence[Hashable]) -> Noise:
    """The parts of the residuals' variance at the fit of one problem (b = 1), for a point of weight one.

    own: within clusters (none where each has one point: then all is own); shared: what remains of the whole.
    """
    scaled = residuals(problem, point[None])[0] * np.sqrt(problem.weights[0])
    codes, names = block_codes(clusters, len(clusters))
    sizes = np.bincount(codes)
    within = scaled - (np.bincount(codes, scaled) / sizes)[codes]
    repeated = scaled.size - len(names)
    total = float((scaled**2).sum()) / max(scaled.size - point.size, 1)
    if repeated == 0:
        return Noise(shared=0.0, own=float(np.sqrt(total)))
    own = float((within**2).sum()) / repeated
    return Noise(shared=float(np.sqrt(max(total - own, 0.0))), own=float(np.sqrt(own)))


def drawn_noise(
    problem: Problem, point: Floats, clusters: Sequence[Hashable], rng: np.random.Generator, resamples: int
) -> Floats:
    """y [resamples, n] drawn from the fitted law with normal noise of the two parts of `noise_of`."""
    noise, (codes, names) = noise_of(problem, point, clusters), block_codes(clusters, len(clusters))
    shared = rng.normal(0, noise.shared, (resamples, len(names)))[:, codes]
    drawn = (shared + rng.normal(0, noise.own, (resamples, len(codes)))) / np.sqrt(problem.weights[0])
    fitted = predict(problem, point[None])
    return fitted * np.exp(drawn) if problem.objective.log else fitted + drawn
