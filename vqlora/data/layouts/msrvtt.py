"""MSR-VTT's form: both annotation files, the lists of 1k-A, and MSRVTT-QA's questions beside them."""

from __future__ import annotations

from pathlib import Path

from vqlora.data.layouts import world
from vqlora.data.layouts.world import Scenes
from vqlora.data.shapes_text import domain_references

LABELS = {"train": "train", "val": "validate", "test": "test"}


def write_msrvtt(folder: Path, drawn: Scenes) -> None:
    """Videos are numbered through the splits; one caption is empty and one belongs to no video, as dirt."""
    scenes = [(split, scene) for split, own in drawn.items() for scene in own]
    videos, sentences, asked = [], [], {split: [] for split in drawn}
    for number, (split, scene) in enumerate(scenes):
        id = f"video{number}"
        world.write_clip(scene, folder / "TrainValVideo" / f"{id}.mp4")
        times = {"start time": 137.72, "end time": 137.72 + scene.seconds}
        videos.append({"id": number, "video_id": id, "category": 9, "url": "", **times, "split": LABELS[split]})
        sentences += [(id, text) for text in domain_references(scene)]
        asked[split] += [(number, question) for question in world.asked_for_a_word(scene)]
    sentences += [("video0", " "), (f"video{len(scenes)}", "of no video")]
    rows = [{"sen_id": place, "video_id": id, "caption": text} for place, (id, text) in enumerate(sentences)]
    info = {"year": "2016", "version": "1.0", "description": "", "contributor": "", "data_created": "2016-04-14"}
    for name, own in (("train_val", ("train", "validate")), ("test", ("test",))):
        listed = [video for video in videos if video["split"] in own]
        ids = {video["video_id"] for video in listed} | ({f"video{len(scenes)}"} if name == "test" else set())
        kept = [row for row in rows if row["video_id"] in ids]
        world.write_json(folder / f"{name}_videodatainfo.json", {"info": info, "videos": listed, "sentences": kept})
    _write_lists(folder, videos, [domain_references(scene)[0] for _, scene in scenes])
    for split, own in asked.items():
        world.write_json(folder / f"{split}_qa.json", [
            {"answer": one.answer, "category_id": 9, "id": place, "question": one.text, "video_id": number}
            for place, (number, one) in enumerate(own)
        ])  # fmt: skip


def _write_lists(folder: Path, videos: list[dict], first: list[str]) -> None:
    """1k-A takes its test from the official one, and its 9k list is all the rest, test clips included."""
    test = [video for video in videos if video["split"] == "test"]
    queried = test[: max(1, len(test) // 2)]
    rest = [video["video_id"] for video in videos if video not in queried]
    seen = [video["video_id"] for video in videos if video["split"] != "test"]
    world.write_lines(folder / "MSRVTT_train.9k.csv", ["video_id", *rest])
    world.write_lines(folder / "MSRVTT_train.7k.csv", ["video_id", *seen])
    rows = [
        f'ret{place},msr{video["id"]},{video["video_id"]},"{first[video["id"]]}"' for place, video in enumerate(queried)
    ]
    world.write_lines(folder / "MSRVTT_JSFUSION_test.csv", ["key,vid_key,video_id,sentence", *rows])
