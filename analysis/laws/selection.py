"""Which form: by how well it predicts expensive trials from cheap ones; information criteria beside, never alone.

R2 and AICc look at the points that were fitted. Forms that agree there part outside, and outside is what a law is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from analysis.laws.descent import Objective
from analysis.laws.fitting import Fit, fit
from analysis.laws.law import FitError, Floats, Law, columns

SHARES = (0.5, 0.6, 0.7, 0.8)


@dataclass(frozen=True, kw_only=True)
class Extrapolated:
    """Relative errors of predictions for the trials dearer than `cost`, from the cheaper ones.

    mean: of absolute errors; signed: of errors, positive where the law predicts too much.
    """

    cost: float
    fitted: int
    predicted: int
    mean: float
    signed: float
    worst: float


@dataclass(frozen=True, kw_only=True)
class Form:
    """One candidate. fit, aicc and bic are None where the law cannot be fitted to all points; `refused` says why.

    tests: one for each share of trials that were taken as cheap. error: their mean; se: its standard error over tests.
    """

    law: Law
    fit: Fit | None
    aicc: float | None
    bic: float | None
    tests: tuple[Extrapolated, ...]
    refused: str = ""

    @property
    def error(self) -> float | None:
        return float(np.mean([test.mean for test in self.tests])) if self.tests else None

    @property
    def se(self) -> float | None:
        errors = [test.mean for test in self.tests]
        return float(np.std(errors, ddof=1) / np.sqrt(len(errors))) if len(errors) > 1 else None


def choose(
    laws: Sequence[Law],
    x: ArrayLike,
    y: ArrayLike,
    *,
    cost: ArrayLike,
    loss: Objective,
    shares: Sequence[float] = SHARES,
) -> list[Form]:
    """The candidates, best extrapolation first, those without one last. x: [n, f], y: [n], cost: [n], such as FLOPs.

    Every law takes the columns of x in its own order. FitError where no law can be tested.
    """
    xs, ys, costs = columns(x), np.array(y, dtype=np.float64), np.array(cost, dtype=np.float64)
    if costs.shape != ys.shape or not np.isfinite(costs).all():
        raise FitError(f"cost of shape {costs.shape} is not {ys.size} finite numbers, one for each point")
    forms = [_form(law, xs, ys, costs, loss, shares) for law in laws]
    if not any(form.tests for form in forms):
        raise FitError(f"no law could be tested on dearer trials: {forms[0].refused}")
    return sorted(forms, key=lambda form: (form.error is None, form.error or 0.0))


def within_one_se(forms: Sequence[Form]) -> list[Form]:
    """Those that the data do not tell from the best: an error within one standard error of its own."""
    best = forms[0]
    limit = (best.error or 0.0) + (best.se or 0.0)
    return [form for form in forms if form.error is not None and form.error <= limit]


def criteria(fitted: Fit, x: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """AICc and BIC of a fit, with the density exp(-rho / tau) / Z(tau) that its objective implies, tau fitted too.

    ValueError for a fit with several blocks, which forms are not compared on.
    """
    if len(fitted.asymptotes) > 1:
        raise ValueError(f"a fit of {len(fitted.asymptotes)} blocks; compare forms on tables without blocks")
    predicted, values = fitted.predict(x), np.array(y, dtype=np.float64)
    residuals = np.log(predicted / values) if fitted.loss.log else predicted - values
    found: Any = optimize.minimize_scalar(
        lambda log_tau: _minus_log(residuals, fitted.loss, np.exp(log_tau)),
        bracket=tuple(np.log(float(fitted.loss.rho(residuals).mean()) + 1e-300) + np.array([-1.0, 1.0])),
    )
    own = len(fitted.law.names) + 1  # and tau
    n, twice = residuals.size, 2 * float(found.fun)
    small = 2 * own * (own + 1) / (n - own - 1) if n > own + 1 else np.inf
    log_y = 2 * float(np.log(values).sum()) if fitted.loss.log else 0.0
    return twice + log_y + 2 * own + small, twice + log_y + own * np.log(n)


def _minus_log(residuals: Floats, loss: Objective, tau: float) -> float:
    """Minus the log likelihood: a normal core of variance tau up to delta, exponential tails beyond."""
    core = np.sqrt(2 * np.pi * tau)
    if loss.delta is None:
        whole = core
    else:
        tails = 2 * tau / loss.delta * np.exp(-(loss.delta**2) / (2 * tau))
        whole = core * special.erf(loss.delta / np.sqrt(2 * tau)) + tails
    return float(loss.rho(residuals).sum() / tau + residuals.size * np.log(whole))


def _form(law: Law, xs: Floats, ys: Floats, costs: Floats, loss: Objective, shares: Sequence[float]) -> Form:
    try:
        whole = fit(law, xs, ys, loss=loss)
    except FitError as error:
        return Form(law=law, fit=None, aicc=None, bic=None, tests=(), refused=str(error))
    aicc, bic = criteria(whole, xs, ys)
    tests: list[Extrapolated] = []
    refused = ""
    for share in shares:
        try:
            tests.append(extrapolate(law, xs, ys, cost=costs, share=share, loss=loss))
        except FitError as error:
            refused = str(error)
    return Form(law=law, fit=whole, aicc=aicc, bic=bic, tests=tuple(tests), refused=refused)


def extrapolate(
    law: Law, x: ArrayLike, y: ArrayLike, *, cost: ArrayLike, loss: Objective, share: float = 0.7
) -> Extrapolated:
    """Fits the cheapest `share` of the trials and predicts the rest; trials of equal cost stay together."""
    xs, ys, costs = columns(x), np.array(y, dtype=np.float64), np.array(cost, dtype=np.float64)
    limit = float(np.quantile(costs, share, method="lower"))
    cheap = costs <= limit
    if cheap.all():
        raise FitError(f"no trial costs more than {limit:g}; there is nothing dearer to predict")
    errors = fit(law, xs[cheap], ys[cheap], loss=loss).predict(xs[~cheap]) / ys[~cheap] - 1
    return Extrapolated(
        cost=limit,
        fitted=int(cheap.sum()),
        predicted=errors.size,
        mean=float(np.abs(errors).mean()),
        signed=float(errors.mean()),
        worst=float(np.abs(errors).max()),
    )
