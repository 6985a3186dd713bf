"""VATEX's form: ids with underscores and times, Chinese in train and validation only, HGR's lists."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vqlora.data.layouts import world

FILES = {
    "train": "vatex_training_v1.0.json",
    "val": "vatex_validation_v1.0.json",
    "test": "vatex_public_test_english_v1.1.json",
}


def write_vatex(folder: Path, counts: Mapping[str, int]) -> None:
    """HGR's validation and test are the halves of the validation file."""
    listed: dict[str, list[str]] = {}
    for split, own in world.scenes(counts).items():
        rows = []
        for place, scene in enumerate(own):
            id = f"_{split}-{place:05d}"[:11].ljust(11, "_") + f"_{place:06d}_{place + 10:06d}"
            world.write_clip(scene, folder / "videos" / f"{id}.mp4")
            told = {"enCap": list(world.captions(scene) * 2)}
            told |= {} if split == "test" else {"chCap": list(world.chinese(scene) * 2)}
            rows.append({"videoID": id, **told})
        world.write_json(folder / FILES[split], rows)
        listed[split] = [row["videoID"] for row in rows]
    half = len(listed["val"]) // 2
    for name, ids in (("trn", listed["train"]), ("val", listed["val"][:half]), ("tst", listed["val"][half:])):
        np.save(folder / f"{name}_names.npy", np.array(ids, dtype=str))
