"""In which order the values of an axis are shown. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any


def in_order(values: Iterable[Any]) -> list[Any]:
    """Each value once: numbers by size, then words by alphabet, digits in them by size (all4, all8, all16)."""
    return sorted(dict.fromkeys(values), key=_natural)


def _natural(value: Any) -> tuple[int, float, list[tuple[bool, float, str]]]:
    if value is None:
        return 2, 0.0, []
    if not isinstance(value, str):
        return 0, float(value), []
    parts = [part for part in re.split(r"(\d+)", value) if part]
    return 1, 0.0, [(part.isdigit(), float(part) if part.isdigit() else 0.0, part) for part in parts]
