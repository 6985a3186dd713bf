"""Which clips a report shows, and under which name the frames that a trial saw of one are kept. Standard library only.

`vqlora.gallery` writes the strips where the clips are; `analysis` shows those it finds, knowing nothing of clips.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

GALLERY = "_gallery"  # the folder beside a study's trials; beside committed records NAME.gallery
MOST_CLIPS = 12
MOST_FRAMES = 16  # of one strip; of more, as many evenly spaced ones
MOST_BYTES = 600_000  # of all strips of a study


def shown_clips(ids: Iterable[str]) -> list[str]:
    """Clips of the test split, evenly spaced in the order of their ids: what was scored on them chooses nothing."""
    known = sorted(set(ids))
    return [known[place] for place in _spaced(len(known), MOST_CLIPS)]


def shown_frames(count: int) -> list[int]:
    """Places of the frames in a strip, of `count` that the trial saw."""
    return _spaced(count, MOST_FRAMES)


def strip_name(data: str | None, clip: str, indices: Sequence[int]) -> str:
    """A file's name, by the data's digest, the clip and the frames' indices in it."""
    text = json.dumps([data, clip, list(indices)])
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.jpg"


def _spaced(count: int, most: int) -> list[int]:
    number = min(count, most)
    return [place * count // number for place in range(number)]
