"""Many fits of one law at once: batched Newton steps on a Huber (or squared) loss of log (or plain) residuals.

A point is (contribution of each block's E and of each coefficient, log of each shape parameter). A contribution is the
coefficient times the root mean square of its term, so that its derivative and the exponent's are not the same column:
on the Chinchilla table that lowers the condition number of the Gauss-Newton matrix from 4e6 to 1e3. Shapes: b
problems, n points, p parameters. What a law is: `law`; where the first points come from: `starts`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from analysis.laws.law import Codes, Floats, Law

STEPS = 400
TIGHT = 1e-12  # of the objective; a promise a thousand times as large still counts as converged


@dataclass(frozen=True, kw_only=True)
class Objective:
    """sum_i w_i rho(residual_i); rho is r^2/2 up to delta, delta (|r| - delta/2) beyond it.

    log: residuals are log prediction - log y, else prediction - y. delta None: squares throughout.
    """

    log: bool = True
    delta: float | None = 1e-3

    def __post_init__(self) -> None:
        if self.delta is not None and not 0 < self.delta < np.inf:
            raise ValueError(f"delta {self.delta} must be a positive number; None means squares")

    @property
    def edge(self) -> float:
        return np.inf if self.delta is None else self.delta

    def rho(self, residuals: Floats) -> Floats:
        size = np.abs(residuals)
        inner = np.minimum(size, self.edge)
        return inner * (size - inner / 2)

    def __str__(self) -> str:
        on = "log residuals" if self.log else "residuals"
        return f"least squares of {on}" if self.delta is None else f"Huber loss of {on} beyond {self.delta:g}"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """b weighted problems that share x. x: [n, f], y and weights: [b, n], codes: each point's block, [n]."""

    law: Law
    objective: Objective
    x: Floats
    y: Floats
    weights: Floats
    codes: Codes

    @property
    def blocks(self) -> int:
        return int(self.codes.max()) + 1

    @property
    def linear(self) -> int:
        """How many of the parameters are contributions."""
        return self.blocks + len(self.law.coefficients)

    def part(self, rows: Codes | slice) -> Problem:
        """Some of the problems."""
        return replace(self, y=self.y[rows], weights=self.weights[rows])


class Found(NamedTuple):
    """Optima. point: [b, p]; objective: [b]; gradient: [b], the largest component that a bound does not hold."""

    point: Floats
    objective: Floats
    gradient: Floats
    converged: Floats


def box(problem: Problem) -> tuple[Floats, Floats]:
    """The least and largest point, [p] and [p]."""
    low, high = problem.law.ranges(problem.x)
    least = np.full(problem.linear, 0.0 if problem.law.positive else -np.inf)
    return np.concatenate([least, np.log(low)]), np.concatenate([np.full(problem.linear, np.inf), np.log(high)])


def design(problem: Problem, shape: Floats) -> tuple[Floats, Floats]:
    """Blocks' and law's terms at shape [b, e], each of root mean square one, [b, n, B + t]; and those norms.

    Where E is free to take either sign, each term is less its mean, which E takes up: see `parameters`.
    """
    terms = problem.law.terms(shape, problem.x)
    if not problem.law.positive:
        terms = terms - terms.mean(axis=-2, keepdims=True)
    member = np.broadcast_to(np.eye(problem.blocks)[problem.codes], (len(shape), len(problem.x), problem.blocks))
    norms = np.sqrt((terms**2).mean(axis=-2))
    return np.concatenate([member, terms / norms[:, None]], axis=-1), norms


def parameters(problem: Problem, points: Floats) -> tuple[Floats, Floats, Floats]:
    """E of each block [b, B], coefficients [b, t] and exponents [b, e] of points [b, p], in the user's units."""
    exponents = np.exp(points[:, problem.linear :])
    _, norms = design(problem, exponents)
    own, parts = points[:, : problem.blocks], points[:, problem.blocks : problem.linear]
    coefficients = parts / norms
    if not problem.law.positive:
        means = problem.law.terms(exponents, problem.x).mean(axis=-2)
        own = own - (coefficients * means).sum(axis=-1, keepdims=True)
    return own, coefficients, exponents


def residuals(problem: Problem, point: Floats) -> Floats:
    """[b, n]; beyond any other where a prediction has no logarithm."""
    predicted = predict(problem, point)
    if not problem.objective.log:
        return predicted - problem.y
    usable = predicted > 0
    return np.where(usable, np.log(np.where(usable, predicted, 1.0)) - np.log(problem.y), 1e150)


def predict(problem: Problem, point: Floats) -> Floats:
    """y at the problem's own x, [b, n]."""
    unit, _ = design(problem, np.exp(point[:, problem.linear :]))
    return (unit @ point[:, : problem.linear, None])[..., 0]


def value(problem: Problem, point: Floats) -> Floats:
    """The objective of each problem, [b]."""
    return (problem.weights * problem.objective.rho(residuals(problem, point))).sum(axis=1)


def jacobian(problem: Problem, point: Floats) -> tuple[Floats, Floats]:
    """Residuals [b, n] and their derivatives in the parameters, [b, n, p]."""
    shape = np.exp(point[:, problem.linear :])
    unit, norms = design(problem, shape)
    part = point[:, : problem.linear]
    own, each = unit[..., problem.blocks :], part[:, problem.blocks :] / norms
    moved = problem.law.slopes(shape, problem.x)
    # what a change of shape does to the norm is taken back, so that a contribution stays what it is
    normed = np.einsum("bnt,bnte->bte", own, moved) / len(problem.x) * each[..., None]
    shaped = np.einsum("bnte,bt->bne", moved, each) - own @ normed
    if not problem.law.positive:
        shaped = shaped - shaped.mean(axis=1, keepdims=True)
    shaped = shaped * shape[:, None]
    predicted = (unit @ part[..., None])[..., 0]
    slopes = np.concatenate([unit, shaped], axis=-1)
    if not problem.objective.log:
        return predicted - problem.y, slopes
    return np.log(predicted) - np.log(problem.y), slopes / predicted[..., None]


def descend(problem: Problem, start: Floats, low: Floats, high: Floats, *, tight: float = TIGHT) -> Found:
    """From each start [b, p] to a minimum within low and high ([p] or [b, p]); equal edges hold a parameter fixed.

    tight: the share of the objective that the last step may still promise to win.
    """
    low, high = (np.broadcast_to(edge, start.shape) for edge in (low, high))
    point = np.clip(start, low, high)
    best, damping = value(problem, point), np.ones(len(point))
    gradient, promise = np.full(len(point), np.inf), np.full(len(point), np.inf)
    scale = np.ones_like(problem.y) if problem.objective.log else np.abs(problem.y)
    least = (problem.weights * problem.objective.rho(1e-13 * scale)).sum(axis=1)
    rows = np.arange(len(point))
    for _ in range(STEPS):
        part = problem.part(rows)
        step, gradient[rows], promise[rows] = _step(part, point[rows], low[rows], high[rows], damping[rows])
        tried = np.clip(point[rows] + step, low[rows], high[rows])
        reached = value(part, tried)
        won = reached < best[rows]
        point[rows[won]], best[rows[won]] = tried[won], reached[won]
        damping[rows] = np.where(won, np.maximum(damping[rows] / 5, 1e-9), damping[rows] * 4)
        rows = rows[(promise[rows] > tight * best[rows] + least[rows]) & (damping[rows] < 1e12)]
        if not rows.size:
            break
    return Found(
        point=point,
        objective=best,
        gradient=gradient,
        converged=promise <= np.maximum(tight, 1e3 * TIGHT) * best + least,
    )


def _step(part: Problem, point: Floats, low: Floats, high: Floats, damping: Floats) -> tuple[Floats, Floats, Floats]:
    """A damped Newton step, the largest free gradient and the gain to first order of an undamped one.

    The Newton matrix counts only points within delta; the damping is the matrix of iteratively reweighted least
    squares, which bounds the objective from above, so that enough of it always goes downhill.
    """
    residual, slopes = jacobian(part, point)
    size, edge = np.maximum(np.abs(residual), 1e-300), part.objective.edge
    pull = part.weights * np.clip(residual, -edge, edge)
    gradient = (pull[:, None] @ slopes)[:, 0]
    held = ((point <= low) & (gradient > 0)) | ((point >= high) & (gradient < 0)) | (low == high)
    free = ~held
    slopes = slopes * free[:, None]
    flipped = np.swapaxes(slopes, 1, 2)
    newton = (flipped * (part.weights * (size <= edge))[:, None]) @ slopes
    upper = (flipped * (part.weights * np.minimum(1.0, edge / size))[:, None]) @ slopes
    diagonal = np.einsum("bpp->bp", upper)
    eye = np.eye(point.shape[1])
    floor = eye * np.where(free, 1e-12 * diagonal.max(axis=1, keepdims=True) + 1e-300, 1.0)[:, None]
    downhill = np.where(free, -gradient, 0.0)[..., None]
    step = np.linalg.solve(newton + damping[:, None, None] * upper + floor, downhill)[..., 0]
    sure = np.linalg.solve(upper + floor, downhill)[..., 0]
    reach = np.where(np.arange(point.shape[1]) < part.linear, np.inf, 1.0)
    return np.clip(step, -reach, reach), np.abs(gradient * free).max(axis=1), (sure * downhill[..., 0]).sum(axis=1)
