"""Two decoded clips with their conversations, and what a base makes of them: the input of every contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from vqlora.adapters.adapted import Adapted, Shown
from vqlora.data.example import Example, Message
from vqlora.data.sets import default_cache, open_data
from vqlora.models.load import Loaded
from vqlora.recipe import Frames
from vqlora.video.frames import ClipFrames, FrameStore


@dataclass(frozen=True, kw_only=True, eq=False)
class Footage:
    """Clips decoded from video files at the size that a base sees, each with a question and its answer.

    shown: how much happens in each clip's frames. adapted: what sits on the base, if it wants to know of these.
    """

    loaded: Loaded
    clips: Sequence[ClipFrames]
    shown: Sequence[Shown]
    talks: Sequence[Sequence[Message]]
    size: int
    adapted: Adapted | None = None

    def tokens(self, rows: Sequence[int] = (0, 1), *, generate: bool = False) -> dict[str, Tensor]:
        """The family's batch of these rows."""
        times = [self.clips[row].times_seconds for row in rows]
        talks = [self.talks[row] for row in rows]
        processor, config = self.loaded.processor, self.loaded.model.config
        batch = self.loaded.family.batch(processor, config, times, talks, size=self.size, generate=generate)
        self._announce(rows, batch)
        return batch

    def states(self, rows: Sequence[int] = (0, 1), *, gradients: bool = False) -> list[Tensor]:
        """The tower's states of these rows."""
        clips = [self.clips[row] for row in rows]
        self._announce(rows, None)
        with torch.set_grad_enabled(gradients):
            return self.loaded.family.vision_states(self.loaded.model, self.loaded.processor, clips)

    def loss(self, *, trains_vision: bool = False) -> Tensor:
        """The family's loss on both rows."""
        states = self.states(gradients=trains_vision)
        return self.loaded.family.loss(self.loaded.model, self.tokens(), states)

    def _announce(self, rows: Sequence[int], tokens: dict[str, Tensor] | None) -> None:
        if self.adapted is not None and self.adapted.follows_frames:
            self.adapted.see([self.shown[row] for row in rows], tokens)


def footage(loaded: Loaded, *, size: int | None = None, budget: int = 4) -> Footage:
    """Two clips of the embedded data. size: side of frames in pixels, by default what the base's tower is built for."""
    side = size or natural_size(loaded.model.config)
    examples = _examples()
    store = FrameStore(default_cache(), Frames(budget=budget, size=side))
    return Footage(
        loaded=loaded,
        clips=[store.get(example.clips[0]) for example in examples],
        shown=[Shown(scores=store.scores(one.clips[0]), number=row) for row, one in enumerate(examples)],
        talks=[example.conversation("en", 0) for example in examples],
        size=side,
    )


def natural_size(config: Any) -> int:
    """The side of the frames that a base's tower was built for; 56 pixels where it takes multiples of its patches."""
    vision = config.vision_config
    side = getattr(vision, "image_size", None) or (getattr(vision, "model_args", None) or {}).get("img_size") or 56
    return side if isinstance(side, int) else side[0]


@cache
def _examples() -> tuple[Example, ...]:
    return open_data("shapes:tiny").train[:2]
