"""Choosing a form, the cells a law is fitted on, and what a design could have found."""

import numpy as np
import pytest

from analysis.laws import LAWS, FitError, Objective, fit
from analysis.laws.cells import best_of_cells
from analysis.laws.power import slope_of, variance_weights
from analysis.laws.selection import choose, criteria, extrapolate, within_one_se

LOSS = Objective(delta=None)


def table(kind, noise=0.002, seed=0):
    """(X, D), the loss of an additive or multiplicative truth, and the cost X D."""
    x = np.array([(size, data) for size in np.geomspace(2, 128, 7) for data in np.geomspace(1e3, 1e6, 7)])
    size, data = x.T
    clean = {
        "additive": 1.2 + 0.6 * size**-0.5 + 12 * data**-0.35,
        "multiplicative": 1.2 + 8 * size**-0.15 * data**-0.25,
    }[kind]
    return x, clean * np.exp(np.random.default_rng(seed).normal(0, noise, len(clean))), size * data


@pytest.mark.parametrize("truth", ["additive", "multiplicative"])
def test_the_form_that_extrapolates_is_the_true_one_whichever_it_is(truth):
    x, y, cost = table(truth)
    forms = choose([LAWS["multiplicative"], LAWS["additive"]], x, y, cost=cost, loss=LOSS)
    assert forms[0].law.name == truth
    assert forms[0].error < forms[1].error and forms[0].aicc < forms[1].aicc and forms[0].bic < forms[1].bic
    assert [form.law.name for form in within_one_se(forms)] == [truth]


def test_extrapolation_predicts_only_trials_dearer_than_those_it_saw():
    x, y, cost = table("additive")
    found = extrapolate(LAWS["additive"], x, y, cost=cost, share=0.6, loss=LOSS)
    assert found.fitted == (cost <= found.cost).sum() and found.fitted + found.predicted == len(y)
    assert found.mean < 0.01 and abs(found.signed) <= found.mean <= found.worst


def test_a_law_that_cannot_be_fitted_stays_in_the_list_with_its_reason():
    x, y, cost = table("additive")
    x = np.column_stack([x[:, 0], x[:, 0] ** 2])
    with pytest.raises(FitError, match="move together"):
        choose([LAWS["additive"]], x, y, cost=cost, loss=LOSS)


def test_without_dearer_trials_there_is_nothing_to_predict():
    x, y, _ = table("additive")
    with pytest.raises(FitError, match="nothing dearer"):
        extrapolate(LAWS["additive"], x, y, cost=np.ones(len(y)), loss=LOSS)


def test_the_criteria_of_squares_are_those_of_a_normal_likelihood():
    x, y, _ = table("additive")
    found = fit(LAWS["additive"], x, y, loss=LOSS)
    residuals = np.log(found.predict(x) / y)
    n, k = y.size, 6
    log_likelihood = -n / 2 * (np.log(2 * np.pi * (residuals**2).mean()) + 1) - np.log(y).sum()
    aicc, bic = criteria(found, x, y)
    assert aicc == pytest.approx(-2 * log_likelihood + 2 * k + 2 * k * (k + 1) / (n - k - 1), abs=1e-4)
    assert bic == pytest.approx(-2 * log_likelihood + k * np.log(n), abs=1e-4)


def test_each_cell_enters_at_the_setting_that_validation_prefers():
    cells = ["r2"] * 4 + ["r8"] * 4
    settings = [1e-4, 1e-4, 1e-3, 1e-3] * 2
    best = best_of_cells(cells, settings, [0.5, 0.6, 0.7, 0.8, 0.9, 0.9, 0.2, 0.3], lowest=False)
    assert best.chosen == {"r2": 1e-3, "r8": 1e-4} and best.rows == (2, 3, 4, 5) and best.even
    assert best_of_cells(cells, settings, [0.5] * 6 + [0.2, 0.3], lowest=True).chosen["r8"] == 1e-3


def test_a_setting_with_fewer_seeds_is_not_chosen_and_uneven_cells_are_told():
    best = best_of_cells(["a", "a", "a", "b"], [1, 1, 2, 1], [0.1, 0.2, 0.9, 0.5], lowest=False)
    assert best.chosen["a"] == 1 and not best.even and best.tried == {"a": 2, "b": 1}
    with pytest.raises(FitError, match="not finite"):
        best_of_cells(["a"], [1], [np.nan], lowest=True)


def test_exponents_as_large_as_the_detectable_one_are_found_in_four_of_five_repetitions():
    draw = np.random.default_rng(0)
    x = np.repeat(np.geomspace(2, 64, 6), 3)
    clusters = list(range(18))
    limit = np.sqrt(
        np.mean([slope_of(x, np.exp(draw.normal(0, 0.05, 18)), clusters=clusters).detectable ** 2 for _ in range(200)])
    )
    found = 0
    for _ in range(400):
        slope = slope_of(x, x**-limit * np.exp(draw.normal(0, 0.05, 18)), clusters=clusters)
        found += abs(slope.exponent) > 2.12 * slope.se  # t quantile of 16 degrees of freedom
    assert found / 400 == pytest.approx(0.8, abs=0.06)


def test_seeds_that_share_an_effect_do_not_make_a_design_stronger():
    x = np.geomspace(2, 64, 6)
    y = np.exp(np.random.default_rng(1).normal(0, 0.05, 6))
    once = slope_of(x, y, clusters=list(range(6)))
    thrice = slope_of(np.repeat(x, 3), np.repeat(y, 3), clusters=np.repeat(range(6), 3).tolist())
    assert thrice.detectable == pytest.approx(once.detectable) and thrice.degrees == once.degrees


def test_a_slope_needs_configurations_and_positive_values():
    with pytest.raises(FitError, match="too few"):
        slope_of([1, 2], [1, 2], clusters=[0, 1])
    with pytest.raises(FitError, match="y > 0"):
        slope_of([1, 2, 4], [1, 0, 2], clusters=[0, 1, 2])


def test_weights_follow_noise_that_grows_with_size():
    draw = np.random.default_rng(2)
    sizes = np.repeat(np.geomspace(1, 100, 20), 4)
    y = np.exp(draw.normal(0, 0.01 * sizes**0.5))
    weights = variance_weights(y, sizes, clusters=np.repeat(range(20), 4).tolist())
    assert np.polyfit(np.log(sizes), np.log(weights), 1)[0] == pytest.approx(-1, abs=0.3)
    assert weights.mean() == pytest.approx(1)
    with pytest.raises(FitError, match="takes 3"):
        variance_weights(y, sizes, clusters=list(range(80)))


def test_weights_make_estimates_closer_where_noise_differs():
    errors = {True: [], False: []}
    for seed in range(40):
        draw = np.random.default_rng(seed)
        x = np.repeat(np.geomspace(1, 100, 12), 3)
        sd = 0.001 * x**0.7
        y = (1 + 2 * x**-0.5) * np.exp(draw.normal(0, sd))
        for weighted in errors:
            found = fit(LAWS["power"], x, y, loss=LOSS, weights=1 / sd**2 if weighted else None)
            errors[weighted].append(np.log(found.params["a"] / 0.5) ** 2)
    assert np.mean(errors[True]) < 0.5 * np.mean(errors[False])
