"""Files of the cache: written whole or not at all, named by everything their content depends on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from uuid import uuid4


def key_of(parts: list[Any]) -> str:
    """SHA-256 of plain values, as 64 hex digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def write_whole(entry: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Writes a file, and its folder, whole or not at all."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    part = entry.with_name(f"{uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            write(file)
        os.replace(part, entry)
    finally:
        part.unlink(missing_ok=True)
