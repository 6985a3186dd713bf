"""MSR-VTT 10K as it is published, unmodified; the embedded data is written in the same layout (`shapes_write`).

A folder holds the annotations (`train_val_videodatainfo.json` with `test_videodatainfo.json`, or the single
`MSRVTT_data.json` of the retrieval releases) and the videos (one of VIDEO_FOLDERS). The published keys `start time` and
`end time` say where a clip was cut from its source; the files are already cut, so they are not read. `scenes.json`
beside the annotations, if there, gives `Example.attributes` by video id. The 1k-A split is two more lists.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vqlora.data.example import Clip, Example
from vqlora.data.splits import Splits, make_splits

OFFICIAL = {"train": 6513, "val": 497, "test": 2990}
OFFICIAL_1KA = {"train": 9000, "test": 1000}
LABELS = {"train": "train", "validate": "val", "val": "val", "test": "test"}
PAIR = ("train_val_videodatainfo.json", "test_videodatainfo.json")
SINGLE = "MSRVTT_data.json"
LIST_1KA_TRAIN, LIST_1KA_TEST = "MSRVTT_train.9k.csv", "MSRVTT_JSFUSION_test.csv"
VIDEO_FOLDERS = ("videos/all", "videos", "TrainValVideo", "TestVideo")
ANNOTATION_FOLDERS = (".", "annotation")


def open_msrvtt(folder: Path, *, name: str = "msrvtt", official: Mapping[str, int] = OFFICIAL) -> Splits:
    """The captioning splits. ValueError, naming file and key, for missing or malformed annotations and for no video."""
    read = _read_annotations(folder)
    return make_splits(name, _examples(folder, read), official=official, dirt=read.dirt)


def open_msrvtt_1ka(folder: Path) -> Splits:
    """The 1k-A retrieval split (JSFusion): 9k train, 1k test; it has no validation, so a hold-out of train serves.

    Captions of all clips come from the annotations; a test clip's one query is `attributes['query']`.
    """
    read = _read_annotations(folder)
    by_id = {example.id: example for split in _examples(folder, read).values() for example in split}
    train = [row["video_id"] for row in _read_list(_find(folder, LIST_1KA_TRAIN), ("video_id",))]
    test = _read_list(_find(folder, LIST_1KA_TEST), ("key", "vid_key", "video_id", "sentence"))
    queries = {row["video_id"]: row["sentence"] for row in test}
    read.dirt["listed_without_caption"] = sum(id not in by_id for id in [*train, *queries])
    examples = {
        "train": [by_id[id] for id in dict.fromkeys(train) if id in by_id],
        "test": [_with_query(by_id[id], query) for id, query in queries.items() if id in by_id],
    }
    return make_splits("msrvtt-1ka", examples, official=OFFICIAL_1KA, dirt=read.dirt)


@dataclass(frozen=True, kw_only=True)
class _Annotations:
    """split_of: video id -> train, val or test. captions: video id -> texts. dirt: what was left out, counted."""

    split_of: dict[str, str] = field(default_factory=dict)
    captions: dict[str, list[str]] = field(default_factory=dict)
    dirt: Counter[str] = field(default_factory=Counter)


def _read_annotations(folder: Path) -> _Annotations:
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; give the folder that holds MSR-VTT's annotations and videos")
    read = _Annotations()
    for file in _annotation_files(folder):
        plain = _read_json(file)
        for place, row in enumerate(_rows(file, plain, "videos")):
            _add_video(read, file, place, row)
        for place, row in enumerate(_rows(file, plain, "sentences")):
            _add_caption(read, file, place, row)
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
    for place in ANNOTATION_FOLDERS:
        if (folder / place / name).is_file():
            return folder / place / name
    raise ValueError(
        f"{folder / name}: no such file; a folder of MSR-VTT holds {PAIR[0]} and {PAIR[1]}, or {SINGLE}, "
        f"and for 1k-A also {LIST_1KA_TRAIN} and {LIST_1KA_TEST}"
    )


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{file}: line {error.lineno}: not JSON ({error.msg}); copy or download the file again"
        ) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 at byte {error.start}; copy or download the file again") from error


def _rows(file: Path, plain: Any, key: str) -> list[Any]:
    rows = plain.get(key) if isinstance(plain, dict) else None
    if not isinstance(rows, list):
        raise ValueError(
            f"{file}: key '{key}' is missing or not a list; expected MSR-VTT's schema "
            '{"info": {...}, "videos": [...], "sentences": [...]}'
        )
    return rows


def _text(file: Path, row: Any, place: str, key: str) -> str:
    value = row.get(key) if isinstance(row, dict) else None
    if not isinstance(value, str):
        raise ValueError(f"{file}: {place}: '{key}' is {value!r}; expected a text")
    return value


def _add_video(read: _Annotations, file: Path, number: int, row: Any) -> None:
    place = f"videos[{number}]"
    id, label = _text(file, row, place, "video_id"), _text(file, row, place, "split")
    if not re.fullmatch(r"[\w-][\w.-]*", id):
        raise ValueError(f"{file}: {place}: video_id {id!r} becomes a file name; use letters, digits, '.', '_' and '-'")
    if label not in LABELS:
        raise ValueError(f"{file}: {place}: split {label!r} of {id} is unknown; use one of {tuple(LABELS)}")
    if id in read.split_of:
        read.dirt["duplicate_videos"] += 1
    else:
        read.split_of[id] = LABELS[label]


def _add_caption(read: _Annotations, file: Path, number: int, row: Any) -> None:
    place = f"sentences[{number}]"
    id, caption = _text(file, row, place, "video_id"), _text(file, row, place, "caption").strip()
    if caption:
        read.captions.setdefault(id, []).append(caption)
    else:
        read.dirt["empty_captions"] += 1


def _examples(folder: Path, read: _Annotations) -> dict[str, list[Example]]:
    """Examples by split in the annotations' order; a missing video keeps the path where it was expected."""
    files = {file.stem: file for place in VIDEO_FOLDERS for file in (folder / place).glob("*.mp4")}
    if not any(id in files for id in read.split_of):
        raise ValueError(
            f"{folder}: none of the {len(read.split_of)} listed videos is there; expected video0.mp4 in one of "
            f"{', '.join(VIDEO_FOLDERS)}"
        )
    scenes = _read_scenes(folder)
    examples: dict[str, list[Example]] = {}
    for id, split in read.split_of.items():
        if id in read.captions:
            clip = Clip(path=str(files.get(id, folder / VIDEO_FOLDERS[0] / f"{id}.mp4")))
            references = {"en": tuple(read.captions[id])}
            example = Example(id=id, clips=(clip,), references=references, attributes=scenes.get(id, {}))
            examples.setdefault(split, []).append(example)
    return examples


def _read_scenes(folder: Path) -> Mapping[str, Any]:
    file = folder / "scenes.json"
    plain = _read_json(file) if file.is_file() else {}
    if not isinstance(plain, dict) or not all(isinstance(scene, dict) for scene in plain.values()):
        raise ValueError(f"{file}: expected an object of objects, {{video id: ground truth}}")
    return plain


def _read_list(file: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Rows of a CSV list; ValueError naming the line if a column is missing."""
    with file.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        rows = []
        for row in reader:
            missing = [column for column in columns if not row.get(column)]
            if missing:
                raise ValueError(
                    f"{file}: line {reader.line_num}: no {missing[0]!r}; expected the columns {','.join(columns)}"
                )
            rows.append(row)
    return rows


def _with_query(example: Example, query: str) -> Example:
    return Example(
        id=example.id,
        clips=example.clips,
        references=example.references,
        attributes={**example.attributes, "query": query},
    )
