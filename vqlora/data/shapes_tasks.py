"""The tasks of the embedded data as conversations, in the words in which `prompts` asks for each.

A conversation ends with the assistant's turn that the task is about. With PLAINS (`shapes_words`) these are the tasks
of pretraining, with DOMAINS the downstream ones. Retrieval compares two states instead (`vqlora.models.embedding`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vqlora.data.example import Message
from vqlora.data.prompts import CAPTION, CAPTION_ZH, DENSE, MOMENT, PARAGRAPH, stretch
from vqlora.data.shapes import Scene, draw_scene
from vqlora.data.shapes_questions import ask, moment, one_question
from vqlora.data.shapes_text import caption, paragraph, sound_caption, timed_events
from vqlora.data.shapes_words import DOMAINS, PLAINS, Lexicon

PROMPTS = {
    "caption": CAPTION,
    "caption_zh": CAPTION_ZH,
    "paragraph": PARAGRAPH,
    "dense": DENSE,
    "log": "Write any log .",
    "words": "Write any words .",
}
TASKS = ("caption", "caption_zh", "paragraph", "dense", "moment", "question", "question_zh", "choice", "turns")
FOLLOWED = ("size", "place", "motion", "why", "how", "shape", "colour")  # kinds about one thing, which 'it' can name
Conversation = tuple[Message, ...]


def conversation(
    task: str, scene: Scene, rng: np.random.Generator, lexicons: Mapping[str, Lexicon] = PLAINS
) -> Conversation:
    """A task about a scene; the last turn is the right answer.

    turns: two questions, the second about 'it', so that both the first turn and the clip are needed.
    """
    english, chinese = lexicons["en"], lexicons["zh"]
    if task == "caption":
        return _said(PROMPTS[task], caption(scene, english, rng))
    if task == "caption_zh":
        return _said(PROMPTS[task], caption(scene, chinese, rng))
    if task == "paragraph":
        return _said(PROMPTS[task], paragraph(scene, english))
    if task == "dense":
        return _said(PROMPTS[task], timed_events(scene, english))
    if task == "moment":
        query, start, end = moment(scene, english, rng)
        return _said(f"{MOMENT}{query}", stretch(start, end))
    if task in ("question", "question_zh"):
        question = one_question(scene, english if task == "question" else chinese, rng)
        return _said(question.text, question.answer)
    if task == "choice":
        question = one_question(scene, english, rng)
        return _said(question.choice, question.chosen)
    if task == "turns":
        return _turns(scene, rng, english)
    raise ValueError(f"task {task!r} is unknown; use one of {TASKS}")


def unrelated(rng: np.random.Generator) -> Conversation:
    """A text about another scene in the domain's words, or about its sounds: the words without their meaning."""
    scene = draw_scene("pretrain", int(rng.integers(1 << 40, 1 << 41)))
    language = "en" if rng.random() < 0.65 else "zh"
    lexicon = (DOMAINS if rng.random() < 0.75 else PLAINS)[language]
    draw = rng.random()
    if draw < 0.55:
        text = caption(scene, lexicon, rng)
    elif draw < 0.65:
        text = timed_events(scene, lexicon)
    elif draw < 0.75:
        text = sound_caption(scene, lexicon)
    else:
        question = one_question(scene, lexicon, rng, heard=draw > 0.87)
        text = f"{question.choice} {question.chosen}"
    return _said(PROMPTS["log"], text)


def _turns(scene: Scene, rng: np.random.Generator, lexicon: Lexicon) -> Conversation:
    thing = int(rng.integers(len(scene.things)))
    asked = (ask(FOLLOWED[i], scene, lexicon, rng, thing=thing) for i in rng.permutation(len(FOLLOWED)))
    found = [question for question in asked if question is not None]
    # The second one names the thing in full, so that 'it' can stand for it.
    second = next(question for question in found if question.kind not in ("shape", "colour"))
    first = next(question for question in found if question is not second)
    name = f"the {lexicon.colours[scene.things[thing].colour]} {lexicon.shapes[scene.things[thing].shape]}"
    follow_up = f"And {second.text[0].lower()}{second.text[1:].replace(name, 'it')}"
    return _said(first.text, first.answer) + _said(follow_up, second.answer)


def _said(asked: str, answer: str) -> Conversation:
    return (Message(role="user", text=asked), Message(role="assistant", text=answer))
