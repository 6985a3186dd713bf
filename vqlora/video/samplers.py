"""Which frames of a clip the model sees. A sampler is a function in SAMPLERS; timestamps come with the VideoInfo."""

from __future__ import annotations

from collections.abc import Callable

from vqlora.recipe import Frames
from vqlora.video.decode import VideoInfo

Sampler = Callable[[int, VideoInfo], tuple[int, ...]]


def select(frames: Frames, info: VideoInfo) -> tuple[int, ...]:
    """Sorted indices of at most `frames.budget` different frames; all of them where the clip has no more."""
    if info.frames <= frames.budget:
        return tuple(range(info.frames))
    return SAMPLERS[frames.sampler](frames.budget, info)


def uniform(budget: int, info: VideoInfo) -> tuple[int, ...]:
    """The centres of `budget` equal bins of the frames; integers throughout, so the same on every machine."""
    return tuple((2 * place + 1) * info.frames // (2 * budget) for place in range(budget))


SAMPLERS: dict[str, Sampler] = {"uniform": uniform}
