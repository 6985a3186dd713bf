"""One `Example` serves every task: clips, optional audio, messages and references by language.

Readers (`msrvtt`, later others) make examples; `vqlora.video.frames` turns their clips into pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from vqlora.data.prompts import CAPTION

# What the user says where an example brings no messages of its own.
PROMPTS = {"caption": CAPTION, "retrieval": CAPTION}


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A video file, or the stretch [start_seconds, end_seconds) of one; None = from the first, to the last frame."""

    path: str
    start_seconds: float | None = None
    end_seconds: float | None = None

    def __post_init__(self) -> None:
        start, end = self.start_seconds or 0.0, self.end_seconds
        if start < 0 or (end is not None and end <= start):
            raise ValueError(f"{self.path}: {start} s to {end} s is no stretch; the end must be after the start >= 0")


@dataclass(frozen=True, kw_only=True, eq=False)
class Audio:
    """A sound track: samples [n] or [n, channels], floats in -1..1, at rate_hz samples a second."""

    samples: np.ndarray
    rate_hz: int

    def __post_init__(self) -> None:
        if self.rate_hz <= 0:
            raise ValueError(f"audio rate {self.rate_hz} Hz must be > 0")


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn. The clips of an example stand before the text of its first user turn."""

    role: Literal["user", "assistant"]
    text: str

    def __post_init__(self) -> None:
        if self.role not in ("user", "assistant"):
            raise ValueError(f"message role {self.role!r} is unknown; use 'user' or 'assistant'")


@dataclass(frozen=True, kw_only=True)
class Example:
    """One item of a data set.

    messages: any number of turns, user first; empty means the prompt of the task. references: language -> texts.
    attributes: what else the set knows, e.g. the ground truth of a drawn scene.
    """

    id: str
    clips: tuple[Clip, ...]
    references: Mapping[str, tuple[str, ...]]
    messages: tuple[Message, ...] = ()
    task: str = "caption"
    audio: tuple[Audio, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def question(self) -> str | None:
        """What the first user turn asks; None where the prompt of the task stands."""
        return self.messages[0].text if self.messages else None

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("an example has no id; ids name examples in records")
        for turn, message in enumerate(self.messages):
            expected = ("user", "assistant")[turn % 2]
            if message.role != expected:
                raise ValueError(
                    f"example {self.id}: turn {turn} is the {message.role}'s; turns alternate from the user"
                )
        if not self.messages and self.task not in PROMPTS:
            raise ValueError(f"example {self.id}: {self.task!r} has no prompt as {sorted(PROMPTS)} have; give messages")

    def conversation(self, language: str, index: int = 0) -> tuple[Message, ...]:
        """The turns to train on; the last one is the assistant's.

        Messages that end with the assistant are taken as they are. Else reference `index` (modulo their number) in
        `language` answers the last user turn. ValueError if the language has no reference.
        """
        if self.messages and self.messages[-1].role == "assistant":
            return self.messages
        texts = self.references.get(language, ())
        if not texts:
            raise ValueError(f"example {self.id} has no reference in {language!r}; it has {sorted(self.references)}")
        asked = self.messages or (Message(role="user", text=PROMPTS[self.task]),)
        return (*asked, Message(role="assistant", text=texts[index % len(texts)]))
