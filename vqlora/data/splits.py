"""What every reader of a data set returns: three splits, their digest, and how complete the files are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from vqlora.data.example import Example

NAMES = ("train", "val", "test")
HOLD_OUT_SEED = 0
MAX_HOLD_OUT = 500


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Of one split: examples listed by the annotations, those whose video file is there, and the published number."""

    listed: int
    present: int
    official: int | None = None


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
) -> Splits:
    """Splits of `examples` by split name; where 'val' is empty a hold-out of train takes its place.

    ValueError if train or test is empty, or a clip stands in two splits.
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
    _refuse_shared_clips(name, parts)
    return Splits(
        name=name,
        **parts,
        coverage={split: _coverage(found, official.get(split)) for split, found in parts.items()},
        digest=digest(parts),
        validation=validation,
        dirt={reason: count for reason, count in (dirt or {}).items() if count},
    )


def hold_out(train: tuple[Example, ...], seed: int) -> tuple[tuple[Example, ...], tuple[Example, ...], str]:
    """A tenth of train, at most 500, drawn by seed: what is left, the hold-out, and its name. Order is kept."""
    if len(train) < 2:
        raise ValueError(f"a hold-out for validation needs 2 training clips, there is {len(train)}")
    count = min(MAX_HOLD_OUT, max(1, len(train) // 10))
    chosen = set(np.random.default_rng(seed).permutation(len(train))[:count].tolist())
    left = tuple(example for place, example in enumerate(train) if place not in chosen)
    return left, tuple(train[place] for place in sorted(chosen)), f"hold-out of {count} from train, seed {seed}"


def digest(parts: Mapping[str, Sequence[Example]]) -> str:
    """SHA-256 over the splits' ids, clips (file names and stretches) and texts; first 16 hex digits."""
    hashed = hashlib.sha256()
    for split in sorted(parts):
        hashed.update(split.encode())
        for example in parts[split]:
            clips = [[Path(clip.path).name, clip.start_seconds, clip.end_seconds] for clip in example.clips]
            turns = [asdict(message) for message in example.messages]
            row = [example.id, example.task, clips, turns, dict(example.references)]
            hashed.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return hashed.hexdigest()[:16]


def _coverage(examples: Sequence[Example], official: int | None) -> Coverage:
    present = sum(all(Path(clip.path).is_file() for clip in example.clips) for example in examples)
    return Coverage(listed=len(examples), present=present, official=official)


def _refuse_shared_clips(name: str, parts: Mapping[str, Sequence[Example]]) -> None:
    home: dict[str, str] = {}
    for split, examples in parts.items():
        for example in examples:
            if home.setdefault(example.id, split) != split:
                raise ValueError(
                    f"{name}: clip {example.id} is in {home[example.id]} and in {split}; a clip has one split"
                )
