import numpy as np
import pytest
from scipy import stats

from analysis.bootstrap import Interval, mean_interval
from analysis.claims import holm, tied_with_best, within_margin


def gap(estimate, error, degrees=60.0):
    return Interval(estimate=estimate, low=np.nan, high=np.nan, error=error, degrees=degrees)


def test_p_is_that_of_a_paired_t_test_where_only_clips_are_drawn():
    values = np.random.default_rng(0).normal(0.05, 0.3, 120)
    found = mean_interval(values[None], groups=[0], rng=np.random.default_rng(1), resamples=20_000)
    assert found.p_value == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=0.05)


@pytest.mark.parametrize(("own_sd", "fewest"), [(0.0, 0.02), (0.5, 0.0)])  # noise of its own in each cell: cautious
def test_false_differences_are_as_rare_as_they_should_be(own_sd, fewest):
    p = []
    for repetition in range(400):
        rng = np.random.default_rng(repetition)
        seeds = rng.normal(0, 0.1, (6, 1))
        values = seeds + rng.normal(0, 0.5, 40) + rng.normal(0, own_sd, (6, 40))
        p.append(mean_interval(values, groups=[0] * 6, rng=rng, resamples=300).p_value)
    assert fewest <= np.mean(np.array(p) < 0.05) < 0.09


def test_not_worse_needs_the_margin_outside_of_the_interval_and_equal_on_both_sides():
    close = within_margin(gap(-0.01, 0.01), margin=0.05, direction="max")
    assert close.not_worse and close.equal and "equals" in close.sentence("QLoRA", "LoRA", "CIDEr")
    better = within_margin(gap(0.2, 0.01), margin=0.05, direction="max")
    assert better.not_worse and not better.equal and "is not worse than" in better.sentence("QLoRA", "LoRA", "CIDEr")
    unsure = within_margin(gap(-0.01, 0.05), margin=0.05, direction="max")
    assert not unsure.not_worse and "is not shown" in unsure.sentence("QLoRA", "LoRA", "CIDEr")
    assert not within_margin(gap(0.2, 0.01), margin=0.05, direction="min").not_worse


def test_the_chance_of_a_false_equality_stays_at_alpha_on_the_margin():
    rng = np.random.default_rng(5)
    false = [
        within_margin(
            mean_interval(0.1 + rng.normal(0, 0.3, (1, 60)), groups=[0], rng=rng, resamples=200),
            margin=0.1,
            direction="max",
        ).equal
        for _ in range(400)
    ]
    assert np.mean(false) < 0.09


def test_a_margin_must_be_positive():
    with pytest.raises(ValueError, match="largest difference that does not matter"):
        within_margin(gap(0, 1), margin=0, direction="max")


def test_the_correction_is_that_of_the_textbooks_and_keeps_nan():
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.005])
    assert holm(p) == pytest.approx([0.03, 0.06, np.nan, 0.06, 0.02], nan_ok=True)
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="outside"):
        holm([1.2])


def test_the_best_and_what_cannot_be_told_from_it_are_marked():
    marks = tied_with_best([1.0, 0.98, 0.5, np.nan, 0.9], [np.nan, 0.4, 1e-6, np.nan, np.nan], direction="max")
    assert marks == [True, True, False, False, True]
    assert tied_with_best([1.0, 0.5], [1e-9, np.nan], direction="min") == [False, True]
    assert tied_with_best([np.nan], [np.nan], direction="max") == [False]
