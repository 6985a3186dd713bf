"""LSMDC's form: tabs, no header, AVI by movie, ids that repeat in train, SOMEONE, lone quotation marks."""

from __future__ import annotations

from pathlib import Path

from vqlora.data.layouts import world
from vqlora.data.layouts.world import Scenes
from vqlora.data.lsmdc import FILES, movie_of
from vqlora.data.shapes_text import domain_references


def write_lsmdc(folder: Path, drawn: Scenes) -> None:
    """Train lists two sentences of a clip, the others one."""
    for split, own in drawn.items():
        lines = []
        for place, scene in enumerate(own):
            start, end = f"00.00.{place % 60:02d}.500", f"00.01.{place % 60:02d}.125"
            id = f"{place // 60:04d}_The_{split.title()}_{start}-{end}"
            world.write_clip(scene, folder / movie_of(id) / f"{id}.avi")
            told = [f'SOMEONE sees: "{text}' for text in domain_references(scene)[: 2 if split == "train" else 1]]
            lines += ["\t".join((id, start, end, start, end, text)) for text in told]
        world.write_lines(folder / FILES[split], lines)
