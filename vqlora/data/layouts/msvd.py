"""MSVD's and MSVD-QA's form: H.264 in AVI, sources with times as names, the map to numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vqlora.data.layouts import world
from vqlora.data.msvd import LAST


def write_msvd(folder: Path, counts: Mapping[str, int]) -> None:
    """Each split's numbers begin where the official one's do."""
    first = {"train": 1, "val": LAST["train"] + 1, "test": LAST["val"] + 1}
    lines, mapping = ["# clip and sentence, as the published file begins", "# "], []
    for split, own in world.scenes(counts).items():
        asked = []
        for place, scene in enumerate(own):
            name, number = f"-{split}_{place:04d}_5_15", first[split] + place
            world.write_clip(scene, folder / "YouTubeClips" / f"{name}.avi")
            mapping.append(f"{name} vid{number}")
            lines += [f"{name} {text}" for text in world.captions(scene)]
            asked += [(number, question, answer) for question, answer, _ in world.questions(scene)]
        world.write_json(folder / f"{split}_qa.json", [
            {"answer": answer, "id": place, "question": question, "video_id": number}
            for place, (number, question, answer) in enumerate(asked)
        ])  # fmt: skip
    world.write_lines(folder / "AllVideoDescriptions.txt", lines)
    world.write_lines(folder / "youtube_mapping.txt", mapping)
