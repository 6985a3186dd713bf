"""Dense captioning: overlaps, precision, recall, and texts of overlapping events, by hand-made cases."""

import pytest

from vqlora.metrics.captions import score_captions
from vqlora.metrics.dense import Event, score_dense


def event(start: float, end: float, sentence: str = "a man runs far away") -> Event:
    return Event(start_seconds=start, end_seconds=end, sentence=sentence)


def test_what_is_predicted_as_annotated_is_found_and_described() -> None:
    truth = {"v1": [event(0, 5, "a dog runs on the grass"), event(5, 10, "the dog sits down again")]}
    scored = score_dense(truth, [truth]).scores
    for limit in (0.3, 0.5, 0.7, 0.9):
        assert scored["precision"][limit] == scored["recall"][limit] == 1.0
        assert scored["Bleu_4"][limit] == pytest.approx(1.0, abs=1e-6)
        assert scored["CIDEr"][limit] == pytest.approx(10.0)


def test_precision_and_recall_are_means_over_videos() -> None:
    truth = {"v1": [event(0, 10), event(10, 20)], "v2": [event(0, 4)], "v3": [event(0, 4)]}
    predicted = {"v1": [event(0, 9), event(50, 60)], "v2": [event(0, 4), event(0, 4), event(9, 10)]}
    scored = score_dense(predicted, [truth], texts=False).scores
    assert scored["precision"][0.5] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert scored["recall"][0.5] == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert scored["recall"][0.9] == pytest.approx(1 / 3)  # 0.9 is not above 0.9


def test_of_several_annotations_the_better_one_counts() -> None:
    first, second = {"v": [event(0, 2), event(2, 4)]}, {"v": [event(0, 2)], "w": [event(0, 1)]}
    scored = score_dense({"v": [event(0, 2)], "w": []}, [first, second], texts=False)
    assert scored.videos == 2 and scored.scores["recall"][0.5] == 0.5


def test_texts_are_scored_in_a_video_and_a_stray_prediction_lowers_them() -> None:
    truth = {"v": [event(0, 5, "a dog runs on the grass"), event(5, 9, "the dog sits down again")]}
    predicted = {"v": [event(0, 5, "a dog walks on the grass"), event(5, 9, "the dog sits down again")]}
    scored = score_dense(predicted, [truth]).scores
    expected = score_captions(
        {"0": "a dog walks on the grass", "1": "the dog sits down again"},
        {"0": ["a dog runs on the grass"], "1": ["the dog sits down again"]},
    ).scores
    assert scored["CIDEr"][0.5] == pytest.approx(expected["cider"])
    assert scored["ROUGE_L"][0.5] == pytest.approx(expected["rouge_l"])
    stray = {"v": [*predicted["v"], event(90, 95, "nothing is here")]}
    assert score_dense(stray, [truth]).scores["Bleu_4"][0.5] < scored["Bleu_4"][0.5]


def test_dirt_of_the_annotations_is_scored_without_a_fuss() -> None:
    truth = {"v": [event(5, 5, " a café "), event(9, 3), event(0, 100)]}  # empty, backwards, beyond the end
    scored = score_dense({"v": [event(0, 100, "naïve")]}, [truth]).scores
    assert scored["recall"][0.5] == pytest.approx(1 / 3)


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(ValueError, match="no ground truth"):
        score_dense({}, [])
    with pytest.raises(ValueError, match="no event"):
        score_dense({}, [{"v": []}])
