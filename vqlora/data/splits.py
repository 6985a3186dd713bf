"""What every reader of a data set returns: three splits, their digest, and how complete the files are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from vqlora.data.example import Example
from vqlora.data.videos import file_name, is_present

NAMES = ("train", "val", "test")
HOLD_OUT_SEED = 0
MAX_HOLD_OUT = 500


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Of one split: examples listed by the annotations, those whose video is there, and the published number."""

    listed: int
    present: int
    official: int | None = None

    def __str__(self) -> str:
        share = f"{self.present} of {self.official or self.listed} present"
        if self.official is None or self.official == self.listed:
            return share
        return f"{share}; the annotations list {self.listed}, published are {self.official}"


@dataclass(frozen=True, kw_only=True)
class Splits:
    """A data set. Choosing sees `val`; `test` is scored once per trial. The three share no clip.

    digest: of ids, file names and texts, independent of where the files lie. validation: 'official', or the name of
    the hold-out. dirt: what the reader counted and left out, e.g. {'empty_captions': 2}.
    Examples whose video is missing stay listed: they are skipped and counted when their frames are wanted.
    """

    name: str
    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    coverage: Mapping[str, Coverage]
    digest: str
    validation: str = "official"
    dirt: Mapping[str, int] = field(default_factory=dict)


def make_splits(
    name: str,
    examples: Mapping[str, Sequence[Example]],
    *,
    official: Mapping[str, int] | None = None,
    dirt: Mapping[str, int] | None = None,
    may_share_videos: bool = False,
) -> Splits:
    """Splits of `examples` by split name; where 'val' is empty a hold-out of train takes its place.

    official: published number of examples. may_share_videos: only where the published splits do.
    ValueError if train or test is empty, an id occurs twice, or a clip stands in two splits.
    """
    train, val, test = (tuple(examples.get(split, ())) for split in NAMES)
    for split, found in (("train", train), ("test", test)):
        if not found:
            raise ValueError(
                f"{name}: no clip in the {split} split; its annotations must list at least one with a caption"
            )
    validation, official = "official", official or {}
    if not val:
        train, val, validation = hold_out(train, HOLD_OUT_SEED)
        official = {"test": official["test"]} if "test" in official else {}
    parts = {"train": train, "val": val, "test": test}
    _refuse_shared_clips(name, parts, may_share_videos)
    return Splits(
        name=name,
        **parts,
        coverage={split: _coverage(found, official.get(split)) for split, found in parts.items()},
        digest=digest(parts),
        validation=validation,
        dirt={reason: count for reason, count in (dirt or {}).items() if count},
    )


def hold_out(train: tuple[Example, ...], seed: int) -> tuple[tuple[Example, ...], tuple[Example, ...], str]:
    """A tenth of train's videos, at most 500, drawn by seed: what is left, the hold-out, its name. Order is kept."""
    videos = list(dict.fromkeys(map(_video, train)))
    if len(videos) < 2:
        raise ValueError(f"a hold-out for validation needs 2 training clips, there is {len(videos)}")
    count = min(MAX_HOLD_OUT, max(1, len(videos) // 10))
    chosen = {videos[place] for place in np.random.default_rng(seed).permutation(len(videos))[:count]}
    left = tuple(example for example in train if _video(example) not in chosen)
    held = tuple(example for example in train if _video(example) in chosen)
    return left, held, f"hold-out of {count} from train, seed {seed}"


def divide(examples: Sequence[Example]) -> dict[str, list[Example]]:
    """Splits of a set that has none: a tenth of the videos for test, a tenth for val, by a hash of their file names.

    So a video stays where it is when others are added. ValueError for fewer than three videos.
    """
    videos = sorted({_video(example) for example in examples}, key=lambda path: _hash(file_name(path)))
    if len(videos) < 3:
        raise ValueError(f"three splits need three videos, there are {len(videos)}; give train, val and test files")
    tenth = max(1, len(videos) // 10)
    home = dict.fromkeys(videos, "train") | dict.fromkeys(videos[:tenth], "test")
    home |= dict.fromkeys(videos[tenth : 2 * tenth], "val")
    found: dict[str, list[Example]] = {split: [] for split in NAMES}
    for example in examples:
        found[home[_video(example)]].append(example)
    return found


def digest(parts: Mapping[str, Sequence[Example]]) -> str:
    """SHA-256 over the splits' ids, clips (file names and stretches) and texts; first 16 hex digits."""
    hashed = hashlib.sha256()
    for split in sorted(parts):
        hashed.update(split.encode())
        for example in parts[split]:
            clips = [[file_name(clip.path), clip.start_seconds, clip.end_seconds] for clip in example.clips]
            turns = [asdict(message) for message in example.messages]
            row = [example.id, example.task, clips, turns, dict(example.references)]
            hashed.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return hashed.hexdigest()[:16]


def _video(example: Example) -> str:
    """What must not stand in two splits: the file of the clip, else the example itself."""
    return example.clips[0].path if example.clips else example.id


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _coverage(examples: Sequence[Example], official: int | None) -> Coverage:
    known: dict[str, bool] = {}
    for example in examples:
        for clip in example.clips:
            if clip.path not in known:
                known[clip.path] = is_present(clip.path)
    present = sum(all(known[clip.path] for clip in example.clips) for example in examples)
    return Coverage(listed=len(examples), present=present, official=official)


def _refuse_shared_clips(name: str, parts: Mapping[str, Sequence[Example]], may_share_videos: bool) -> None:
    ids: set[str] = set()
    home: dict[str, str] = {}
    for split, examples in parts.items():
        for example in examples:
            paths = () if may_share_videos else (clip.path for clip in example.clips)
            for clip in (example.id, *paths):
                if home.setdefault(clip, split) != split:
                    raise ValueError(f"{name}: clip {clip} is in {home[clip]} and in {split}; a clip has one split")
            if example.id in ids:
                raise ValueError(f"{name}: the id {example.id!r} stands twice in {split}; give each example one")
            ids.add(example.id)
