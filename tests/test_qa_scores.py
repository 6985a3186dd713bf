"""Exact match, options read from free answers, types and NExT-QA's groups."""

import pytest

from vqlora.metrics.moments import overlap, score_moments
from vqlora.metrics.qa import Question, chosen_option, score_answers

OPTIONS = ("a dog", "a man", "an old man", "two cars")


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("B", 1),
        ("b", 1),
        ("(C)", 2),
        ("D.", 3),
        ("A: a dog", 0),
        ("b) a man", 1),
        ("The answer is (D).", 3),
        ("The correct option is C", 2),
        ("Answer: B", 1),
        ("a man", 1),
        ("A man.", 1),
        ("An old man", 2),
        ("It is an old man who waves", 2),
        ("I see two cars", 3),
        ("I would say (B), since he waves", 1),
        ("A person waves", None),
        ("a dog and two cars", None),
        ("(A) or (B)", None),
        ("E", None),
        ("", None),
        ("none of these", None),
    ],
)
def test_an_option_is_read_from_what_a_model_writes(text: str, chosen: int | None) -> None:
    assert chosen_option(text, OPTIONS) == chosen


def test_free_answers_match_in_lower_case_and_nothing_more() -> None:
    questions = {"1": Question(answer="Couch"), "2": Question(answer="dog"), "3": Question(answer="dog")}
    scored = score_answers({"1": "couch", "2": "dogs", "3": "dog."}, questions)
    assert scored.correct == {"1": True, "2": False, "3": False}
    assert scored.accuracy == pytest.approx(1 / 3) and scored.unparsed is None


def test_an_unread_answer_is_wrong_and_its_share_is_told() -> None:
    questions = {str(place): Question(answer="a man", options=OPTIONS) for place in range(4)}
    scored = score_answers({"0": "B", "1": "hm", "2": 1, "3": 0}, questions)
    assert scored.accuracy == 0.5 and scored.unparsed == 0.25


def test_next_qa_has_its_groups_and_counts_previous_as_next() -> None:
    kinds = {"1": "CW", "2": "CH", "3": "TN", "4": "TP", "5": "TC", "6": "DL"}
    questions = {id: Question(answer="a dog", type=kind, options=OPTIONS) for id, kind in kinds.items()}
    scored = score_answers({"1": 0, "2": 1, "3": 0, "4": 1, "5": 1, "6": 0}, questions)
    assert scored.by_type == {"CH": 0.0, "CW": 1.0, "DL": 1.0, "TC": 0.0, "TN": 0.5}
    assert scored.groups == {"C": 0.5, "T": pytest.approx(1 / 3), "D": 1.0}


def test_questions_of_one_video_are_resampled_together() -> None:
    answers = {str(place): "yes" if place < 50 else "no" for place in range(100)}
    alone = {id: Question(answer="yes") for id in answers}
    together = {id: Question(answer="yes", video=str(int(id) // 50)) for id in answers}
    narrow, wide = (score_answers(answers, questions).intervals["accuracy"] for questions in (alone, together))
    assert wide == [0.0, 1.0] and 0.35 < narrow[0] < 0.5 < narrow[1] < 0.65


def test_a_question_that_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the options"):
        Question(answer="a cat", options=OPTIONS)
    with pytest.raises(ValueError, match="twice"):
        Question(answer="a", options=("a", "a"))
    with pytest.raises(ValueError, match="is the number 4; it has 4 options"):
        score_answers({"1": 4}, {"1": Question(answer="a dog", options=OPTIONS)})
    with pytest.raises(ValueError, match="nothing to score"):
        score_answers({}, {})


def test_moments_are_right_above_the_threshold_and_not_at_it() -> None:
    assert overlap((0, 10), (5, 10)) == 0.5
    assert overlap((0, 1), (2, 3)) == overlap((3, 2), (0, 9)) == 0.0
    truths = {"a": (5.0, 10.0), "b": (0.0, 4.0), "c": (1.0, 2.0)}
    predictions = {"a": [(0.0, 10.0)], "b": [(8.0, 9.0), (0.0, 4.0)]}
    scored = score_moments(predictions, truths).scores
    assert scored["R1@0.3"] == pytest.approx(100 / 3)  # a; b's first misses, c has none
    assert scored["R1@0.5"] == 0.0  # a overlaps by exactly a half
    assert scored["R5@0.5"] == pytest.approx(100 / 3)
    assert scored["mIoU"] == pytest.approx(100 * 0.5 / 3)
