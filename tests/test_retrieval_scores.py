"""Recall at k, ranks, ties, several captions a video."""

import numpy as np
import pytest

from vqlora.metrics.retrieval import dual_softmax, score_dual_softmax, score_retrieval, total


def test_the_identity_is_perfect_in_both_directions() -> None:
    found = score_retrieval(np.eye(20))
    assert set(found) == {"t2v", "v2t"}
    for direction in found.values():
        assert direction.scores == {"R1": 100.0, "R5": 100.0, "R10": 100.0, "MdR": 1.0, "MnR": 1.0, "rsum": 300.0}
        assert direction.ties == 0
    assert total(found) == 600.0


def test_ranks_are_those_of_sorting_where_nothing_ties() -> None:
    similarity = np.random.default_rng(3).normal(size=(600, 600))
    for name, matrix in (("t2v", similarity), ("v2t", similarity.T)):
        order = np.argsort(-matrix, axis=1)
        expected = 1 + np.argmax(order == np.arange(600)[:, None], axis=1)
        assert score_retrieval(similarity)[name].ranks.tolist() == expected.tolist()


def test_ties_never_help_and_are_counted() -> None:
    found = score_retrieval(np.zeros((8, 8)))
    assert found["t2v"].scores["R5"] == 0.0 and found["t2v"].scores["MdR"] == 8.0
    assert found["t2v"].ties == found["v2t"].ties == 8
    almost = np.eye(3)
    almost[0, 2] = 1.0  # one wrong video scores as high for query 0; for video 2, query 0 does
    found = score_retrieval(almost)
    assert found["t2v"].ranks.tolist() == [2, 1, 1] and found["v2t"].ranks.tolist() == [1, 1, 2]
    assert (found["t2v"].ties, found["v2t"].ties) == (1, 1)


def test_the_median_of_an_even_number_of_ranks_is_the_mean_of_the_middle_two() -> None:
    similarity = np.array([[4, 3, 2, 1], [9, 8, 7, 6], [9, 8, 7, 6], [9, 8, 7, 6]], dtype=float)
    found = score_retrieval(similarity)["t2v"]
    assert found.ranks.tolist() == [1, 2, 3, 4] and found.scores["MdR"] == 2.5


def test_both_conventions_of_several_captions_a_video() -> None:
    # Captions 0, 1 of video 0 and 2, 3 of video 1. Video 0: its captions stand 3rd and 4th of all four, both of
    # video 1's before them; the best of them makes video 1 rank first, so video 0 is second of two.
    similarity = np.array([[0.2, 0.0], [0.1, 0.0], [0.9, 0.8], [0.8, 0.7]])
    found = score_retrieval(similarity, [0, 0, 1, 1])
    assert found["t2v"].ranks.tolist() == [1, 1, 2, 2]
    assert found["v2t"].ranks.tolist() == [3, 1]
    assert found["v2t_max"].ranks.tolist() == [2, 1]


def test_videos_that_nobody_asks_for_are_items_but_no_queries() -> None:
    found = score_retrieval(np.array([[0.1, 0.5, 0.9]]), [1])
    assert found["t2v"].ranks.tolist() == [2] and found["v2t"].ranks.tolist() == [1]


def test_the_dual_softmax_mends_a_video_that_draws_all_queries() -> None:
    similarity = np.array([[0.5, 0.6], [0.0, 0.9]])  # video 1 draws both queries
    assert score_retrieval(similarity)["t2v"].ranks.tolist() == [2, 1]
    assert score_dual_softmax(similarity)["t2v"].ranks.tolist() == [1, 1]
    weights = dual_softmax(similarity) / np.where(similarity == 0, 1, similarity)
    assert weights[:, 1].sum() == pytest.approx(1.0)


def test_intervals_hold_the_score_and_shrink_with_more_videos() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for count in (30, 300):
        found = score_retrieval(rng.normal(size=(count, count)) + 3 * np.eye(count))["t2v"]
        intervals = found.intervals()
        for name, value in found.scores.items():
            low, high = intervals[name]
            assert low <= value <= high, name
        widths.append(intervals["R1"][1] - intervals["R1"][0])
        assert intervals == found.intervals()  # seeded
    assert widths[1] < 0.7 * widths[0]


@pytest.mark.parametrize(
    ("similarity", "owners", "said"),
    [
        (np.zeros(4), None, "expected numbers"),
        (np.zeros((0, 3)), None, "expected numbers"),
        (np.full((2, 2), np.nan), None, "4 similarities are not finite"),
        (np.array([["a"]]), None, "expected numbers"),
        (np.zeros((3, 2)), None, "say which video"),
        (np.zeros((3, 2)), [0, 1], "needs one video"),
        (np.zeros((3, 2)), [0, 1, 2], "from 0 to 1"),
        (np.zeros((3, 2)), [0, 1, -1], "from 0 to 1"),
    ],
)
def test_what_gives_no_ranks_is_refused(similarity: np.ndarray, owners: list[int] | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        score_retrieval(similarity, owners)
