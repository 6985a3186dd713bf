"""HowTo100M's form: narrations of long files in English, and in Chinese as Multi-HowTo100M has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vqlora.data.layouts import world
from vqlora.data.layouts.world import Scenes

MIN_VIDEOS = 3


def write_howto100m(folder: Path, drawn: Scenes) -> None:
    """One file for two scenes, one stretch for each event; an empty text and a stretch without length, as dirt."""
    own = [scene for scenes in drawn.values() for scene in scenes]
    size = 2 if len(own) >= 2 * MIN_VIDEOS else 1
    said: dict[str, dict[str, Any]] = {"en": {}, "zh": {}}
    rows = ["video_id,category_1,category_2,rank,task_id"]
    for place in range(0, len(own), size):
        video, shown = f"How{place:08d}", own[place : place + size]
        world.write_clip(shown, folder / "videos" / f"{video}.mp4")
        rows.append(f"{video},Hobbies,,1,{place}")
        for language, own_said in said.items():
            # The last two are an empty text and a stretch without length.
            starts, ends, texts = zip(*world.events(shown, language), (1.0, 2.0, ""), (1.0, 1.0, "."), strict=True)
            own_said[video] = {"start": starts, "end": ends, "text": texts}
    world.write_json(folder / "raw_caption.json", said["en"])
    world.write_json(folder / "how2_zh.json", said["zh"])
    world.write_lines(folder / "HowTo100M_v1.csv", rows)
