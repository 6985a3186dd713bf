"""MSR-VTT's form: both annotation files, the lists of 1k-A, and MSRVTT-QA's questions beside them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vqlora.data.layouts import world

LABELS = {"train": "train", "val": "validate", "test": "test"}


def write_msrvtt(folder: Path, counts: Mapping[str, int]) -> None:
    """Videos are numbered through the splits; one caption is empty and one belongs to no video, as dirt."""
    drawn = [(split, scene) for split, own in world.scenes(counts).items() for scene in own]
    videos, sentences, asked = [], [], {split: [] for split in counts}
    for number, (split, scene) in enumerate(drawn):
        id = f"video{number}"
        world.write_clip(scene, folder / "TrainValVideo" / f"{id}.mp4")
        times = {"start time": 137.72, "end time": 137.72 + scene.seconds}
        videos.append({"id": number, "video_id": id, "category": 9, "url": "", **times, "split": LABELS[split]})
        sentences += [(id, text) for text in world.captions(scene)]
        asked[split] += [(number, question, answer) for question, answer, _ in world.questions(scene)]
    sentences += [("video0", " "), (f"video{len(drawn)}", "of no video")]
    rows = [{"sen_id": place, "video_id": id, "caption": text} for place, (id, text) in enumerate(sentences)]
    info = {"year": "2016", "version": "1.0", "description": "", "contributor": "", "data_created": "2016-04-14"}
    for name, own in (("train_val", ("train", "validate")), ("test", ("test",))):
        listed = [video for video in videos if video["split"] in own]
        ids = {video["video_id"] for video in listed} | ({f"video{len(drawn)}"} if name == "test" else set())
        kept = [row for row in rows if row["video_id"] in ids]
        world.write_json(folder / f"{name}_videodatainfo.json", {"info": info, "videos": listed, "sentences": kept})
    _write_lists(folder, videos, [world.captions(scene)[0] for _, scene in drawn])
    for split, own in asked.items():
        world.write_json(folder / f"{split}_qa.json", [
            {"answer": answer, "category_id": 9, "id": place, "question": question, "video_id": number}
            for place, (number, question, answer) in enumerate(own)
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
