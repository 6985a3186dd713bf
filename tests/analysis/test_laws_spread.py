"""Refits and their intervals: what is drawn, and that all refits at once are those that one by one would give."""

import numpy as np
import pytest
from scipy import optimize

from analysis.laws import LAWS, FitError, FitStatus, Objective, fit
from analysis.laws.fitting import problem_of
from analysis.laws.profile import held
from analysis.laws.resampling import clusters_left_out, drawn_noise, noise_of
from analysis.laws.spread import interval_of, refits_of, spread_of

LAW, LOSS = LAWS["chinchilla"], Objective()
TRUTH = (1.8, 480.0, 2000.0, 0.35, 0.37)


def table(seed=0, configs=40, seeds=2, shared=0.002, own=0.002):
    draw = np.random.default_rng(seed)
    x = np.exp(draw.uniform(np.log([5e7, 1e9]), np.log([1e10, 3e11]), (configs, 2)))
    n, d = x.T
    clusters = np.repeat(np.arange(configs), seeds)
    noise = draw.normal(0, shared, configs)[clusters] + draw.normal(0, own, configs * seeds)
    y = (1.8 + 480 * n**-0.35 + 2000 * d**-0.37)[clusters] * np.exp(noise)
    return x[clusters], y, clusters.tolist()


def huber(point, x, y, weights):
    e, a, b, alpha, beta = point
    residual = np.log(np.exp(e) + np.exp(a - alpha * np.log(x[:, 0])) + np.exp(b - beta * np.log(x[:, 1]))) - np.log(y)
    return 1e3 * (weights * LOSS.rho(residual)).sum()


def test_no_refit_is_worse_than_a_descent_of_scipys_from_the_truth():
    x, y, clusters = table()
    found = fit(LAW, x, y, loss=LOSS)
    problem, _ = problem_of(LAW, x, y, blocks=None, weights=None, loss=LOSS)
    weights = clusters_left_out(clusters)[:5]
    many = problem.part(np.zeros(5, dtype=int))
    refits = refits_of(found, type(problem)(**(vars(many) | {"weights": weights})))
    for row, values in zip(weights, refits.values, strict=True):
        e, a, b, alpha, beta = values
        ours = huber((np.log(e), np.log(a), np.log(b), alpha, beta), x, y, row)
        start = (*np.log(TRUTH[:3]), *TRUTH[3:])
        theirs = optimize.minimize(huber, start, (x, y, row), "Nelder-Mead", options={"maxiter": 4000, "fatol": 1e-12})
        assert ours <= theirs.fun * (1 + 1e-6)


@pytest.mark.parametrize("method", ["percentile", "bca", "parametric"])
def test_intervals_hold_the_truth_and_bands_for_a_trial_are_wider_than_the_laws(method):
    x, y, clusters = table(3)
    found = fit(LAW, x, y, loss=LOSS)
    spread = spread_of(found, x, y, clusters=clusters, rng=np.random.default_rng(0), method=method, resamples=200)
    for name, truth in zip(LAW.names, TRUTH, strict=True):
        assert spread.params[name].low <= truth <= spread.params[name].high, name
    law, trial = spread.curve_high - spread.curve_low, spread.trial_high - spread.trial_low
    assert (trial > law).all() and (law > 0).all()


def test_the_two_parts_of_the_noise_are_found_and_drawn_again():
    x, y, clusters = table(4, configs=200, shared=0.003, own=0.001)
    found = fit(LAW, x, y, loss=LOSS)
    problem, _ = problem_of(LAW, x, y, blocks=None, weights=None, loss=LOSS)
    noise = noise_of(problem, found.search.point, clusters)
    assert (noise.shared, noise.own) == pytest.approx((0.003, 0.001), rel=0.2)
    drawn = np.log(drawn_noise(problem, found.search.point, clusters, np.random.default_rng(0), 300) / found.predict(x))
    assert drawn.std() == pytest.approx(noise.total, rel=0.05)
    assert np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1] == pytest.approx(0.9, abs=0.05)


def test_bca_moves_with_bias_and_skew_and_is_the_percentile_interval_without():
    draws = np.random.default_rng(5).normal(size=20_001)
    plain = interval_of(float(np.median(draws)), draws, None, 0.95)
    same = interval_of(float(np.median(draws)), draws, np.array([-1.0, 0.0, 1.0]), 0.95)
    assert (same.low, same.high) == pytest.approx((plain.low, plain.high), abs=1e-3)
    moved = interval_of(float(np.quantile(draws, 0.6)), draws, np.array([-1.0, 0.0, 1.0]), 0.95)
    assert moved.low > plain.low and moved.high > plain.high


def test_the_profile_ends_where_the_objective_passes_the_limit():
    x, y, _ = table(6)
    found = fit(LAW, x, y, loss=Objective(delta=None))
    problem, _ = problem_of(LAW, x, y, blocks=None, weights=None, loss=found.loss)
    low, high = found.profile["alpha"]
    inner, outer = (
        held(problem, found.search.point, np.zeros(2, dtype=int), np.log([low * (1 + by), high * (1 - by)]))
        for by in (0.003, -0.003)
    )
    free = len(y) - 5
    limit = found.objective * (1 + 3.97 / free)  # F quantile of 1 and 75 degrees of freedom
    assert (inner < limit).all() and (outer > limit).all()


def test_an_exponent_that_no_data_hold_is_not_identified_instead_of_reported():
    x, y, _ = table(7)
    n = x[:, 0]
    flat = 1.8 + 480 * n**-0.35  # no effect of D
    found = fit(LAW, x, flat * np.exp(np.random.default_rng(0).normal(0, 0.003, len(y))), loss=LOSS)
    assert found.status is FitStatus.NOT_IDENTIFIED
    low, high = found.profile["beta"]
    assert high / low > 50 > found.profile["alpha"][1] / found.profile["alpha"][0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": -1.0}, "no logarithm"),
        ({"weights": 0.0}, "positive numbers"),
        ({"x": None}, "move together"),
    ],
)
def test_what_has_no_fit_is_refused_by_name(change, message):
    x, y, _ = table()
    weights = None
    if "y" in change:
        y[3] = change["y"]
    if "weights" in change:
        weights = np.ones(len(y)) * change["weights"]
    if "x" in change:
        x[:, 1] = 20 * x[:, 0]
    with pytest.raises(FitError, match=message):
        fit(LAW, x, y, weights=weights, loss=LOSS)


def test_a_delta_that_is_none_or_negative_is_refused():
    with pytest.raises(ValueError, match="delta -1"):
        Objective(delta=-1.0)


def test_nothing_given_is_touched():
    x, y, clusters = table()
    kept = x.copy(), y.copy()
    for array in (x, y):
        array.setflags(write=False)
    found = fit(LAW, x, y, loss=LOSS)
    spread_of(found, x, y, clusters=clusters, rng=np.random.default_rng(0), method="bca", resamples=50)
    assert (x == kept[0]).all() and (y == kept[1]).all()
