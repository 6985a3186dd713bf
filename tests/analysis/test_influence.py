"""Fits without one cluster: what hangs on it."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.laws import LAWS, fit
from analysis.laws.influence import effects_without

RANKS = np.repeat([1.0, 2.0, 4.0, 8.0, 16.0, 32.0], 2)
SEEDS = [f"rank {rank:g}" for rank in RANKS]


def test_without_any_cluster_the_effect_of_exact_points_stays() -> None:
    y = 2.0 - 1.5 * RANKS**-0.7
    fitted = fit(LAWS["saturating"], RANKS, y)
    without = effects_without(fitted, RANKS, y, clusters=SEEDS)
    assert set(without) == set(SEEDS)
    assert list(without.values()) == pytest.approx([fitted.effect] * len(without), rel=1e-6)


def test_an_outlier_is_what_the_effect_hangs_on() -> None:
    y = 2.0 - 1.5 * RANKS**-0.7
    y[-2:] += 0.6
    fitted = fit(LAWS["saturating"], RANKS, y)
    without = effects_without(fitted, RANKS, y, clusters=SEEDS)
    assert max(without, key=lambda name: abs(without[name] - fitted.effect)) == "rank 32"
    assert without["rank 32"] == pytest.approx(1.5 * (1 - 32**-0.7), rel=1e-3)


def test_a_cluster_that_cannot_be_spared_is_left_out() -> None:
    x = np.array([1.0, 2.0, 4.0, 8.0])
    y = 2.0 - 1.5 * x**-0.7
    assert effects_without(fit(LAWS["saturating"], x, y), x, y, clusters=list("abcd")) == {}
