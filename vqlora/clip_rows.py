"""What a trial keeps of each clip (`examples.jsonl.gz`), read with a bound on its size and each row checked.

A gigabyte of zeros packs into a megabyte, and a storage may be anybody's. Standard library only.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from vqlora.from_json import build

MOST_BYTES = 2**30  # unpacked; a trial of 100,000 clips keeps about a tenth
GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, kw_only=True)
class _Needed:
    """What readers take from a row; rows hold more."""

    id: str
    split: str
    scores: Mapping[str, float | None]
    caption: str = ""
    references: Sequence[Any] | Mapping[str, Any] = ()
    frame_indices: Sequence[int] = ()
    frame_times_seconds: Sequence[float] = ()


NAMES = frozenset(one.name for one in fields(_Needed))


def clip_rows(content: bytes) -> list[dict[str, Any]]:
    """The rows of a packed file. ValueError, naming the row, for one that is none of ours, or if they are too large."""
    try:
        unpacker = zlib.decompressobj(GZIP)
        text = unpacker.decompress(content, MOST_BYTES)
        if unpacker.unconsumed_tail:
            raise ValueError(f"unpacks to more than {MOST_BYTES / 2**30:g} GiB")
        if not unpacker.eof:
            raise ValueError("is cut short")
        return [_row(line, number) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    except (zlib.error, RecursionError) as error:
        raise ValueError(f"does not read: {error}") from error


def _row(line: bytes, number: int) -> dict[str, Any]:
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise ValueError(f"row {number} is not JSON: {error}") from error
    plain = {name: value for name, value in row.items() if name in NAMES} if isinstance(row, dict) else row
    build(_Needed, plain, f"row {number}")
    return row
