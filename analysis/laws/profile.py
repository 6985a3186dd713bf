"""What the data hold of a fit: profiles of the exponents, and whether the law is better than a constant.

An exponent is held at a value while everything else is fitted again; values whose objective is not significantly above
the best one form its interval. The yardstick is the robust likelihood ratio (Ronchetti 1982; Heritier and Ronchetti,
JASA 89, 1994): twice the gain over kappa = mean psi^2 / mean psi', F distributed; for squares it is the usual F test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.laws.descent import Found, Problem, box, descend, residuals
from analysis.laws.law import Codes, Floats

FIRST, STEPS = 0.05, 12  # the first step of a profile in the log of the exponent, and how often it may double
ROUNDS = 3  # of interpolation of a crossing
CLOSE = 1e-8  # of the objective: how far a profile's refits go
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Each exponent's range at `LEVEL` (for independent errors), and whether the law is identified at that level."""

    ranges: dict[str, tuple[float, float]]
    better_than_constant: bool
    everywhere: tuple[str, ...]

    @property
    def identified(self) -> bool:
        return self.better_than_constant and not self.everywhere


def profile_of(problem: Problem, best: Floats, objective: float) -> Profile:
    """problem: one (b = 1); best: its optimum [p]."""
    law, free = problem.law, problem.x.shape[0] - best.size
    yardstick = kappa(problem, best, free) / 2
    limit = objective + yardstick * float(stats.f.ppf(LEVEL, 1, free))
    edges = _edges(problem, best, objective, limit)
    low, high = (np.exp(edge[problem.linear :]) for edge in box(problem))
    wins = len(law.names) - 1
    gain = _constant(problem, best) - objective
    return Profile(
        ranges={name: (float(a), float(b)) for name, (a, b) in zip(law.exponents, np.exp(edges), strict=True)},
        better_than_constant=bool(gain > yardstick * wins * stats.f.ppf(LEVEL, wins, free)),
        everywhere=tuple(
            name
            for k, name in enumerate(law.exponents)
            if edges[k, 0] <= np.log(low[k]) + 1e-9 and edges[k, 1] >= np.log(high[k]) - 1e-9
        ),
    )


def kappa(problem: Problem, best: Floats, free: int) -> float:
    """mean psi^2 / mean psi' at the optimum, corrected for the parameters fitted; the residual variance for squares.

    psi' counts the residuals within delta. Where delta is far below the noise few are, so the density at zero is taken
    from a wider window (1.06 sd n^(-1/5), Silverman).
    """
    found = residuals(problem, best[None])[0]
    weights, edge = problem.weights[0], problem.objective.edge
    total = float(weights.sum())
    psi = float((weights * np.clip(found, -edge, edge) ** 2).sum()) / total
    spread = 1.4826 * float(np.median(np.abs(found)))
    window = max(edge, 1.06 * spread * total**-0.2)
    inside = float(weights[np.abs(found) <= window].sum()) / total
    bent = inside if np.isinf(window) else inside * edge / window
    return psi / max(bent, 1 / total) * total / free


def held(problem: Problem, best: Floats, exponents: Codes, values: Floats) -> Floats:
    """The least objectives [m] with exponent number `exponents` [m] held at log value `values` [m]."""
    low, high = box(problem)
    lows, highs, start = (np.tile(edge, (values.size, 1)) for edge in (low, high, best))
    rows = np.arange(values.size)
    for edge in (lows, highs, start):
        edge[rows, problem.linear + exponents] = values
    return descend(problem.part(np.zeros(values.size, dtype=np.intp)), start, lows, highs, tight=CLOSE).objective


def _edges(problem: Problem, best: Floats, objective: float, limit: float) -> Floats:
    """log edges [e, 2] of the values whose objective is at most `limit`; the range's own edge where none is above.

    Steps away from the optimum double until one is above or ends at the range's edge. Then the square root of the
    excess, a straight line for a parabola, is interpolated and evaluated again.
    """
    low, high = (edge[problem.linear :] for edge in box(problem))
    numbers, ends = np.repeat(np.arange(low.size), 2), np.stack([low, high], axis=1).ravel()
    inner = np.repeat(best[problem.linear :], 2)
    outer, under, over = inner.copy(), np.full(inner.size, objective), np.full(inner.size, objective)
    for step in FIRST * 2.0 ** np.arange(STEPS):
        going = (over <= limit) & (outer != ends)
        if not going.any():
            break
        inner[going], under[going] = outer[going], over[going]
        outer[going] = np.clip(outer + step * np.sign(ends - outer), np.repeat(low, 2), np.repeat(high, 2))[going]
        over[going] = held(problem, best, numbers[going], outer[going])
    tried = outer
    for _ in range(ROUNDS):
        roots = [np.sqrt(np.maximum(sums - objective, 0)) for sums in (under, over, np.full(inner.size, limit))]
        share = np.where(over <= limit, 1.0, (roots[2] - roots[0]) / np.maximum(roots[1] - roots[0], 1e-300))
        tried = inner + np.clip(share, 0, 1) * (outer - inner)
        reached = np.where(over <= limit, over, held(problem, best, numbers, tried))
        fits = reached <= limit
        inner, under = np.where(fits, tried, inner), np.where(fits, reached, under)
        outer, over = np.where(fits, outer, tried), np.where(fits, over, reached)
    return tried.reshape(-1, 2)


def _constant(problem: Problem, best: Floats) -> float:
    """The objective of blocks without a law."""
    low, high = box(problem)
    gone = np.arange(best.size) >= problem.blocks
    start = np.where(gone, 0.0, np.median(problem.y))
    edges = (np.where(gone, [*[0.0] * problem.linear, *best[problem.linear :]], edge) for edge in (low, high))
    found: Found = descend(problem, start[None], *edges)
    return float(found.objective[0])
