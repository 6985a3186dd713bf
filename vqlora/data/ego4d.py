"""Ego4D as published: narrations (narration.json) and natural language queries (nlq_train.json, nlq_val.json).

Narrations have a time and no length. Their window is EgoVLP's (arXiv:2206.01670): the video's mean gap between
narrations over 4.9 s, the mean gap of all videos, wide in seconds and centred. A pass may be missing. Tags (`#C C`)
are dropped, narrations marked `#unsure` are left out and counted. Videos of nlq_val.json, if there, are the test; else
a tenth. NLQ: a query about a clip of a long video and the stretch that answers it, in seconds of the clip; its test has
no times, so val is the test here and a hold-out of train validates.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from vqlora.annotations import Row, find_file, read_json
from vqlora.data.example import Clip, Example, Message
from vqlora.data.prompts import MOMENT, stretch
from vqlora.data.splits import Splits, divide, make_splits
from vqlora.data.videos import VideoFiles

MEAN_GAP_SECONDS = 4.9
PASSES = ("narration_pass_1", "narration_pass_2")
WANTED = "narration.json, for queries nlq_train.json and nlq_val.json, and the videos"


def open_ego4d(folder: Path) -> Splits:
    """Captions of narrated windows."""
    dirt: Counter[str] = Counter()
    narrated = dict(
        read_json(find_file(folder, "narration.json", "all_narrations_redacted.json", wanted=WANTED)).entries()
    )
    videos = VideoFiles(folder)
    videos.require_one_of(narrated, example="VIDEO_UID.mp4")
    examples = []
    for uid, row in narrated.items():
        path = videos.path(uid, expected=f"full_scale/{uid}.mp4")
        for name in PASSES:
            dirt[f"without_{name}"] += not row.has(name)
            if row.has(name):
                examples += list(_narrations(uid, name, path, row.at(name), dirt))
    held = _validation_videos(folder)
    if held & set(narrated):
        is_test = [example.id.partition("/")[0] in held for example in examples]
        split = {
            "train": [one for one, is_own in zip(examples, is_test, strict=True) if not is_own],
            "test": [one for one, is_own in zip(examples, is_test, strict=True) if is_own],
        }
        return make_splits("ego4d", split, dirt=dirt)
    return make_splits("ego4d", divide(examples), dirt=dirt)


def open_ego4d_nlq(folder: Path) -> Splits:
    """Moments for queries; `attributes['moment']` is [start, end] in seconds of the clip."""
    dirt: Counter[str] = Counter()
    videos = VideoFiles(folder)
    files = {"train": "nlq_train.json", "test": "nlq_val.json"}
    examples = {
        split: list(_queries(read_json(find_file(folder, name, wanted=WANTED)), videos, dirt))
        for split, name in files.items()
    }
    return make_splits("ego4d-nlq", examples, dirt=dirt)


def _narrations(uid: str, name: str, path: str, row: Row, dirt: Counter[str]) -> Iterator[Example]:
    said = sorted(
        ((one.at("timestamp_sec").number(), one.at("narration_text").text()) for one in row.at("narrations").rows()),
        key=lambda pair: pair[0],
    )
    if len(said) < 2:
        dirt["videos_of_one_narration"] += len(said)
        return
    half = max(0.1, (said[-1][0] - said[0][0]) / (len(said) - 1) / MEAN_GAP_SECONDS / 2)
    for place, (time, text) in enumerate(said):
        plain = re.sub(r"#\w+( [A-Z]\b)?", "", text).strip()
        is_unsure = "#unsure" in text.lower()
        dirt["unsure"] += is_unsure
        dirt["empty_captions"] += not plain and not is_unsure
        if plain and not is_unsure:
            clip = Clip(path=path, start_seconds=max(0.0, time - half), end_seconds=time + half)
            id = f"{uid}/{name[-1]}/{place}"
            yield Example(id=id, clips=(clip,), references={"en": (plain,)}, attributes={"narration": text})


def _validation_videos(folder: Path) -> set[str]:
    file = folder / "nlq_val.json"
    if not file.is_file():
        return set()
    return {video.at("video_uid").name() for video in read_json(file).at("videos").rows()}


def _queries(whole: Row, videos: VideoFiles, dirt: Counter[str]) -> Iterator[Example]:
    for video in whole.at("videos").rows():
        uid = video.at("video_uid").name()
        for clip in video.at("clips").rows():
            shown = _clip(uid, clip, videos)
            for annotation in clip.at("annotations").rows():
                for number, query in enumerate(annotation.at("language_queries").rows()):
                    text = query.at("query").text().strip() if query.has("query") else ""
                    dirt["entries_without_query"] += not text
                    if text:
                        id = f"{clip.at('clip_uid').name()}/{annotation.at('annotation_uid').name()}/{number}"
                        yield _query(id, text, shown, query)


def _clip(uid: str, row: Row, videos: VideoFiles) -> Clip:
    """The clip's own file if it was cut, else its window of the video."""
    clip_uid = row.at("clip_uid").name()
    start, end = row.at("video_start_sec").number(), row.at("video_end_sec").number()
    path = videos.path(clip_uid, uid, expected=f"full_scale/{uid}.mp4")
    return Clip(path=path) if Path(path).stem == clip_uid else Clip(path=path, start_seconds=start, end_seconds=end)


def _query(id: str, text: str, clip: Clip, row: Row) -> Example:
    start, end = row.at("clip_start_sec").number(), row.at("clip_end_sec").number()
    return Example(
        id=id,
        clips=(clip,),
        task="moments",
        messages=(Message(role="user", text=f"{MOMENT}{text}"),),
        references={"en": (stretch(start, end),)},
        attributes={"query": text, "moment": [start, end]},
    )
