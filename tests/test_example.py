"""One example type for every task: turns, references by language, stretches of clips."""

from __future__ import annotations

import numpy as np
import pytest

from vqlora.data.example import PROMPTS, Audio, Clip, Example, Message

CLIP = Clip(path="clip.mp4")
REFERENCES = {"en": ("a dog runs", "a dog"), "zh": ("一只狗",)}


def test_a_caption_example_asks_the_one_prompt_and_answers_with_the_chosen_reference():
    example = Example(id="a", clips=(CLIP,), references=REFERENCES)
    asked, answered = example.conversation("en", 1)
    assert (asked.role, asked.text) == ("user", PROMPTS["caption"])
    assert (answered.role, answered.text) == ("assistant", "a dog")
    assert example.conversation("en", 2) == example.conversation("en", 0)
    assert example.conversation("zh")[-1].text == "一只狗"


def test_many_turns_are_kept_as_they_are():
    turns = tuple(Message(role=role, text=role) for role in ("user", "assistant", "user", "assistant"))
    assert Example(id="a", clips=(CLIP,), references={}, messages=turns).conversation("en") == turns


def test_a_last_question_is_answered_by_a_reference():
    turns = (Message(role="user", text="What runs?"),)
    example = Example(id="a", clips=(CLIP,), references={"en": ("a dog",)}, messages=turns, task="question")
    assert [turn.text for turn in example.conversation("en")] == ["What runs?", "a dog"]


def test_a_language_without_reference_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"example a has no reference in 'de'; it has \['en', 'zh'\]"):
        Example(id="a", clips=(CLIP,), references=REFERENCES).conversation("de")


@pytest.mark.parametrize("roles", [("assistant",), ("user", "user"), ("user", "assistant", "assistant")])
def test_turns_alternate_and_the_user_begins(roles: tuple[str, ...]):
    turns = tuple(Message(role=role, text="") for role in roles)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="turns alternate from the user"):
        Example(id="a", clips=(CLIP,), references={}, messages=turns)


def test_bad_parts_are_refused_with_their_value():
    with pytest.raises(ValueError, match="'system' is unknown"):
        Message(role="system", text="")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"clip\.mp4: 2\.0 s to 1\.0 s is no stretch"):
        Clip(path="clip.mp4", start_seconds=2.0, end_seconds=1.0)
    with pytest.raises(ValueError, match="0 Hz"):
        Audio(samples=np.zeros(4), rate_hz=0)
    with pytest.raises(ValueError, match="has no id"):
        Example(id="", clips=(CLIP,), references={})
    with pytest.raises(ValueError, match="'dance' has no prompt"):
        Example(id="a", clips=(CLIP,), references={}, task="dance")
