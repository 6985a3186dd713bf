"""What a trial reports while it runs, in closed, immutable parts with row count and SHA-256, and its checkpoints.

Object stores cannot append, so rows gather in memory and are closed into a part at every checkpoint. Attempts of one
trial are merged exactly once: a later attempt replaces what an earlier one reported from its own first step on.
Layout and records: `vqlora.store`. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vqlora.storage import Place

SLOTS = ("state-0.bin", "state-1.bin")
PART = re.compile(r"part-(\d{4})\.jsonl")


@dataclass(frozen=True, kw_only=True)
class Broken:
    """Something found in a storage that is not as it should be, and why; it is never used."""

    what: str
    reason: str


@dataclass(kw_only=True)
class Ledger:
    """One attempt: its rows and checkpoints. A row holds `step`; NaN and infinity become None, JSON has neither."""

    place: Place
    parts: int = 0
    states: int = 0
    _open: list[Mapping[str, Any]] = field(default_factory=list)

    def add(self, row: Mapping[str, Any]) -> None:
        """Takes a row; it is kept when the part is closed."""
        if "step" not in row:
            raise ValueError(f"ledger row {dict(row)} has no 'step'; attempts are merged by it")
        self._open.append({key: _finite(value) for key, value in row.items()})

    def close_part(self) -> None:
        """Writes the rows since the last part as the next one; nothing where there are none."""
        if self._open:
            self.place.write(f"part-{self.parts:04d}.jsonl", part_text(self._open).encode())
            self.parts += 1
            self._open = []

    def write_state(self, step: int, content: bytes) -> None:
        """Keeps a checkpoint, in two slots by turns, so that a torn write leaves the one before."""
        head = f"{step} {hashlib.sha256(content).hexdigest()}\n".encode()
        self.place.write(SLOTS[self.states % 2], head + content)
        self.states += 1


def read_state(place: Place) -> bytes | None:
    """The newest checkpoint in an attempt's folder whose digest holds."""
    found: list[tuple[int, bytes]] = []
    for name in SLOTS:
        head, _, content = (place.read(name) or b"").partition(b"\n")
        step, _, digest = head.decode(errors="replace").partition(" ")
        if re.fullmatch(r"[0-9]{1,18}", step) and digest == hashlib.sha256(content).hexdigest():
            found.append((int(step), content))
    return max(found)[1] if found else None


def part_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as lines of JSON, the last line {"rows": count, "sha256": of all before it}."""
    body = "".join(json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in rows)
    return body + json.dumps({"rows": len(rows), "sha256": hashlib.sha256(body.encode()).hexdigest()}) + "\n"


def rows_of_part(text: str) -> list[dict[str, Any]]:
    """The inverse of `part_text`. ValueError where the part is cut short or changed."""
    body, _, last = text.removesuffix("\n").rpartition("\n")
    body = body + "\n" if body else ""
    try:
        end = json.loads(last)
        count, digest = end["rows"], end["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("its last line is not a count and digest: it was cut short") from error
    if hashlib.sha256(body.encode()).hexdigest() != digest:
        raise ValueError("its digest does not match its rows: it was changed or cut")
    rows = [json.loads(line) for line in body.splitlines()]
    if len(rows) != count or any(not isinstance(row, dict) or type(row.get("step")) is not int for row in rows):
        raise ValueError(f"it does not hold {count} rows with a step")
    return rows


def read_attempt(place: Place) -> tuple[list[dict[str, Any]], list[Broken]]:
    """The rows of one attempt up to its first broken or missing part, and what is broken."""
    rows: list[dict[str, Any]] = []
    broken: list[Broken] = []
    parts = [name for name in place.files() if PART.fullmatch(name)]
    for number, name in enumerate(parts):
        try:
            if name != f"part-{number:04d}.jsonl":
                raise ValueError(f"part {number} before it is missing")
            rows += rows_of_part((place.read(name) or b"").decode())
        except (ValueError, RecursionError) as error:  # UnicodeDecodeError is one
            broken.append(Broken(what=f"{place.url}/{name}", reason=f"{error}; rows from here on are left out"))
            break
    return rows, broken


def merge(attempts: Iterable[Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of a trial, each once: a later attempt replaces earlier ones from its own first step on.

    A step may have a training and a validation row; an attempt that goes on from the checkpoint between the two repeats
    the second only.
    """
    merged: list[dict[str, Any]] = []
    for rows in attempts:
        if rows:
            start = min(row["step"] for row in rows)
            again = {frozenset(row) for row in rows if row["step"] == start}
            kept = (row for row in merged if row["step"] <= start)
            merged = [row for row in kept if row["step"] < start or frozenset(row) not in again] + list(rows)
    return merged


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
