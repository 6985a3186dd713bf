"""A model's texts scored by what was asked: what texts mean, and what is refused."""

from __future__ import annotations

import pytest

from vqlora.data.example import Clip, Example, Message
from vqlora.tasks import parse_events, score_texts


def example(id: str, task: str, **known: object) -> Example:
    asked = (Message(role="user", text="?"),)
    clips, references = (Clip(path=f"{id}.mp4"),), {"en": ("a dog",)}
    return Example(id=id, clips=clips, references=references, messages=asked, task=task, attributes=known)


@pytest.mark.parametrize(
    "text",
    [
        "0.0 to 2.5 s : a dog runs . 2.5 to 4 s : it sits .",
        "0-2.5s: a dog runs .\n2.5 - 4 s it sits .",
        "0到2.5秒：a dog runs .2.5到4秒：it sits .",
    ],
)
def test_events_are_read_from_any_of_the_usual_ways_to_write_times(text: str) -> None:
    found = [(one.start_seconds, one.end_seconds, one.sentence) for one in parse_events(f"So: {text}")]
    assert found == [(0.0, 2.5, "a dog runs ."), (2.5, 4.0, "it sits .")]


def test_text_without_times_holds_no_event() -> None:
    assert parse_events("a dog runs 5 times") == parse_events("") == []


def test_moments_and_answers_are_scored_from_their_text() -> None:
    one = [example("a", "moments", moment=[1.0, 3.0])]
    assert score_texts(one, {"a": "from 1.0 to 3.0 s"}).metrics["R1@0.5"] == 100.0
    assert score_texts(one, {"a": "I do not know"}).metrics["mIoU"] == 0.0
    asked = [example("a", "qa", answer="dog", type="what"), example("b", "qa", answer="two", type="how")]
    found = score_texts(asked, {"a": "Dog", "b": "three"})
    assert found.metrics == {"accuracy": 0.5, "accuracy_how": 0.0, "accuracy_what": 1.0}
    assert found.rows["b"] == {"accuracy": 0.0}


def test_tasks_that_do_not_go_together_and_absent_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="score those of one kind together"):
        score_texts([example("a", "qa", answer="x"), example("b", "moments", moment=[0, 1])], {"a": "", "b": ""})
    with pytest.raises(ValueError, match="1 examples have no text"):
        score_texts([example("a", "caption")], {})
    with pytest.raises(ValueError, match="0 examples"):
        score_texts([], {})
