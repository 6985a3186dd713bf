"""MSR-VTT 10K as it is published, unmodified; the embedded data is written in the same layout (`shapes_write`).

A folder holds the annotations (`train_val_videodatainfo.json` with `test_videodatainfo.json`, or the single
`MSRVTT_data.json` of the retrieval releases) and, anywhere below it, the videos. The published keys `start time` and
`end time` say where a clip was cut from its source; the files are already cut, so they are not read. `scenes.json`
beside the annotations, if there, gives `Example.attributes` by video id. The 1k-A split is two more lists.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vqlora.annotations import Row, find_file, read_csv, read_json
from vqlora.data.example import Clip, Example
from vqlora.data.splits import Splits, make_splits
from vqlora.data.videos import VideoFiles

OFFICIAL = {"train": 6513, "val": 497, "test": 2990}
OFFICIAL_1KA = {"9k": {"train": 9000, "test": 1000}, "7k": {"train": 7010, "test": 1000}}
LABELS = {"train": "train", "validate": "val", "val": "val", "test": "test"}
PAIR = ("train_val_videodatainfo.json", "test_videodatainfo.json")
SINGLE = "MSRVTT_data.json"
LIST_1KA_TEST = "MSRVTT_JSFUSION_test.csv"
ANNOTATION_FOLDERS = (".", "annotation")
WANTED = f"{PAIR[0]} and {PAIR[1]}, or {SINGLE}, and the videos; for 1k-A also its lists"


def open_msrvtt(folder: Path, *, name: str = "msrvtt", official: Mapping[str, int] = OFFICIAL) -> Splits:
    """The captioning splits. ValueError, naming file and key, for missing or malformed annotations and for no video."""
    read = _read_annotations(folder)
    return make_splits(name, _examples(folder, read), official=official, dirt=read.dirt)


def open_msrvtt_1ka(folder: Path, *, train: str = "9k") -> Splits:
    """The 1k-A retrieval split (JSFusion), '9k' or '7k' train and 1k test; a hold-out of train serves for validation.

    Captions of all clips come from the annotations; a test clip's one query is `attributes['query']`.
    """
    read = _read_annotations(folder)
    by_id = {example.id: example for split in _examples(folder, read).values() for example in split}
    listed = [row.at("video_id").name() for row in read_csv(_find(folder, f"MSRVTT_train.{train}.csv"), ("video_id",))]
    test = read_csv(_find(folder, LIST_1KA_TEST), ("key", "vid_key", "video_id", "sentence"))
    queries = {row.at("video_id").name(): row.at("sentence").text() for row in test}
    read.dirt["listed_without_caption"] = sum(id not in by_id for id in [*listed, *queries])
    examples = {
        "train": [replace(by_id[id], task="retrieval") for id in dict.fromkeys(listed) if id in by_id],
        "test": [
            replace(by_id[id], task="retrieval", attributes={**by_id[id].attributes, "query": query})
            for id, query in queries.items()
            if id in by_id
        ],
    }
    name = "msrvtt-1ka" if train == "9k" else f"msrvtt-1ka-{train}"
    return make_splits(name, examples, official=OFFICIAL_1KA[train], dirt=read.dirt)


@dataclass(frozen=True, kw_only=True)
class _Annotations:
    """split_of: video id -> train, val or test. captions: video id -> texts. dirt: what was left out, counted."""

    split_of: dict[str, str] = field(default_factory=dict)
    captions: dict[str, list[str]] = field(default_factory=dict)
    dirt: Counter[str] = field(default_factory=Counter)


def _read_annotations(folder: Path) -> _Annotations:
    read = _Annotations()
    for file in _annotation_files(folder):
        whole = read_json(file)
        for row in whole.at("videos").rows():
            _add_video(read, row)
        for row in whole.at("sentences").rows():
            _add_caption(read, row)
    read.dirt["captions_of_unlisted_videos"] = sum(
        len(read.captions[id]) for id in read.captions if id not in read.split_of
    )
    read.dirt["videos_without_caption"] = sum(id not in read.captions for id in read.split_of)
    return read


def _annotation_files(folder: Path) -> list[Path]:
    for place in ANNOTATION_FOLDERS:
        if (folder / place / SINGLE).is_file() and not (folder / place / PAIR[0]).is_file():
            return [folder / place / SINGLE]
    return [_find(folder, name) for name in PAIR]


def _find(folder: Path, name: str) -> Path:
    return find_file(folder, name, *(f"{place}/{name}" for place in ANNOTATION_FOLDERS), wanted=WANTED)


def _add_video(read: _Annotations, row: Row) -> None:
    id, label = row.at("video_id").text(), row.at("split").text()
    if not re.fullmatch(r"[\w-][\w.-]*", id):
        raise row.fail(f"video_id {id!r} becomes a file name; use letters, digits, '.', '_' and '-'")
    if label not in LABELS:
        raise row.fail(f"split {label!r} of {id} is unknown; use one of {tuple(LABELS)}")
    if id in read.split_of:
        read.dirt["duplicate_videos"] += 1
    else:
        read.split_of[id] = LABELS[label]


def _add_caption(read: _Annotations, row: Row) -> None:
    id, caption = row.at("video_id").text(), row.at("caption").text().strip()
    if caption:
        read.captions.setdefault(id, []).append(caption)
    else:
        read.dirt["empty_captions"] += 1


def _examples(folder: Path, read: _Annotations) -> dict[str, list[Example]]:
    """Examples by split in the annotations' order; a missing video keeps the path where it was expected."""
    files = VideoFiles(folder)
    files.require_one_of(read.split_of, example="video0.mp4")
    scenes = read_scenes(folder)
    examples: dict[str, list[Example]] = {}
    for id, split in read.split_of.items():
        if id in read.captions:
            clip = Clip(path=files.path(id, expected=f"videos/all/{id}.mp4"))
            references = {"en": tuple(read.captions[id])}
            example = Example(id=id, clips=(clip,), references=references, attributes=scenes.get(id, {}))
            examples.setdefault(split, []).append(example)
    return examples


def read_scenes(folder: Path) -> dict[str, dict[str, Any]]:
    """Ground truth by video from `scenes.json`, which the embedded sets have and others don't."""
    file = folder / "scenes.json"
    return {id: row.mapping() for id, row in read_json(file).entries()} if file.is_file() else {}
