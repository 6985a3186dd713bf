import numpy as np
import pytest

from analysis.bootstrap import SeedNoise, mean_interval, seed_noise
from analysis.chances import band, on_front, volume_interval, winners_luck
from analysis.draws import draw_scores, mean_intervals
from analysis.pareto import non_dominated


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def test_what_all_clips_share_does_not_make_the_order_unsure(rng):
    difficulty = rng.normal(0, 1, 200)
    scores = np.stack([difficulty, difficulty + 0.05])
    chance = on_front(draw_scores(scores, groups="ab", rng=rng), np.empty((2, 0)), directions=["max"])
    assert chance.tolist() == [0, 1]
    alone = np.stack([difficulty, rng.permutation(difficulty) + 0.05])
    assert 0.05 < on_front(draw_scores(alone, groups="ab", rng=rng), np.empty((2, 0)), directions=["max"])[0] < 0.95


def test_the_spread_of_the_draws_has_clips_and_seeds_in_it(rng):
    seeds = rng.normal(0, 0.3, (40, 4))  # configurations x seeds, each with the same deviation on all clips
    scores = (seeds[..., None] + rng.normal(0, 1, (40, 4, 100))).reshape(160, 100)
    draws = draw_scores(scores, groups=np.repeat(np.arange(40), 4).tolist(), rng=rng, resamples=2000)
    expected = np.sqrt(0.3**2 / 4 + 1 / 400)
    assert draws.std(axis=0).mean() == pytest.approx(expected, rel=0.1)


def test_many_intervals_at_once_are_those_of_one_at_a_time(rng):
    scores = rng.normal(0, 0.2, (600, 1)) + rng.normal(0, 0.5, 80)
    groups = np.repeat(np.arange(300), 2).tolist()
    found = mean_intervals(scores, groups=groups, fixed={0}, rng=rng)
    noise = seed_noise(scores, groups=groups)
    for group in (0, 1, 299):
        own = scores[2 * group : 2 * group + 2]
        alone = mean_interval(own, groups=[0, 0], noise=noise if group else SeedNoise(rows=own, degrees=0), rng=rng)
        assert found[group].estimate == pytest.approx(alone.estimate)
        assert found[group].low == pytest.approx(alone.low, abs=0.02)
        assert found[group].high == pytest.approx(alone.high, abs=0.02)
    assert found[0].over == "clips" and found[1].over == "clips and seeds"
    assert np.isnan(mean_intervals(scores[:, :1], groups=groups, rng=rng)[1].low)


@pytest.mark.parametrize("costs", [1, 2])
def test_the_chance_is_the_share_of_resamples_in_which_nobody_dominates(rng, costs):
    draws = rng.normal(0, 1, (60, 12)).round(1)
    fixed = rng.integers(0, 5, (12, costs)).astype(float)
    directions = ["max", "min", "max"][: 1 + costs]
    one_by_one = [non_dominated(np.column_stack([row, fixed]), directions=directions) for row in draws]
    assert on_front(draws, fixed, directions=directions) == pytest.approx(np.mean(one_by_one, axis=0))


def test_the_band_holds_the_true_frontier_about_as_often_as_it_says():
    truth, cost, held = np.array([0.0, 0.3, 0.5, 0.6]), np.array([1.0, 2.0, 3.0, 4.0]), []
    for repetition in range(120):
        rng = np.random.default_rng(repetition)
        scores = truth[:, None] + rng.normal(0, 0.4, 60)[None] + rng.normal(0, 0.2, (4, 60))
        found = band(draw_scores(scores, groups="abcd", rng=rng, resamples=300), cost, directions=["max", "min"])
        held.append((found.low <= truth) & (truth <= found.high))
    assert 0.88 < np.mean(held) <= 1.0


def test_a_band_of_equal_costs_has_one_step_and_descends_for_a_score_that_should(rng):
    draws = rng.normal(0, 1, (500, 6))
    found = band(draws, [1, 1, 2, 3, 3, 4], directions=["min", "min"])
    assert found.cost.tolist() == [1, 2, 3, 4]
    assert (np.diff(found.middle) <= 0).all() and (found.low <= found.high).all()


def test_the_best_of_many_equal_configurations_is_flattered_by_what_theory_says(rng):
    luck = []
    for _ in range(20):
        scores = rng.normal(0, 1, (32, 400))
        draws = draw_scores(scores, groups=range(32), rng=rng)
        luck.append(winners_luck(draws, scores.mean(axis=1), direction="max") * 20)  # in standard errors
    assert 0.8 < np.mean(luck) < 2.1  # of 2.07: the maximum of 32, less what the sample's own order already shows
    clear = np.array([0.0, 5.0])[:, None] + rng.normal(0, 1, (2, 400))
    assert abs(winners_luck(draw_scores(clear, groups="ab", rng=rng), clear.mean(axis=1), direction="max")) < 0.01


def test_the_volume_has_an_interval_around_the_measured_one(rng):
    scores = np.array([0.4, 0.6, 0.9])[:, None] + rng.normal(0, 0.3, (3, 80))
    draws = draw_scores(scores, groups="abc", rng=rng, resamples=300)
    options = {"reference": [0, 10], "directions": ["max", "min"]}
    found = volume_interval(draws, scores.mean(axis=1), [[1], [2], [3]], **options)
    assert found.low < found.estimate < found.high


def test_what_was_not_measured_is_refused(rng):
    with pytest.raises(ValueError, match="NaN"):
        on_front(np.zeros((3, 2)), [[1], [np.nan]], directions=["max", "min"])
    with pytest.raises(ValueError, match="leave those clips out"):
        draw_scores([[np.nan, 1.0]], groups="a", rng=rng)
    with pytest.raises(ValueError, match=r"give \[resamples, n\]"):
        band(np.zeros((3, 2)), [1.0, 2.0, 3.0], directions=["max", "min"])
