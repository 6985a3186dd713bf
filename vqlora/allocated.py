"""Ranks of an allocation.json for a recipe: `Lora(groups=groups_of(file, "sketch"))`. Standard library only."""

from __future__ import annotations

import json
from pathlib import Path


def plan_of(folder: Path, base: str) -> Path:
    """The allocation.json of a base in a folder that keeps one each, named as the base without its place."""
    return folder / f"{Path(base).name.replace(':', '-')}.json"


def groups_of(file: str | Path, rule: str) -> dict[str, int]:
    """{group: rank} of one rule, groups of rank 0 left out. ValueError for a missing file or an unknown rule."""
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; `vqlora allocate BASE --data D --budget P --file {path}` makes it")
    known = json.loads(path.read_text())["allocations"]
    if rule not in known:
        raise ValueError(f"allocation {rule!r} is not in {path}; it has {sorted(known)}")
    return {group: rank for group, rank in known[rule]["ranks"].items() if rank}
