"""A law and a table -> a Fit with its status. The search is `starts`, what the data hold of it `profile`.

What cannot be told from the data stands in `Fit.status`, never hidden behind a number; what cannot be fitted raises.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike

from analysis.laws.descent import Objective, Problem, box, parameters
from analysis.laws.law import Codes, FitError, Floats, Law, block_codes, columns
from analysis.laws.profile import profile_of
from analysis.laws.starts import Search, search

SQUARES = Objective(log=False, delta=None)


class FitStatus(StrEnum):
    """What a fit is worth.

    CONVERGED: an interior optimum. AT_BOUND: a parameter ended at an edge of its range (`Fit.at_bounds` names it); an
    exponent at its lower edge makes the law a logarithm, whose asymptote means nothing. NOT_IDENTIFIED: the law is no
    better than a constant, or an exponent fits as well at either edge of its range, both at 95 % (see `profile`).
    """

    CONVERGED = "converged"
    AT_BOUND = "at a bound"
    NOT_IDENTIFIED = "not identified"


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The optimum of an objective.

    params: E (mean over blocks), coefficients, exponents. effect: y at the largest x minus y at the smallest. profile:
    the exponents' 95 % ranges for independent errors; wider, clustered ones are `spread`. search: the objective, the
    gradient left and how many starts agree.
    """

    law: Law
    loss: Objective
    status: FitStatus
    at_bounds: tuple[str, ...]
    params: Mapping[str, float]
    asymptotes: Mapping[Hashable, float]
    effect: float
    points: int
    profile: Mapping[str, tuple[float, float]]
    low_x: tuple[float, ...]
    high_x: tuple[float, ...]
    search: Search

    @property
    def objective(self) -> float:
        return self.search.objective

    @property
    def settled(self) -> bool:
        """True where every start ended at one interior optimum and the data hold each exponent from both sides."""
        agreed = self.search.agreeing == self.search.starts
        return agreed and self.status is FitStatus.CONVERGED and not self.open_ended

    @property
    def open_ended(self) -> tuple[str, ...]:
        """Exponents whose profile reaches an edge of their range: the data do not hold them from that side."""
        low, high = self.law.ranges(np.array([self.low_x, self.high_x]))
        reach = {
            name: (self.profile[name][0] / a, b / self.profile[name][1])
            for name, a, b in zip(self.law.exponents, low, high, strict=True)
        }
        return tuple(name for name, sides in reach.items() if min(sides) < 1.001)

    def predict(self, x: ArrayLike) -> Floats:
        """y [n] at x [n] or [n, factors], averaged over blocks."""
        exponents = np.array([self.params[name] for name in self.law.exponents])
        coefficients = np.array([self.params[name] for name in self.law.coefficients])
        return self.params["E"] + self.law.terms(exponents, columns(x)) @ coefficients


def fit(
    law: Law,
    x: ArrayLike,
    y: ArrayLike,
    *,
    blocks: Sequence[Hashable] | None = None,
    weights: ArrayLike | None = None,
    loss: Objective = SQUARES,
) -> Fit:
    """The best fit over all points. x: [n] or [n, factors], > 0; y: [n]; each block has an asymptote of its own.

    weights: [n] > 0, such as one over the noise's variance. FitError for NaN, for x <= 0, for no more levels than the
    law has parameters, for a constant x or y, for factors that move together, for a y <= 0 under a log, and where no
    descent converges.
    """
    problem, names = problem_of(law, x, y, blocks=blocks, weights=weights, loss=loss)
    found = search(problem)
    if not found.converged:
        raise FitError(
            f"{law.name} law: none of {found.starts} starts converged; gradient {found.gradient:.2g} is left"
        )
    own, coefficients, exponents = parameters(problem, found.point[None])
    profile = profile_of(problem, found.point, found.objective)
    bounds = at_bounds(problem, found.point)
    status = FitStatus.AT_BOUND if bounds else FitStatus.CONVERGED
    values = [float(own.mean()), *coefficients[0].tolist(), *exponents[0].tolist()]
    return Fit(
        law=law,
        loss=loss,
        status=status if profile.identified else FitStatus.NOT_IDENTIFIED,
        at_bounds=bounds,
        params=dict(zip(law.names, values, strict=True)),
        asymptotes=dict(zip(names, own[0].tolist(), strict=True)),
        effect=float(effects(law, problem.x, exponents, coefficients)[0]),
        points=problem.x.shape[0],
        profile=profile.ranges,
        low_x=tuple(problem.x.min(axis=0).tolist()),
        high_x=tuple(problem.x.max(axis=0).tolist()),
        search=found,
    )


def problem_of(
    law: Law,
    x: ArrayLike,
    y: ArrayLike,
    *,
    blocks: Sequence[Hashable] | None,
    weights: ArrayLike | None,
    loss: Objective,
) -> tuple[Problem, tuple[Hashable, ...]]:
    """The checked problem and its blocks' names; FitError as `fit` says."""
    xs, ys = columns(x), np.array(y, dtype=np.float64)
    heavy = np.ones(ys.size) if weights is None else np.array(weights, dtype=np.float64)
    codes, names = block_codes(blocks, ys.size)
    _check_numbers(law, xs, ys, heavy, loss)
    _check_design(law, xs, ys, codes)
    return Problem(law=law, objective=loss, x=xs, y=ys[None], weights=heavy[None], codes=codes), names


def at_bounds(problem: Problem, point: Floats) -> tuple[str, ...]:
    """Names of the parameters at an edge of their range."""
    low, high = box(problem)
    names = [*["E"] * problem.blocks, *problem.law.names[1:]]
    near = np.where(np.arange(point.size) < problem.linear, 0.0, 1e-3)
    edge = (point <= low + near) | (point >= high - near)
    return tuple(dict.fromkeys(name for name, at in zip(names, edge, strict=True) if at))


def curves(law: Law, x: Floats, own: Floats, coefficients: Floats, exponents: Floats) -> Floats:
    """y [b, n] at x [n, f]."""
    return own + (law.terms(exponents, x) @ coefficients[..., None])[..., 0]


def effects(law: Law, xs: Floats, exponents: Floats, coefficients: Floats) -> Floats:
    """y at the largest x minus y at the smallest, for each row of exponents [b, e]."""
    values = curves(law, np.stack([xs.min(axis=0), xs.max(axis=0)]), np.zeros((1, 1)), coefficients, exponents)
    return values[:, 1] - values[:, 0]


def _check_numbers(law: Law, xs: Floats, ys: Floats, weights: Floats, loss: Objective) -> None:
    if xs.shape != (ys.size, len(law.factors)):
        raise FitError(f"x of shape {xs.shape} does not give {law.factors} for {ys.size} points")
    if not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        raise FitError("x or y holds NaN or infinity; leave those trials out first")
    if weights.shape != ys.shape or not np.isfinite(weights).all() or (weights <= 0).any():
        raise FitError(f"weights of shape {weights.shape} are not {ys.size} positive numbers")
    if (xs <= 0).any():
        raise FitError(f"x = {xs.min():g}: a power law needs x > 0; leave points such as rank 0 out")
    if loss.log and (ys <= 0).any():
        raise FitError(f"y = {ys.min():g} has no logarithm; fit it by least squares of plain residuals")


def _check_design(law: Law, xs: Floats, ys: Floats, codes: Codes) -> None:
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
    centred = np.log(xs) - np.log(xs).mean(axis=0)
    if np.linalg.matrix_rank(centred / np.abs(centred).max(axis=0), tol=1e-6 * np.sqrt(len(xs))) < len(law.factors):
        raise FitError(f"{', '.join(law.factors)} move together at every point; vary one while another stays")
    low, high = (edge[None] for edge in law.ranges(xs))
    if not all(np.isfinite(law.terms(edge, xs)).all() for edge in (low, high, np.sqrt(low * high))):
        raise FitError(f"the {law.name} law, {law.equation}, has no value at some of these points; leave them out")
