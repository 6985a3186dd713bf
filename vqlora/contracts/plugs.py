"""What samplers, data sets and scores must keep, the project's own and those added by `vqlora.extend`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from vqlora.data.sets import default_cache, open_data
from vqlora.data.splits import NAMES
from vqlora.recipe import Frames
from vqlora.video.decode import decode_all
from vqlora.video.frames import FrameStore
from vqlora.video.samplers import select
from vqlora.video.sight import Sight


def check_sampler(name: str, path: str | Path) -> None:
    """AssertionError unless the frames it takes of a file are sorted, different, there, and the same each time."""
    info = decode_all(path)
    for budget in (1, 2, 5, info.frames, info.frames + 3):
        frames = Frames(budget=budget, sampler=name)
        taken = select(frames, Sight.of_file(path, info)).indices
        said = f"sampler {name!r} with a budget of {budget} takes {taken} of {info.frames} frames"
        assert list(taken) == sorted(set(taken)) and 0 <= taken[0] and taken[-1] < info.frames, said
        assert len(taken) == min(budget, info.frames), said
        assert taken == select(frames, Sight.of_file(path, info)).indices, f"{said}, and others the next time"


def check_data(spec: str) -> None:
    """AssertionError unless its splits have clips that decode and captions, and a second reading has their digest."""
    splits = open_data(spec)
    store = FrameStore(default_cache(), Frames(budget=2))
    for split in NAMES:
        examples = getattr(splits, split)
        assert examples, f"{spec}: no example in {split}"
        assert all(any(example.references.values()) for example in examples), (
            f"{spec}: a clip of {split} without a text"
        )
        assert store.get(examples[0].clips[0]).frames.any(), f"{spec}: the first clip of {split} is black"
    assert open_data(spec).digest == splits.digest, f"{spec}: read again it has another digest"


def check_score(score: Callable[[str, Sequence[str]], float]) -> None:
    """AssertionError unless it is a finite number, the same each time, and the reference itself scores no less."""
    references = ("a red circle goes left .", "the red circle moves")
    for caption in ("", "a blue square .", references[0]):
        value = score(caption, references)
        assert math.isfinite(value) and value == score(caption, references), f"{caption!r} scores {value}"
        assert score(references[0], references) >= value, f"{caption!r} scores above a reference"
