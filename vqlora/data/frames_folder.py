"""Clips as pictures: a folder whose folders each hold the frames of one clip, and captions beside them.

captions.csv or captions.jsonl has the columns of `table`, its `path` being a folder's name. Frames are shown in the
order of their names, one a second, or as many as fps.txt in the folder says.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vqlora.annotations import find_file
from vqlora.data.splits import Splits
from vqlora.data.table import open_table


def open_frames(folder: Path) -> Splits:
    """ValueError unless the folder holds captions and at least one folder of pictures that they name."""
    wanted = "captions.csv or captions.jsonl, and a folder of pictures for each clip"
    splits = open_table(find_file(folder, "captions.csv", "captions.jsonl", wanted=wanted))
    examples = (*splits.train, *splits.val, *splits.test)
    if not any(Path(clip.path).is_dir() for example in examples for clip in example.clips):
        raise ValueError(f"{folder}: none of the {len(examples)} clips is a folder of pictures; expected {wanted}")
    return replace(splits, name="frames")
