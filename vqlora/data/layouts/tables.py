"""The forms of plain tables: CSV with a description of its columns, and pictures in folders with captions.csv."""

from __future__ import annotations

import csv
from pathlib import Path

from PIL import Image

from vqlora.data.layouts import world
from vqlora.data.layouts.world import Scenes
from vqlora.data.shapes import FPS
from vqlora.data.shapes_text import domain_references
from vqlora.data.shapes_write import frames_of


def write_table(folder: Path, drawn: Scenes) -> None:
    """A CSV whose columns have names of their own, and the description that says which is which."""
    rows = [("clip_file", "caption", "part")]
    for split, own in drawn.items():
        for place, scene in enumerate(own):
            world.write_clip(scene, folder / "clips" / f"{split}{place}.mp4")
            rows += [(f"{split}{place}.mp4", text, split) for text in domain_references(scene)]
    with (folder / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    columns = {"path": "clip_file", "text": "caption", "split": "part"}
    world.write_json(folder / "table.json", {"file": "clips.csv", "videos": "clips", "columns": columns})


def write_frames(folder: Path, drawn: Scenes) -> None:
    """A folder of pictures for each clip, with its rate, and captions.csv."""
    rows = [("path", "text", "split")]
    for split, own in drawn.items():
        for place, scene in enumerate(own):
            name = f"{split}{place}"
            (folder / name).mkdir(parents=True)
            for number, picture in enumerate(frames_of(scene).permute(0, 2, 3, 1).numpy()[:: FPS // 2]):
                Image.fromarray(picture).save(folder / name / f"{number:05d}.jpg", quality=90)
            (folder / name / "fps.txt").write_text("2\n")
            rows.append((name, domain_references(scene)[0], split))
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
