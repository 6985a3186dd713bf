"""VATEX's form: ids with underscores and times, Chinese in train and validation only, HGR's lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vqlora.data.layouts import world
from vqlora.data.layouts.world import Scenes
from vqlora.data.shapes_text import domain_references

CAPTIONS = 10  # of a video in each language
FILES = {
    "train": "vatex_training_v1.0.json",
    "val": "vatex_validation_v1.0.json",
    "test": "vatex_public_test_english_v1.1.json",
}


def write_vatex(folder: Path, drawn: Scenes) -> None:
    """HGR's validation and test are the halves of the validation file."""
    listed: dict[str, list[str]] = {}
    for split, own in drawn.items():
        rows = []
        for place, scene in enumerate(own):
            id = f"_{split}-{place:05d}"[:11].ljust(11, "_") + f"_{place:06d}_{place + 10:06d}"
            world.write_clip(scene, folder / "videos" / f"{id}.mp4")
            keys = {"enCap": "en"} if split == "test" else {"enCap": "en", "chCap": "zh"}
            rows.append({"videoID": id, **{key: domain_references(scene, keys[key], CAPTIONS) for key in keys}})
        world.write_json(folder / FILES[split], rows)
        listed[split] = [row["videoID"] for row in rows]
    half = len(listed["val"]) // 2
    for name, ids in (("trn", listed["train"]), ("val", listed["val"][:half]), ("tst", listed["val"][half:])):
        np.save(folder / f"{name}_names.npy", np.array(ids, dtype=str))
