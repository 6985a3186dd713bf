"""Where a descent begins: a grid over the exponents, everything linear solved for (variable projection).

Given the exponents a law is linear (Golub and Pereyra, Inverse Problems 19, 2003), so that starts need to cover the
exponents alone: 1,024 cells in place of a 4,500-start grid over all parameters, each one small least-squares problem.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import ndimage, optimize

from analysis.laws.descent import Found, Problem, box, descend, design, value
from analysis.laws.law import Floats

CLOSE = 1e-8  # of the objective: how far refits go, far less than resampling moves them
COARSE = 64  # cells of the grid that each refit looks at
BASINS = 8  # starts that are polished
CHUNK = 4_000_000  # numbers in one temporary, 32 MB


class Search(NamedTuple):
    """The best point [p], as `descent` has it, and its objective.

    gradient: the largest component that no bound holds. agreeing: how many of `starts` end there, to 1e-6 relative.
    """

    point: Floats
    objective: float
    gradient: float
    converged: bool
    starts: int
    agreeing: int


def search(problem: Problem) -> Search:
    """The best optimum of one problem (b = 1), from the best cells of the grid."""
    shapes = _cells(problem)
    low, high = box(problem)
    found = descend(_repeated(problem, len(shapes)), _contributions_too(problem, shapes), low, high)
    best = int(found.objective.argmin())
    near = found.objective <= found.objective[best] * (1 + 1e-6) + 1e-300
    return Search(
        point=found.point[best],
        objective=float(found.objective[best]),
        gradient=float(found.gradient[best]),
        converged=bool(found.converged[best]),
        starts=len(shapes),
        agreeing=int(near.sum()),
    )


def refit(problem: Problem, near: Floats, *, widely: bool) -> Found:
    """An optimum of each of b problems, begun at the point `near` [p]; the better of that and, `widely`, of another.

    The other is each problem's own best cell of a coarse grid; a well determined law needs none.
    """
    low, high = box(problem)
    found = descend(problem, np.tile(near, (len(problem.y), 1)), low, high, tight=CLOSE)
    if not widely:
        return found
    other = descend(problem, _best_cells(problem), low, high, tight=CLOSE)
    better = other.objective < found.objective
    parts = zip(other, found, strict=True)
    return Found(*(np.where(better[:, None] if a.ndim == 2 else better, a, b) for a, b in parts))


def _best_cells(problem: Problem) -> Floats:
    """For each problem the point [b, p] at its best of at most COARSE exponents, negative contributions set to zero."""
    grid = _grid(problem, int(COARSE ** (1 / len(problem.law.exponents)) + 1e-9))
    size = max(1, CHUNK // (len(grid) * len(problem.x) * problem.linear))
    points: list[Floats] = []
    for start in range(0, len(problem.y), size):
        part = problem.part(slice(start, start + size))
        many = part.part(np.repeat(np.arange(len(part.y)), len(grid)))
        tried = _solved(many, np.tile(grid, (len(part.y), 1)))
        sums = value(many, tried).reshape(-1, len(grid))
        points.append(tried.reshape(*sums.shape, -1)[np.arange(len(sums)), sums.argmin(axis=1)])
    return np.concatenate(points)


def _grid(problem: Problem, steps: int) -> Floats:
    """[steps ** e, e]: exponents over their range, even in the logarithm, the edges included."""
    low, high = problem.law.ranges(problem.x)
    axes = [np.geomspace(a, b, steps) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(low))


def _cells(problem: Problem) -> Floats:
    """The exponents [BASINS, e] of the grid's local minima, best first, then of cells spread over the best quarter."""
    law = problem.law
    grid = _grid(problem, law.steps)
    size = max(1, CHUNK // (len(problem.x) * problem.linear))
    parts = [_sums(problem, grid[start : start + size]) for start in range(0, len(grid), size)]
    sums = np.concatenate(parts).reshape([law.steps] * len(law.exponents))
    lowest = (sums == ndimage.minimum_filter(sums, size=3, mode="nearest")).ravel()
    order = np.argsort(sums, axis=None, kind="stable")
    minima = order[lowest[order]][:BASINS]
    spread = order[np.linspace(0, len(order) // 4, BASINS - len(minima), dtype=np.intp)]
    return grid[np.concatenate([minima, spread])]


def _sums(problem: Problem, shapes: Floats) -> Floats:
    """Weighted sums of squares of relative (or plain) residuals at shapes [g, e], the contributions solved for; [g]."""
    solved, matrix, target = _linear(problem, shapes)
    if problem.law.positive:
        for row in np.flatnonzero((solved < 0).any(axis=1)):
            solved[row], _ = optimize.nnls(matrix[row], target[0])
    return ((target - (matrix @ solved[..., None])[..., 0]) ** 2).sum(axis=-1)


def _linear(problem: Problem, shapes: Floats) -> tuple[Floats, Floats, Floats]:
    """Least-squares contributions [g, k], with the weighted matrices [g, n, k] and targets [1 or g, n] they solve."""
    unit, _ = design(problem, shapes)
    scale = np.sqrt(problem.weights) / (problem.y if problem.objective.log else 1.0)
    matrix, target = unit * scale[..., None], problem.y * scale
    flipped = np.swapaxes(matrix, 1, 2)
    gram = flipped @ matrix
    ridge = 1e-12 * np.einsum("gkk->gk", gram).max(axis=1)[:, None, None] * np.eye(problem.linear)
    return np.linalg.solve(gram + ridge, flipped @ target[..., None])[..., 0], matrix, target


def _solved(problem: Problem, shapes: Floats) -> Floats:
    """Points [b, p] at shapes [b, e]."""
    solved, _, _ = _linear(problem, shapes)
    if problem.law.positive:
        solved = np.maximum(solved, 1e-3 * np.median(np.abs(problem.y)))
    return np.concatenate([solved, np.log(shapes)], axis=1)


def _contributions_too(problem: Problem, shapes: Floats) -> Floats:
    return _solved(_repeated(problem, len(shapes)), shapes)


def _repeated(problem: Problem, times: int) -> Problem:
    return problem.part(np.zeros(times, dtype=np.intp))
