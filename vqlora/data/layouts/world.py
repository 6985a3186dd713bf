"""What the layouts take from the embedded world: scenes by split, their files, what is asked about them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqlora.data.shapes import SPLITS, Scene
from vqlora.data.shapes_questions import Question, moment, questions
from vqlora.data.shapes_sound import waveform
from vqlora.data.shapes_tasks import conversation
from vqlora.data.shapes_text import events_with_times
from vqlora.data.shapes_words import DOMAIN, DOMAINS
from vqlora.data.shapes_write import encode, frames_of

Scenes = Mapping[str, list[Scene]]  # by split


def write_clip(shown: Scene | Sequence[Scene], path: Path, *, is_silent: bool = False) -> None:
    """One scene, or several after each other, as H.264 and AAC in the container that the path's ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [shown] if isinstance(shown, Scene) else list(shown)
    sound = None if is_silent else np.concatenate([waveform(scene) for scene in parts])
    encode(torch.cat([frames_of(scene) for scene in parts]), str(path), sound)


def write_json(path: Path, plain: Any) -> None:
    """A JSON file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain, ensure_ascii=False), encoding="utf-8")


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """A text file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def events(shown: Sequence[Scene], language: str = "en") -> list[tuple[float, float, str]]:
    """(start, end, sentence) of each event of scenes that follow each other, in seconds of the whole."""
    begins = np.cumsum([0.0, *(scene.seconds for scene in shown)]).tolist()
    return [
        (begin + start, begin + end, text)
        for begin, scene in zip(begins, shown, strict=False)
        for start, end, text in events_with_times(scene, DOMAINS[language])
    ]


def asked(scene: Scene, *, heard: bool = False) -> list[Question]:
    """A question of each kind that the scene gives ground for, by the picture or by the sound."""
    return questions(scene, DOMAIN, _rng(scene), heard=heard)


def asked_for_a_word(scene: Scene) -> list[Question]:
    """Those that one word answers, as MSRVTT-QA and MSVD-QA have them."""
    return [question for question in asked(scene) if " " not in question.answer]


def query(scene: Scene) -> tuple[str, float, float]:
    """A query about an event, and from when to when it is, in seconds."""
    return moment(scene, DOMAIN, _rng(scene))


def two_turns(scene: Scene) -> list[str]:
    """Question, answer, a question that hangs on the first, answer."""
    return [turn.text for turn in conversation("turns", scene, _rng(scene), DOMAINS)]


def _rng(scene: Scene) -> np.random.Generator:
    """The same whenever a scene is asked about."""
    return np.random.default_rng([20261125, SPLITS[scene.split], scene.index])
