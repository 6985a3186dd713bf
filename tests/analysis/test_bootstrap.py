import numpy as np
import pytest

from analysis.bootstrap import cluster_weights, mean_interval, seed_noise


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_estimate_weighs_configurations_equally_however_many_seeds_they_have():
    scores = [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [4.0, 4.0]]
    assert mean_interval(scores, groups=["a", "a", "a", "b"], rng=rng()).estimate == 2.5


def test_equal_generators_give_equal_intervals_and_the_input_is_not_touched():
    scores = rng(1).normal(size=(4, 30))
    before = scores.copy()
    first = mean_interval(scores, groups=[0, 0, 1, 1], rng=rng(5))
    assert first == mean_interval(scores, groups=[0, 0, 1, 1], rng=rng(5))
    assert (scores == before).all()


@pytest.mark.parametrize(
    ("groups", "seeds", "clips", "seed_sd", "clip_sd"),
    [(1, 1, 60, 0.0, 1.0), (1, 2, 60, 0.1, 0.5), (4, 2, 60, 0.1, 0.1), (4, 3, 96, 0.03, 0.1)],
)
def test_intervals_cover_the_truth_with_few_seeds(groups, seeds, clips, seed_sd, clip_sd):
    draw, hits, repetitions = rng(3), 0, 200
    for _ in range(repetitions):
        shared = draw.normal(0, clip_sd, clips)
        noise = draw.normal(0, seed_sd, (groups * seeds, 1)) + draw.normal(0, 0.2, (groups * seeds, clips))
        found = mean_interval(
            0.3 + shared + noise, groups=np.repeat(range(groups), seeds).tolist(), rng=draw, resamples=300
        )
        hits += found.low <= 0.3 <= found.high
    assert hits / repetitions >= 0.91


def test_what_was_resampled_is_said():
    scores = rng().normal(size=(3, 20))
    said = [mean_interval(scores[: len(g)], groups=g, rng=rng()).over for g in ("a", "ab", "aab")]
    assert said == ["clips", "clips and configurations", "clips and seeds"]


def test_without_repeated_seeds_the_spread_of_configurations_still_widens_the_interval():
    clips = rng(1).normal(0, 0.05, (1, 60))
    spread = np.array([[0.0], [0.3], [-0.3], [0.1]])
    calm, wild = (mean_interval(s, groups="abcd", rng=rng()) for s in (clips + 0 * spread, clips + spread))
    assert wild.high - wild.low > 5 * (calm.high - calm.low)


def test_one_clip_has_a_mean_but_no_interval():
    found = mean_interval([[1.0], [3.0]], groups=[0, 0], rng=rng())
    assert found.estimate == 2 and np.isnan(found.low) and not found.clear_of_zero


def test_seed_noise_has_the_variance_of_one_seed():
    scores = rng(2).normal(0, 0.5, (4000, 1)) + np.repeat(rng(4).normal(0, 9, (2000, 1)), 2, axis=0)
    noise = seed_noise(scores, groups=np.repeat(range(2000), 2).tolist())
    assert noise.degrees == 2000
    assert np.sqrt((noise.rows**2).mean()) == pytest.approx(0.5, rel=0.05)


def test_rows_of_one_cluster_are_drawn_together():
    weights = cluster_weights(["a", "a", "b", "c", "c"], rng=rng(), resamples=200)
    assert (weights[:, 0] == weights[:, 1]).all() and (weights[:, 3] == weights[:, 4]).all()
    assert (weights[:, [0, 2, 3]].sum(axis=1) == 3).all()


@pytest.mark.parametrize(
    ("scores", "groups", "message"),
    [
        ([[1.0, np.nan]], [0], "NaN"),
        ([1.0, 2.0], [0], "rows, clips"),
        ([[1.0, 2.0]], [0, 1], "2 groups for 1 rows"),
    ],
)
def test_scores_that_have_no_mean_are_refused(scores, groups, message):
    with pytest.raises(ValueError, match=message):
        mean_interval(scores, groups=groups, rng=rng())
