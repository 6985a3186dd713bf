"""Each law of the vocabulary: its slopes, and a known truth found again from noisy points."""

import numpy as np
import pytest

from analysis.laws import LAWS, SQUARES, FitStatus, Objective, fit, written

RANGES = {
    "x": (1, 1e5),
    "X": (2, 128),
    "D": (1e3, 1e6),
    "N": (5e7, 1e10),
    "P": (2, 16),
    "T": (1, 64),
    "M": (4, 256),
    "r": (2, 128),
    "s": (0.2, 0.8),
}
TRUTHS = {
    "saturating": {"E": 1.0, "A": 0.8, "a": 0.7},
    "power": {"E": 1.8, "A": 1.5, "a": 0.5},
    "chinchilla": {"E": 1.8, "A": 482.0, "B": 20.0, "alpha": 0.35, "beta": 0.4},
    "multiplicative": {"E": 1.2, "A": 8.0, "a": 0.15, "b": 0.25},
    "additive": {"E": 1.2, "A": 0.6, "B": 12.0, "a": 0.5, "b": 0.35},
    "add-interact": {"E": 1.0, "A": 0.6, "B": 0.8, "C": 6.0, "a": 0.5, "b": 0.4, "d": 0.35},
    "rectified": {"E": 1.0, "B": 60.0, "D0": 50.0, "b": 0.6},
    "precision": {"E": 1.8, "A": 480.0, "B": 20.0, "alpha": 0.35, "beta": 0.36, "g": 2.7},
    "tokens": {"E": 0.4, "A": 12.0, "alpha": 0.12, "beta": 0.2},
    "frames": {"E": 1.1, "A": 0.5, "B": 1.2, "a": 0.6, "b": 0.4},
    "broken": {"E": 0.5, "A": 2.0, "c0": 0.1, "c1": 0.5, "d": 300.0, "f": 0.5},
    "joint": dict(zip(LAWS["joint"].names, (0.9, 0.3, 0.4, 0.5, 0.3, 10.0, 0.5, 2.0, 0.6, 0.35), strict=True)),
}


def points(law, count=150, seed=0):
    """x drawn evenly in the logarithm, and the law's y there."""
    edges = np.log([RANGES[factor] for factor in law.factors])
    x = np.exp(np.random.default_rng(seed).uniform(*edges.T, (count, len(law.factors))))
    truth = TRUTHS[law.name]
    shape, linear = (np.array([truth[name] for name in names]) for names in (law.exponents, law.coefficients))
    return x, truth["E"] + law.terms(shape, x) @ linear


def test_every_law_has_a_truth_to_find():
    assert set(TRUTHS) == set(LAWS)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_slopes_are_those_of_the_terms(law):
    x, _ = points(law, 40)
    low, high = law.ranges(x)
    shape = np.exp(np.random.default_rng(1).uniform(np.log(low), np.log(high), (3, len(low)))) * 0.9 + 0.05 * low
    for k in range(len(low)):
        step = np.zeros(len(low))
        step[k] = 1e-6 * low[k]
        moved = (law.terms(shape + step, x) - law.terms(shape - step, x)) / (2 * step[k])
        scale = np.abs(moved).max(axis=(1, 2), keepdims=True) + 1e-9 * np.abs(law.terms(shape, x)).max() / step[k]
        assert np.abs((law.slopes(shape, x)[..., k] - moved) / scale).max() < 1e-3


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("loss", [Objective(), Objective(delta=None)], ids=["huber", "squares"])
def test_a_known_truth_is_found_again_from_noisy_points(law, loss):
    x, clean = points(law)
    y = clean * np.exp(np.random.default_rng(2).normal(0, 3e-4, len(clean)))
    found = fit(law, x, y, loss=loss if law.positive else SQUARES)
    assert found.status is FitStatus.CONVERGED and not found.at_bounds
    assert found.predict(x) == pytest.approx(clean, rel=2e-3)
    for name in law.exponents:
        assert found.params[name] == pytest.approx(TRUTHS[law.name][name], rel=0.25), name
    truth = fit_objective(law, x, y, found.loss)
    assert found.objective <= truth


def fit_objective(law, x, y, loss):
    """The objective at the truth itself, which no optimum may exceed."""
    _, clean = points(law)
    return loss.rho(np.log(clean / y) if loss.log else clean - y).sum()


def test_the_complex_step_agrees_with_slopes_written_by_hand():
    law = LAWS["precision"]
    x, _ = points(law, 20)
    own = written(
        "own", law.terms, factors=law.factors, coefficients=law.coefficients, exponents=dict.fromkeys("abg", (0.1, 5))
    )
    shape = np.array([[0.3, 0.4, 2.0], [1.0, 0.2, 5.0]])
    assert own.slopes(shape, x) == pytest.approx(law.slopes(shape, x), rel=1e-10, abs=1e-20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"exponents": {"a": (0.0, 1.0)}}, "0 < low < high"),
        ({"exponents": {"a": (2.0, 1.0)}}, "0 < low < high"),
        ({"coefficients": ("E",)}, "twice"),
    ],
)
def test_a_law_that_makes_no_sense_is_refused(change, message):
    plain = {"factors": ("x",), "coefficients": ("A",), "exponents": {"a": (0.1, 1.0)}}
    with pytest.raises(ValueError, match=message):
        written("own", LAWS["power"].terms, **(plain | change))
