"""Predictions held against measurements: order, scale, and how much of it noise allows to see. numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Rank correlation with its interval, and measured = slope predicted + intercept.

    beyond_noise: pairs whose measured difference exceeds twice its seed noise; concordant: the share of them that the
    prediction orders alike, None without any.
    """

    spearman: float
    low: float
    high: float
    slope: float
    intercept: float
    slope_low: float
    slope_high: float
    points: int
    beyond_noise: int
    concordant: float | None


def agreement(
    predicted: ArrayLike, measured: ArrayLike, *, seed_sd: float, rng: np.random.Generator, resamples: int = 2000
) -> Agreement:
    """Predictions against held-out measurements, [n] each; 95 % percentile intervals over configurations.

    seed_sd: the standard deviation of one measurement. ValueError for NaN, for fewer than 5 and for constant values.
    """
    x, y = finite(predicted, "predicted"), finite(measured, "measured")
    if x.shape != y.shape or x.ndim != 1 or x.size < 5:
        raise ValueError(f"{x.size} predictions of {y.size} measurements; it takes at least 5, one for each")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        raise ValueError("all predictions or all measurements are equal; there is no order to agree on")
    draws = rng.integers(x.size, size=(resamples, x.size))
    draws = draws[(np.ptp(x[draws], axis=1) > 0) & (np.ptp(y[draws], axis=1) > 0)]
    orders = [_correlation(_ranks(x[row]), _ranks(y[row])) for row in draws]
    slopes = [_slope(x[row], y[row]) for row in draws]
    apart = np.abs(y[:, None] - y) > 2 * np.sqrt(2) * seed_sd
    pairs = np.triu(apart, 1)
    alike = np.sign(x[:, None] - x) == np.sign(y[:, None] - y)
    slope = _slope(x, y)
    return Agreement(
        spearman=_correlation(_ranks(x), _ranks(y)),
        low=float(np.quantile(orders, 0.025)),
        high=float(np.quantile(orders, 0.975)),
        slope=slope,
        intercept=float(y.mean() - slope * x.mean()),
        slope_low=float(np.quantile(slopes, 0.025)),
        slope_high=float(np.quantile(slopes, 0.975)),
        points=x.size,
        beyond_noise=int(pairs.sum()),
        concordant=float(alike[pairs].mean()) if pairs.any() else None,
    )


def calibrated(predicted: ArrayLike, measured: ArrayLike) -> Floats:
    """Each prediction on the line that the other points give, [n]: calibration that never sees what it is held to."""
    x, y = finite(predicted, "predicted"), finite(measured, "measured")
    found = np.empty(x.size)
    for one in range(x.size):
        others = np.arange(x.size) != one
        rise = _slope(x[others], y[others]) if np.ptp(x[others]) else 0.0
        found[one] = y[others].mean() + rise * (x[one] - x[others].mean())
    return found


def _ranks(values: Floats) -> Floats:
    """Ranks from 0, ties at their mean."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[codes]


def _correlation(x: Floats, y: Floats) -> float:
    one, two = x - x.mean(), y - y.mean()
    return float(one @ two / np.sqrt((one @ one) * (two @ two)))


def _slope(x: Floats, y: Floats) -> float:
    centred = x - x.mean()
    return float(centred @ y / (centred @ centred))


def finite(values: ArrayLike, name: str) -> Floats:
    """A new array of the values; ValueError, by name, where one is NaN or infinite."""
    found = np.array(values, dtype=np.float64)
    if not np.isfinite(found).all():
        raise ValueError(
            f"{name} holds {int((~np.isfinite(found)).sum())} NaN or infinite values; leave them out first"
        )
    return found
