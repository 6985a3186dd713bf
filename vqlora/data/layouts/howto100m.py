"""HowTo100M's form: narrations of long files in English, and in German and Chinese as Multi-HowTo100M has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vqlora.data.layouts import world
from vqlora.data.shapes import Scene

MIN_VIDEOS = 3


def write_howto100m(folder: Path, counts: Mapping[str, int]) -> None:
    """One file for two scenes, one stretch for each event; an empty text and a stretch without length, as dirt."""
    own = [scene for scenes in world.scenes(counts).values() for scene in scenes]
    size = 2 if len(own) >= 2 * MIN_VIDEOS else 1
    said = {language: {} for language in ("en", "de", "zh")}
    rows = ["video_id,category_1,category_2,rank,task_id"]
    for place in range(0, len(own), size):
        video, shown = f"How{place:08d}", own[place : place + size]
        world.write_clip(shown, folder / "videos" / f"{video}.mp4")
        rows.append(f"{video},Hobbies,,1,{place}")
        starts, ends, english, chinese = _stretches(shown)
        for language, texts in (("en", english), ("de", [f"und {text}" for text in english]), ("zh", chinese)):
            said[language][video] = {"start": starts, "end": ends, "text": texts}
    world.write_json(folder / "raw_caption.json", said["en"])
    for language in ("de", "zh"):
        world.write_json(folder / f"how2_{language}.json", said[language])
    world.write_lines(folder / "HowTo100M_v1.csv", rows)


def _stretches(shown: list[Scene]) -> tuple[list[float], list[float], list[str], list[str]]:
    starts, ends, english, chinese = [], [], [], []
    begin = 0.0
    for scene in shown:
        for start, end, text in world.events(scene):
            starts.append(begin + start)
            ends.append(begin + end)
            english.append(text)
            chinese.append(world.chinese(scene)[1])
        begin += scene.seconds
    return [*starts, 1.0, 1.0], [*ends, 2.0, 1.0], [*english, "", "nothing"], [*chinese, "", "无"]
