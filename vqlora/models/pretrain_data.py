"""What a step of pretraining holds: scenes at some of their frames, and conversations or texts about them.

Steps are of three kinds. Most hold conversations about short clips; some about long ones; some pair clips with texts to
be told apart. The share of each task was chosen so that captions, on which most studies rest, get the most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from vqlora.data.example import Message
from vqlora.data.shapes import FPS, SIDE, Scene, draw_scene
from vqlora.data.shapes_questions import one_question
from vqlora.data.shapes_render import Reel, reel
from vqlora.data.shapes_tasks import PROMPTS, Conversation, conversation, unrelated
from vqlora.data.shapes_text import caption, paragraph
from vqlora.data.shapes_words import PLAIN, PLAIN_ZH
from vqlora.models.embedding import clip_batch, text_batch
from vqlora.models.family import Family
from vqlora.models.probe import HELD_OUT
from vqlora.models.tokenizer import spare_words

FRAME_COUNTS = (2, 4, 6, 8, 8, 8, 12, 16)  # frames per clip, one draw per step
LONG_FRAME_COUNTS = (8, 16, 16, 24)
KINDS = {"talk": 0.84, "long": 0.08, "retrieval": 0.08}
PAIRS_FROM = 500  # the first step with pairs: before, clips say too little, and all vectors would become one
FIRST = {
    "caption": 0.8,
    "caption_zh": 0.1,
    "unrelated": 0.08,
    "words": 0.02,
}  # alone: mixed from the start, 2,240 steps
# of twelve tasks left shapes at chance (videollama), which captions alone taught within 1,900
TALKS = {
    "caption": 0.36,
    "caption_zh": 0.12,
    "paragraph": 0.03,
    "dense": 0.12,
    "moment": 0.03,
    "question": 0.09,
    "question_zh": 0.04,
    "choice": 0.06,
    "turns": 0.06,
    "unrelated": 0.08,
    "words": 0.01,
}
ASKED_FIRST = 0.5  # of captions and paragraphs: a question or two come before, as turns of one conversation
SPARE_WORDS = 24


@dataclass(frozen=True, kw_only=True)
class Step:
    """A batch of B clips. texts: in a retrieval step, one each. tasks [B]: places in (*TALKS, 'long', 'retrieval')."""

    reel: Reel
    tokens: dict[str, Tensor]
    texts: dict[str, Tensor] | None
    tasks: Tensor

    def to(self, device: str) -> Step:
        def moved(batch: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: value.to(device) for name, value in batch.items()}

        return replace(
            self,
            reel=self.reel.to(device),
            tokens=moved(self.tokens),
            texts=None if self.texts is None else moved(self.texts),
            tasks=self.tasks.to(device),
        )


class Steps(Dataset[Step]):
    """Training batches by step, from the seed; scenes of the pretraining split at random, hardly any of them twice.

    The first `captions_first` steps hold short clips with the tasks of `FIRST` only.
    """

    def __init__(self, family: Family, processor: Any, config: Any, *, batch: int, seed: int, captions_first: int = 0):
        self.family, self.processor, self.config = family, processor, config
        self.batch, self.seed, self.captions_first = batch, seed, captions_first

    def __getitem__(self, step: int) -> Step:
        rng = np.random.default_rng([self.seed, step])
        kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
        first = step < self.captions_first
        kind = "talk" if first or (kind == "retrieval" and step < PAIRS_FROM) else kind
        long = kind == "long"
        count = int(rng.choice(LONG_FRAME_COUNTS if long else FRAME_COUNTS))
        rows = rng.integers(HELD_OUT, size=self.batch // 2 if long else self.batch)  # twice the frames, half the clips
        scenes = [draw_scene("pretrain", int(row), long=long) for row in rows]
        indices = _frame_numbers(scenes, count, rng)
        drawn, times = reel(scenes, indices), (indices / FPS).tolist()
        if kind == "retrieval":
            tokens = clip_batch(self.family, self.processor, self.config, times, size=SIDE)
            said = [_sentence(scene, rng) for scene in scenes]
            texts = text_batch(self.family, self.processor, self.config, said, size=SIDE)
            return Step(reel=drawn, tokens=tokens, texts=texts, tasks=torch.full((len(rows),), len(TALKS) + 1))
        shares = [FIRST.get(task, 0.0) for task in TALKS] if first else list(TALKS.values())
        tasks = rng.choice(len(TALKS), size=len(rows), p=shares)
        talks = [talk(list(TALKS)[task], scene, rng) for task, scene in zip(tasks, scenes, strict=True)]
        tokens = self.family.batch(self.processor, self.config, times, talks, size=SIDE)
        places = torch.full((len(rows),), len(TALKS)) if long else torch.from_numpy(tasks)
        return Step(reel=drawn, tokens=tokens, texts=None, tasks=places)


def talk(task: str, scene: Scene, rng: np.random.Generator) -> Conversation:
    """A conversation of pretraining; all of the assistant's turns are learned."""
    if task == "unrelated":
        return unrelated(rng)
    if task == "words":
        text = spare_words(rng, SPARE_WORDS)
        return (Message(role="user", text=PROMPTS["words"]), Message(role="assistant", text=text))
    main = conversation(task, scene, rng)
    if task in ("caption", "caption_zh", "paragraph", "dense") and rng.random() < ASKED_FIRST:
        lexicon = PLAIN_ZH if task == "caption_zh" else PLAIN
        asked = [one_question(scene, lexicon, rng) for _ in range(int(rng.integers(1, 3)))]
        turns = [(Message(role="user", text=q.text), Message(role="assistant", text=q.answer)) for q in asked]
        return (*(message for turn in turns for message in turn), *main)
    return main


def _sentence(scene: Scene, rng: np.random.Generator) -> str:
    """What a clip is to be found by: an English or Chinese caption, or its events alone."""
    draw = rng.random()
    if draw < 0.8:
        return caption(scene, PLAIN if draw < 0.6 else PLAIN_ZH, rng)
    return paragraph(scene, PLAIN)


def _frame_numbers(scenes: list[Scene], count: int, rng: np.random.Generator) -> np.ndarray:
    """[scenes, count]: from equal parts of each clip, their middles in half of the clips, anywhere in the others."""
    anywhere = rng.random(len(scenes)) < 0.5
    places = np.where(anywhere[:, None], rng.random((len(scenes), count)), 0.5)
    lengths = np.array([scene.num_frames for scene in scenes])[:, None]
    return ((np.arange(count) + places) * lengths / count).astype(np.int64)
