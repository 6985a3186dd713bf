"""Ego4D's form: long files of several scenes, narrations without length, queries about clip windows of a video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vqlora.data.layouts import world
from vqlora.data.layouts.world import Scenes
from vqlora.data.shapes import Scene

SCENES_A_VIDEO = 2


def write_ego4d(folder: Path, drawn: Scenes) -> None:
    """Splits 'train' and 'val' of the queries; the second pass is missing in every other video."""
    narrated: dict[str, Any] = {}
    for name, own in (("train", drawn["train"]), ("val", drawn["val"] + drawn["test"])):
        videos = []
        for place in range(0, len(own), SCENES_A_VIDEO):
            shown, uid = own[place : place + SCENES_A_VIDEO], f"{name}-0000-{place:04d}"
            world.write_clip(shown, folder / "full_scale" / f"{uid}.mp4")
            said = [_narration((start + end) / 2, text) for start, end, text in world.events(shown)]
            narrated[uid] = {"narration_pass_1": {"narrations": said}}
            if place % (2 * SCENES_A_VIDEO):
                narrated[uid]["narration_pass_2"] = {"narrations": [_narration(0.5, "#unsure"), *said]}
            videos.append({"video_uid": uid, "clips": [_clip(uid, shown)]})
        whole = {"version": "1", "date": "", "description": "NLQ", "manifest": "", "videos": videos}
        world.write_json(folder / f"nlq_{name}.json", whole)
    world.write_json(folder / "narration.json", narrated)


def _narration(time: float, text: str) -> dict[str, Any]:
    said = {"narration_text": f"#C C {text}", "timestamp_sec": time, "timestamp_frame": round(8 * time)}
    return {**said, "annotation_uid": f"n{time}"}


def _clip(uid: str, shown: list[Scene]) -> dict[str, Any]:
    """The last scene of a video, asked about one of its events; one entry lacks its query, as published ones do."""
    begin, scene = sum(one.seconds for one in shown[:-1]), shown[-1]
    text, start, end = world.query(scene)
    times = {
        "clip_start_sec": start,
        "clip_end_sec": end,
        "video_start_sec": begin + start,
        "video_end_sec": begin + end,
    }
    query = {
        **times,
        "template": "Objects: When X?",
        "query": text,
        "slot_x": "",
        "verb_x": "",
        "raw_tags": [],
    }
    asked = {"annotation_uid": f"{uid}-a", "language_queries": [query, {**times, "query": None}]}
    window = {"video_start_sec": begin, "video_end_sec": begin + scene.seconds}
    return {"clip_uid": f"{uid}-c", **window, "annotations": [asked]}
