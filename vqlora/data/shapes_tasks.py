"""The tasks of the embedded data as conversations, and whether an answer is right.

A conversation ends with the assistant's turn that the task is about. With PLAINS (`shapes_words`) these are the tasks
of pretraining, with DOMAINS the downstream ones. Retrieval compares two states instead: those after `CLIP_PROMPT` and
after `text_prompt`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vqlora.data.example import Message
from vqlora.data.shapes import Scene, draw_scene
from vqlora.data.shapes_questions import ask, one_question
from vqlora.data.shapes_text import (
    PROMPT,
    caption,
    content_scores,
    events_of,
    paragraph,
    read_paragraph,
    sound_caption,
    truth,
)
from vqlora.data.shapes_words import DOMAINS, PLAINS, Lexicon

PROMPTS = {
    "caption": PROMPT,
    "caption_zh": "描述视频。",
    "dense": "Describe every event with its times .",
    "log": "Write any log .",
    "words": "Write any words .",
}
CLIP_PROMPT = "Summarise the video in one word ."
TASKS = ("caption", "caption_zh", "dense", "question", "question_zh", "choice", "turns")
FOLLOWED = ("size", "place", "motion", "why", "how", "shape", "colour")  # kinds about one thing, which 'it' can name
Conversation = tuple[Message, ...]


def text_prompt(text: str) -> str:
    """What the user says to have a text summed up as `CLIP_PROMPT` sums up a clip."""
    return f"Summarise the sentence in one word : {text}"


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
    if task == "dense":
        return _said(PROMPTS[task], paragraph(scene, english))
    if task in ("question", "question_zh"):
        question = one_question(scene, english if task == "question" else chinese, rng)
        return _said(question.text, question.answer)
    if task == "choice":
        question = one_question(scene, english, rng)
        return _said(question.choice, question.letter)
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
        text = paragraph(scene, lexicon)
    elif draw < 0.75:
        text = sound_caption(scene, lexicon)
    else:
        question = one_question(scene, lexicon, rng, heard=draw > 0.87)
        text = f"{question.choice} {question.answer}"
    return _said(PROMPTS["log"], text)


def answer_score(task: str, text: str, conversation: Conversation, scene: Scene) -> float:
    """How right an answer is, 0 to 1, in plain words.

    Captions: share of events right (`content_scores`); dense: mean over the true events of the overlap in time
    (intersection over union) with the told event in the same place, 0 where that is another event; else exact match.
    """
    if task in ("caption", "caption_zh"):
        return content_scores(text, truth(scene), PLAINS["zh" if task == "caption_zh" else "en"])["event"]
    if task == "dense":
        return _timed_score(text, scene)
    return float(text.strip() == conversation[-1].text)


def _timed_score(text: str, scene: Scene) -> float:
    told, score = read_paragraph(text), 0.0
    for phase, (start, end, sentence) in zip(scene.phases, told, strict=False):
        actor = None if phase.actor is None else scene.things[phase.actor].colour
        if events_of(sentence, PLAINS["en"]) == [(actor, phase.motion)]:
            both = max(0.0, min(end, phase.end) - max(start, phase.start))
            score += both / max(max(end, phase.end) - min(start, phase.start), 1e-6)
    return score / max(len(scene.phases), len(told))


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
