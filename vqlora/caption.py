"""`vqlora caption ADAPTER VIDEO...`: what a kept adapter says of the user's own videos."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vqlora.lines import one_line
from vqlora.recall import find_record
from vqlora.recipe import Recipe
from vqlora.restore import restored

if TYPE_CHECKING:
    from vqlora.adapters import Adapted


def caption_files(where: str, videos: Sequence[str], *, device: str, base: str | None = None) -> int:
    """Prints 'FILE<tab>caption' a video; 1 where one gave no frames, else 0.

    base: where the adapter's base lies now. ValueError before a device is taken for a missing adapter, another base
    or no video that exists.
    """
    found = find_record(where)
    missing = [video for video in videos if not Path(video).is_file()]
    if missing:
        raise ValueError(f"{missing[0]}: no such file; give videos as they lie on this machine")
    return _caption(restored(found, device=device, base=base), found.recipe, videos)


def _caption(adapted: Adapted, recipe: Recipe, videos: Sequence[str]) -> int:
    from vqlora.data.example import PROMPTS, Clip, Example, Message
    from vqlora.evaluation import answer
    from vqlora.inputs import Inputs
    from vqlora.models.load import load
    from vqlora.states import StateMemory
    from vqlora.video.decode import DecodeError
    from vqlora.warm import frame_store

    loaded = adapted.loaded
    if "vision" in adapted.trained_roles:  # samplers look at the features of the tower as it was
        loaded = load(loaded.base, recipe.bits, str(loaded.device))
    store = frame_store(recipe.frames, loaded)
    inputs = Inputs(adapted=adapted, store=store, memory=StateMemory(), language=recipe.language)
    # the assistant's turn is what the model writes; an example needs one to have a last turn
    turns = (Message(role="user", text=PROMPTS[recipe.task]), Message(role="assistant", text=""))
    failed = 0
    for video in videos:
        example = Example(id=video, clips=(Clip(path=video),), references={}, messages=turns)
        try:
            (text,) = answer(inputs, [example], max_new_tokens=recipe.max_new_tokens)
        except DecodeError as error:
            print(f"vqlora caption: {one_line(error)}", file=sys.stderr)
            failed = 1
            continue
        print(f"{one_line(video)}\t{one_line(text)}", flush=True)
    return failed
