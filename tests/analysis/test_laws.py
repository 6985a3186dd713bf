import numpy as np
import pytest

from analysis.laws import LAWS, FitError, FitStatus, fit, written
from analysis.laws.spread import spread_of

LAW = LAWS["saturating"]


def study(effect=1.0, exponent=0.7, config_sd=0.05, seed_sd=0.05, levels=(2, 4, 8, 16), blocks=3, seeds=2, rng=None):
    """x, y, blocks, clusters of a design in which a configuration's seeds share an effect."""
    draw = rng or np.random.default_rng(0)
    rows = []
    for block in range(blocks):
        for level in levels:
            shared = draw.normal(0, config_sd)
            truth = 1 + 0.1 * block - effect * level**-exponent + shared
            rows += [(level, truth + draw.normal(0, seed_sd), block, (block, level)) for _ in range(seeds)]
    return tuple(map(list, zip(*rows, strict=True)))


@pytest.mark.parametrize(("amplitude", "exponent"), [(1.0, 0.3), (1.0, 0.9), (-2.0, 0.5), (0.4, 2.0)])
def test_a_known_law_is_recovered_from_exact_points(amplitude, exponent):
    x = [1, 2, 4, 8, 16, 32]
    y = [1.7 - amplitude * one**-exponent for one in x]
    found = fit(LAW, x, y)
    assert found.status is FitStatus.CONVERGED
    assert found.params == pytest.approx({"E": 1.7, "A": amplitude, "a": exponent}, rel=1e-4)
    assert found.predict(x) == pytest.approx(y, abs=1e-6)


def test_each_block_has_its_own_asymptote():
    x, y, blocks, _ = study(config_sd=0, seed_sd=0)
    found = fit(LAW, x, y, blocks=blocks)
    assert found.asymptotes == pytest.approx({0: 1.0, 1: 1.1, 2: 1.2}, rel=1e-4)


def test_intervals_cover_the_truth_although_seeds_of_a_configuration_share_an_effect():
    draw, hits, repetitions = np.random.default_rng(1), np.zeros(2), 100
    for _ in range(repetitions):
        x, y, blocks, clusters = study(rng=draw)
        spread = spread_of(
            fit(LAW, x, y, blocks=blocks), x, y, clusters=clusters, blocks=blocks, rng=draw, resamples=300
        )
        truth = {"effect": 2**-0.7 - 16**-0.7, "a": 0.7}
        hits += [
            spread.effect.low <= truth["effect"] <= spread.effect.high,
            spread.params["a"].low <= truth["a"] <= spread.params["a"].high,
        ]
    assert (hits / repetitions >= 0.89).all(), hits


def test_no_effect_is_hardly_ever_called_one_and_its_exponent_is_not_identified():
    draw, false, identified = np.random.default_rng(2), 0, 0
    for _ in range(60):
        x, y, blocks, clusters = study(effect=0.0, config_sd=0.0, rng=draw)
        found = fit(LAW, x, y, blocks=blocks)
        spread = spread_of(found, x, y, clusters=clusters, blocks=blocks, rng=draw, resamples=300)
        false += spread.effect.clear_of_zero
        identified += found.status is not FitStatus.NOT_IDENTIFIED
    assert false <= 9 and identified <= 9


def test_a_logarithm_ends_at_the_lower_bound_and_says_so():
    x = [1, 2, 4, 8, 16, 32]
    found = fit(LAW, x, [0.5 + 0.1 * np.log(one) for one in x])
    assert found.status is FitStatus.AT_BOUND and found.at_bounds == ("a",)


def test_the_detectable_effect_shrinks_with_the_noise():
    sizes = []
    for noise in (0.01, 0.1):
        x, y, blocks, clusters = study(config_sd=noise, seed_sd=noise)
        found = fit(LAW, x, y, blocks=blocks)
        rng = np.random.default_rng(0)
        sizes.append(spread_of(found, x, y, clusters=clusters, blocks=blocks, rng=rng).detectable)
    assert sizes[0] < sizes[1] / 5


def test_drawing_clips_widens_the_band_but_not_the_effect_of_what_all_clips_share():
    x, y, blocks, clusters = study()
    found = fit(LAW, x, y, blocks=blocks)
    clips = np.asarray(y)[:, None] + np.random.default_rng(3).normal(0, 1, 40)
    plain, drawn = (
        spread_of(found, x, y, clusters=clusters, blocks=blocks, clip_scores=c, rng=np.random.default_rng(0))
        for c in (None, clips)
    )
    assert (drawn.curve_high - drawn.curve_low).mean() > 2 * (plain.curve_high - plain.curve_low).mean()
    assert drawn.effect.high - drawn.effect.low < 1.5 * (plain.effect.high - plain.effect.low)
    assert (plain.clips, drawn.clips) == (0, 40)


def test_a_law_of_ones_own_is_a_function():
    own = written(
        "own",
        lambda exponents, x: x ** -exponents[..., None, :],
        factors=("N", "D"),
        coefficients=("A", "B"),
        exponents={"alpha": (0.05, 2), "beta": (0.05, 2)},
    )
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1, 100, 6), np.geomspace(1, 1000, 7)))
    found = fit(own, np.column_stack([n, d]), 1.8 + 4 * n**-0.34 + 9 * d**-0.37)
    assert found.params == pytest.approx({"E": 1.8, "A": 4, "B": 9, "alpha": 0.34, "beta": 0.37}, rel=1e-4)


def test_inputs_are_not_touched():
    x, y = np.array([1.0, 2, 4, 8, 16]), np.array([0.1, 0.4, 0.6, 0.7, 0.75])
    kept = x.copy(), y.copy()
    fit(LAW, x, y)
    assert (x == kept[0]).all() and (y == kept[1]).all()


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([2, 4, 8], [1, 2, 2.5], "3 levels of x are too few for the saturating law; it takes 4"),
        ([4, 4, 4, 4], [1, 2, 3, 4], "x is 4 at every point"),
        ([1, 2, 4, 8], [1, 1, 1, 1], "y is 1 at every point"),
        ([0, 2, 4, 8], [1, 2, 3, 4], "x > 0"),
        ([1, 2, 4, 8], [1, 2, np.nan, 4], "NaN"),
        ([1, 2, 4, 8], [1, 2, 3], "does not give"),
    ],
)
def test_data_on_which_no_law_can_be_fitted_is_refused_by_name(x, y, message):
    with pytest.raises(FitError, match=message):
        fit(LAW, x, y)


def test_a_handful_of_configurations_has_no_interval():
    x, y, _, clusters = study(blocks=1)
    with pytest.raises(FitError, match="4 configurations are too few"):
        spread_of(fit(LAW, x, y), x, y, clusters=clusters, rng=np.random.default_rng(0))
