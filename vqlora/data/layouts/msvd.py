"""MSVD's and MSVD-QA's form: H.264 in AVI without sound, sources with times as names, the map to numbers."""

from __future__ import annotations

from pathlib import Path

from vqlora.data.layouts import world
from vqlora.data.layouts.world import Scenes
from vqlora.data.msvd import LAST
from vqlora.data.shapes_text import domain_references


def write_msvd(folder: Path, drawn: Scenes) -> None:
    """Each split's numbers begin where the official one's do."""
    first = {"train": 1, "val": LAST["train"] + 1, "test": LAST["val"] + 1}
    lines, mapping = ["# clip and sentence, as the published file begins", "# "], []
    for split, own in drawn.items():
        asked = []
        for place, scene in enumerate(own):
            name, number = f"-{split}_{place:04d}_5_15", first[split] + place
            world.write_clip(scene, folder / "YouTubeClips" / f"{name}.avi", is_silent=True)
            mapping.append(f"{name} vid{number}")
            lines += [f"{name} {text}" for text in domain_references(scene)]
            asked += [(number, question) for question in world.asked_for_a_word(scene)]
        world.write_json(folder / f"{split}_qa.json", [
            {"answer": one.answer, "id": place, "question": one.text, "video_id": number}
            for place, (number, one) in enumerate(asked)
        ])  # fmt: skip
    world.write_lines(folder / "AllVideoDescriptions.txt", lines)
    world.write_lines(folder / "youtube_mapping.txt", mapping)
