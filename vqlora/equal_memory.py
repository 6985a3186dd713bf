"""Frames against bits at equal memory: how many frames a clip may have under each bit plan before memory runs out.

Fewer bits free memory for more frames; the planner (`planner`) says how much either takes in training. Which of them
buys more score is a question for a study (`studies/frame_budget.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vqlora.planner import plan
from vqlora.recipe import Bits, Recipe

NEAR, FAR = 4, 16  # frame budgets between which memory is taken to be a line, as it is but for rounding


@dataclass(frozen=True, kw_only=True)
class Row:
    """One bit plan. frames: the most that fit, 0 where none does. gib_per_frame: of one more frame in all clips."""

    bits: str
    base_gib: float
    gib_per_frame: float
    frames: int


def most_frames(recipe: Recipe, plans: Sequence[str], *, gib: float, device: str = "cuda") -> list[Row]:
    """For each preset of bits the largest frame budget whose predicted training peak is at most `gib`."""
    return [_row(replace(recipe, bits=Bits.preset(name)), name, gib, device) for name in plans]


def _row(recipe: Recipe, name: str, gib: float, device: str) -> Row:
    near, far = (plan(_with(recipe, budget), device=device) for budget in (NEAR, FAR))
    per_frame = (far.peak_gib - near.peak_gib) / (FAR - NEAR)
    frames = max(0, math.floor(NEAR + (gib - near.peak_gib) / per_frame) + 1)
    while frames and plan(_with(recipe, frames), device=device).peak_gib > gib:
        frames -= 1
    return Row(bits=name, base_gib=near.base_bytes / 2**30, gib_per_frame=per_frame, frames=frames)


def _with(recipe: Recipe, budget: int) -> Recipe:
    return replace(recipe, frames=replace(recipe.frames, budget=budget))
