"""Laws: y = E + sum_k c_k term_k(exponents, x), their fit and its status.

A law is a row of LAWS: its terms, its exponents and their range. What cannot be told from the data stands in
`Fit.status`, never hidden behind a number. The numerics are `projection`, the intervals `spread`, the words `trends`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.projection import Codes, Floats, Problem, asymptotes, candidates, minimise, solve


class FitError(ValueError):
    """Data on which a law cannot be fitted at all: too few levels, constant inputs, values that are not finite."""


class FitStatus(StrEnum):
    """What a fit is worth.

    CONVERGED: an interior optimum. AT_BOUND: an exponent ended at an edge of its range (`Fit.at_bounds` names it); at
    the lower edge the law is a logarithm and its asymptote means nothing. NOT_IDENTIFIED: the law is no better than a
    constant (F test), or exponents from one edge of the range to the other fit as well (F profile), both at 95 %.
    """

    CONVERGED = "converged"
    AT_BOUND = "at a bound"
    NOT_IDENTIFIED = "not identified"


@dataclass(frozen=True, kw_only=True)
class Law:
    """One form. terms(exponents [..., e], x [n, f]) gives [..., n, t]; one coefficient per term, of either sign."""

    name: str
    equation: str
    factors: tuple[str, ...]
    coefficients: tuple[str, ...]
    exponents: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    terms: Callable[[Floats, Floats], Floats]
    steps: int = 60

    @property
    def names(self) -> tuple[str, ...]:
        """Its parameters: the asymptote E, the coefficients, the exponents."""
        return ("E", *self.coefficients, *self.exponents)


def _saturating(exponents: Floats, x: Floats) -> Floats:
    return -(x[:, 0] ** -exponents)[..., None]


LAWS = {
    law.name: law
    for law in (
        Law(
            name="saturating",
            equation="y = E − A x^(−a)",
            factors=("x",),
            coefficients=("A",),
            exponents=("a",),
            low=(0.02,),
            high=(4.0,),
            terms=_saturating,
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The least-squares optimum.

    params: E (mean over blocks), coefficients, exponents. effect: y at the largest x minus y at the smallest. profile:
    the exponents' 95 % ranges for independent errors; wider, clustered ones are `spread`.
    """

    law: Law
    status: FitStatus
    at_bounds: tuple[str, ...]
    params: Mapping[str, float]
    asymptotes: Mapping[Hashable, float]
    effect: float
    objective: float
    points: int
    profile: Mapping[str, tuple[float, float]]
    low_x: tuple[float, ...]
    high_x: tuple[float, ...]

    @property
    def open_ended(self) -> tuple[str, ...]:
        """Exponents whose profile reaches an edge of their range: the data do not hold them from that side."""
        edges = zip(self.law.exponents, self.law.low, self.law.high, strict=True)
        reach = {name: (self.profile[name][0] / low, high / self.profile[name][1]) for name, low, high in edges}
        return tuple(name for name, sides in reach.items() if min(sides) < 1.001)

    def predict(self, x: ArrayLike) -> Floats:
        """y [n] at x [n] or [n, factors], averaged over blocks."""
        exponents = np.array([self.params[name] for name in self.law.exponents])
        coefficients = np.array([self.params[name] for name in self.law.coefficients])
        return self.params["E"] + self.law.terms(exponents, columns(x)) @ coefficients


def fit(law: Law, x: ArrayLike, y: ArrayLike, *, blocks: Sequence[Hashable] | None = None) -> Fit:
    """Least squares over all points. x: [n] or [n, factors], > 0; y: [n]; each block has an asymptote of its own.

    FitError for NaN, for x <= 0, for no more levels than the law has parameters, for a constant x or y.
    """
    xs, ys, (codes, names) = columns(x), np.array(y, dtype=np.float64), block_codes(blocks, np.size(y))
    _check(law, xs, ys, codes)
    problem = Problem(terms=law.terms, x=xs, y=ys[None], weights=np.ones((1, ys.size)), codes=codes)
    best, objective = minimise(problem, law.low, law.high, law.steps)
    coefficients = solve(problem, best[:, None])[0][:, 0]
    own = asymptotes(problem, best, coefficients)[0]
    edges = [max(v / b, b / v) < 1.001 for v, b in zip([*best[0], *best[0]], [*law.low, *law.high], strict=True)]
    at_bounds = tuple(name for name, edge in zip(law.exponents * 2, edges, strict=True) if edge)
    profile, identified = _profile(law, problem, best[0], float(objective[0]))
    status = FitStatus.AT_BOUND if at_bounds else FitStatus.CONVERGED
    return Fit(
        law=law,
        status=status if identified else FitStatus.NOT_IDENTIFIED,
        at_bounds=at_bounds,
        params=dict(zip(law.names, [float(own.mean()), *coefficients[0].tolist(), *best[0].tolist()], strict=True)),
        asymptotes=dict(zip(names, own.tolist(), strict=True)),
        effect=float(effects(law, xs, best, coefficients)[0]),
        objective=float(objective[0]),
        points=ys.size,
        profile=profile,
        low_x=tuple(xs.min(axis=0).tolist()),
        high_x=tuple(xs.max(axis=0).tolist()),
    )


def curves(law: Law, x: Floats, own: Floats, coefficients: Floats, exponents: Floats) -> Floats:
    """y [b, n] at x [n, f]."""
    return own + (law.terms(exponents[:, None], x)[:, 0] @ coefficients[..., None])[..., 0]


def effects(law: Law, xs: Floats, exponents: Floats, coefficients: Floats) -> Floats:
    """y at the largest x minus y at the smallest, for each row of exponents [b, e]."""
    values = curves(law, np.stack([xs.min(axis=0), xs.max(axis=0)]), np.zeros((1, 1)), coefficients, exponents)
    return values[:, 1] - values[:, 0]


def _profile(law: Law, problem: Problem, best: Floats, objective: float) -> tuple[dict[str, tuple[float, float]], bool]:
    """Each exponent's 95 % range by the F profile, and whether the law is identified (see FitStatus)."""
    blocks = int(problem.codes.max()) + 1
    shape = len(law.names) - 1
    free = problem.y.shape[1] - blocks - shape
    grid = candidates(law.low, law.high, law.steps)
    sums = solve(problem, grid[None])[1][0]
    kept = np.vstack([best, grid[sums <= objective * (1 + stats.f.ppf(0.95, 1, free) / free)]])
    spans = {name: (float(kept[:, k].min()), float(kept[:, k].max())) for k, name in enumerate(law.exponents)}
    means = asymptotes(problem, best[None], np.zeros((1, len(law.coefficients))))[0]
    constant = float(((problem.y[0] - means[problem.codes]) ** 2).sum())
    better = (constant - objective) * free > stats.f.ppf(0.95, shape, free) * shape * objective
    everywhere = any(
        low <= edge_low * 1.001 and high >= edge_high / 1.001
        for (low, high), edge_low, edge_high in zip(spans.values(), law.low, law.high, strict=True)
    )
    return spans, better and not everywhere


def _check(law: Law, xs: Floats, ys: Floats, codes: Codes) -> None:
    if xs.shape != (ys.size, len(law.factors)):
        raise FitError(f"x of shape {xs.shape} does not give {law.factors} for {ys.size} points")
    if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        raise FitError("x or y holds NaN or infinity; leave those trials out first")
    if (xs <= 0).any():
        raise FitError(f"x = {xs.min():g}: a power law needs x > 0; leave points such as rank 0 out")
    for name, column in zip(law.factors, xs.T, strict=True):
        if np.ptp(column) == 0:
            raise FitError(f"{name} is {column[0]:g} at every point; a constant has no effect to fit")
    if np.ptp(ys) == 0:
        raise FitError(f"y is {ys[0]:g} at every point; there is nothing to fit")
    levels, needed = len(np.unique(xs, axis=0)), len(law.names) + 1
    if levels < needed:
        named = ", ".join(law.factors)
        raise FitError(f"{levels} levels of {named} are too few for the {law.name} law; it takes {needed}")
    if ys.size <= len(law.names) + int(codes.max()):
        raise FitError(f"{ys.size} points are too few for {len(law.names) + int(codes.max())} parameters")


def columns(x: ArrayLike) -> Floats:
    values = np.array(x, dtype=np.float64)
    return values[:, None] if values.ndim == 1 else values


def block_codes(blocks: Sequence[Hashable] | None, points: int) -> tuple[Codes, tuple[Hashable, ...]]:
    names = tuple(dict.fromkeys(blocks or ("all",)))
    codes = [names.index(block) for block in blocks] if blocks else [0] * points
    return np.array(codes, dtype=np.intp), names
