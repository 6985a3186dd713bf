"""Variable projection for many weighted least-squares problems at once: y = E_block + terms(exponents) @ coefficients.

Given the exponents everything else is linear (Golub and Pereyra, Inverse Problems 19, 2003), so the search is over the
exponents alone: a grid over their range, then zooms into the best cell. Shapes: b problems, g candidates, n points, t
terms, e exponents. What the laws are and what a fit is worth: `laws`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]
ZOOMS = 10  # each narrows the cell fourfold: 4^-10 of a grid step, about 1e-7 relative in an exponent
CHUNK = 2_000_000  # numbers in one temporary, 16 MB


@dataclass(frozen=True, kw_only=True)
class Problem:
    """b weighted problems that share x. x: [n, f], y: [b, n], weights: [b, n] >= 0, codes: each point's block, [n]."""

    terms: Callable[[Floats, Floats], Floats]
    x: Floats
    y: Floats
    weights: Floats
    codes: Codes

    def part(self, rows: slice) -> Problem:
        """Some of the problems."""
        return Problem(terms=self.terms, x=self.x, y=self.y[rows], weights=self.weights[rows], codes=self.codes)


def solve(problem: Problem, exponents: Floats) -> tuple[Floats, Floats]:
    """Coefficients [b, g, t] and sums of squares [b, g] at candidate exponents [b or 1, g, e]; E is projected out."""
    terms = np.swapaxes(problem.terms(exponents, problem.x), -1, -2)
    weights = problem.weights[:, None, None]
    centred = terms - _block_means(terms, weights, problem.codes)
    y = problem.y - _block_means(problem.y, problem.weights, problem.codes)
    norm = np.sqrt((weights * centred**2).sum(axis=-1, keepdims=True))
    unit = centred / np.where(norm > 0, norm, 1.0)
    gram = (unit * weights) @ np.swapaxes(unit, -1, -2)
    # terms that coincide share their coefficient instead of failing
    gram = gram + 1e-13 * np.eye(gram.shape[-1])
    moments = (unit * weights) @ y[:, None, :, None]
    solved = np.linalg.solve(gram, moments)
    residual = y[:, None] - (np.swapaxes(solved, -1, -2) @ unit)[..., 0, :]
    coefficients = solved[..., 0] / np.where(norm > 0, norm, 1.0)[..., 0]
    return coefficients, (problem.weights[:, None] * residual**2).sum(axis=-1)


def asymptotes(problem: Problem, exponents: Floats, coefficients: Floats) -> Floats:
    """E of each block, [b, blocks], at exponents [b, e] and coefficients [b, t]; NaN where a block has no weight."""
    rest = problem.y - (problem.terms(exponents[:, None], problem.x)[:, 0] @ coefficients[..., None])[..., 0]
    member = np.eye(int(problem.codes.max()) + 1)[problem.codes]
    sums = problem.weights @ member
    return np.divide((problem.weights * rest) @ member, sums, out=np.full(sums.shape, np.nan), where=sums > 0)


def candidates(low: tuple[float, ...], high: tuple[float, ...], steps: int) -> Floats:
    """[steps ** e, e]: a grid over the range, even in the logarithm, its edges included."""
    axes = [np.geomspace(a, b, steps) for a, b in zip(low, high, strict=True)]
    return np.array(list(itertools.product(*axes)))


def minimise(problem: Problem, low: tuple[float, ...], high: tuple[float, ...], steps: int) -> tuple[Floats, Floats]:
    """The best exponents [b, e] within the range and their sums of squares [b]."""
    size = max(1, CHUNK // (steps ** len(low) * problem.x.shape[0]))
    parts = [
        _minimise(problem.part(slice(start, start + size)), low, high, steps)
        for start in range(0, problem.y.shape[0], size)
    ]
    return np.concatenate([best for best, _ in parts]), np.concatenate([value for _, value in parts])


def _minimise(problem: Problem, low: tuple[float, ...], high: tuple[float, ...], steps: int) -> tuple[Floats, Floats]:
    grid = candidates(low, high, steps)
    _, objective = solve(problem, grid[None])
    best = grid[objective.argmin(axis=1)]
    value = objective.min(axis=1)
    width = np.log(np.divide(high, low)) / (steps - 1)
    offsets = np.array(list(itertools.product(np.linspace(-1, 1, 9), repeat=len(low))))
    rows = np.arange(best.shape[0])
    for zoom in range(ZOOMS):
        near = np.clip(best[:, None] * np.exp(offsets[None] * width / 4**zoom), low, high)
        _, objective = solve(problem, near)
        chosen = objective.argmin(axis=1)
        better = objective[rows, chosen] < value
        best = np.where(better[:, None], near[rows, chosen], best)
        value = np.minimum(value, objective[rows, chosen])
    return best, value


def _block_means(values: Floats, weights: Floats, codes: Codes) -> Floats:
    """Each value's weighted mean within its block, along the last axis; zero where a block has no weight."""
    member = np.eye(int(codes.max()) + 1)[codes]
    sums = weights @ member
    totals = (values * weights) @ member
    means = np.divide(totals, sums, out=np.zeros_like(totals), where=sums > 0)
    return means[..., codes]
