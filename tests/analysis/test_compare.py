import numpy as np
import pytest

from analysis.compare import Member, compare, pair


def scores_of(means, clips=50, seed=0):
    draw = np.random.default_rng(seed)
    difficulty = draw.normal(0, 1, clips)
    return {
        trial: {f"video{k}": float(mean + difficulty[k] + draw.normal(0, 0.05)) for k in range(clips)}
        for trial, mean in means.items()
    }


def members(*names):
    return [Member(name, key, seed) for name, key, seed in names]


def test_trials_meet_at_the_same_point_and_seed_and_others_are_left_out():
    left = members(("a0", 4, 0), ("a1", 4, 1), ("a2", 8, 0))
    right = members(("b1", 4, 1), ("b2", 16, 0), ("b0", 4, 0))
    assert [(one.left, one.right) for one in pair(left, right)] == [("a0", "b0"), ("a1", "b1")]


def test_what_has_no_seed_meets_every_seed_of_its_point():
    left = members(("a0", 4, 0), ("a1", 4, 1))
    assert [one.right for one in pair(left, [Member("base", 4, None)])] == ["base", "base"]


def test_a_trained_trial_whose_other_seed_is_missing_is_not_used_twice():
    assert len(pair(members(("a0", 4, 0), ("a1", 4, 1)), members(("b0", 4, 0)))) == 1


def test_pairing_finds_a_difference_far_below_the_spread_of_clips():
    scores = scores_of({"a": 1.1, "b": 1.0})
    pairs = pair([Member("a", 0, 0)], [Member("b", 0, 0)])
    found = compare(scores, pairs, left="a", right="b", rng=np.random.default_rng(0))
    assert found.difference.clear_of_zero
    assert found.difference.low < 0.1 < found.difference.high
    assert "a is above b" in found.sentence("score") and "the noise between seeds is not in it" in found.basis()


def test_the_difference_is_the_difference_of_the_means_also_with_unequal_seeds():
    scores = scores_of({"a0": 1.0, "a1": 1.4, "a2": 2.0, "b0": 0.5, "b1": 0.7, "b2": 1.0})
    left = members(("a0", 4, 0), ("a1", 4, 1), ("a2", 8, 0))
    right = members(("b0", 4, 0), ("b1", 4, 1), ("b2", 8, 0))
    found = compare(scores, pair(left, right), left="a", right="b", rng=np.random.default_rng(0))
    assert found.difference.estimate == pytest.approx(found.left_mean - found.right_mean)


def test_equal_sets_are_not_distinguishable():
    scores = scores_of({"a": 1.0, "b": 1.0}, seed=3)
    found = compare(
        scores, pair([Member("a", 0, 0)], [Member("b", 0, 0)]), left="a", right="b", rng=np.random.default_rng(0)
    )
    assert "not distinguishable" in found.sentence("score")


def test_clips_that_are_not_scored_everywhere_are_left_out_and_counted():
    scores = scores_of({"a": 1.0, "b": 1.0})
    del scores["b"]["video7"]
    found = compare(
        scores, pair([Member("a", 0, 0)], [Member("b", 0, 0)]), left="a", right="b", rng=np.random.default_rng(0)
    )
    assert (found.clips, found.clips_left_out) == (49, 1)
    assert "1 clips not scored in every trial left out" in found.basis()


@pytest.mark.parametrize(
    ("scores", "pairs", "message"),
    [
        ({}, (), "nothing can be compared"),
        ({"a": {"v": 1.0}}, pair([Member("a", 0, 0)], [Member("b", 0, 0)]), "b has no per-clip scores"),
        ({"a": {"v": 1.0}, "b": {"w": 1.0}}, pair([Member("a", 0, 0)], [Member("b", 0, 0)]), "share no scored clip"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(scores, pairs, message):
    with pytest.raises(ValueError, match=message):
        compare(scores, pairs, left="a", right="b", rng=np.random.default_rng(0))
