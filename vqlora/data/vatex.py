"""VATEX as published: lists of {"videoID", "enCap", "chCap"}; ten captions a video in each language.

`vatex`: train, validation and the public English test. `vatex-zh`: Chinese, which only train and validation have, so
validation is its test. `vatex-retrieval`: HGR's split, the validation file halved by its lists val_names.npy and
tst_names.npy (with trn_names.npy, in HGR's package). A video is the file `videoID`, ten seconds long.
The last five captions of each language are parallel translations: `attributes['parallel']` says from which on.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from vqlora.annotations import Row, find_file, read_json
from vqlora.data.example import Clip, Example, Message
from vqlora.data.prompts import CAPTION_ZH
from vqlora.data.splits import Splits, make_splits
from vqlora.data.videos import VideoFiles

OFFICIAL = {"train": 25991, "val": 3000, "test": 6000}
OFFICIAL_ZH = {"train": 25991, "test": 3000}
OFFICIAL_RETRIEVAL = {"train": 25991, "val": 1500, "test": 1500}
TRAIN, VALIDATION = "vatex_training_v1.0.json", "vatex_validation_v1.0.json"
TEST = "vatex_public_test_english_v1.1.json"
LISTS = {"train": "trn_names.npy", "val": "val_names.npy", "test": "tst_names.npy"}
WANTED = f"{TRAIN}, {VALIDATION} and {TEST}, and the videos"
FIRST_PARALLEL = 5


def open_vatex(folder: Path) -> Splits:
    """English captioning, with Chinese references where the files have them."""
    read = _Read(folder)
    examples = {"train": read.file(TRAIN), "val": read.file(VALIDATION), "test": read.file(TEST)}
    return make_splits("vatex", examples, official=OFFICIAL, dirt=read.dirt)


def open_vatex_zh(folder: Path) -> Splits:
    """Chinese captioning: a hold-out of train validates, the validation file is the test."""
    read = _Read(folder)
    asked = (Message(role="user", text=CAPTION_ZH),)
    examples = {
        split: [replace(one, messages=asked) for one in read.file(name) if "zh" in one.references]
        for split, name in (("train", TRAIN), ("test", VALIDATION))
    }
    return make_splits("vatex-zh", examples, official=OFFICIAL_ZH, dirt=read.dirt)


def open_vatex_retrieval(folder: Path) -> Splits:
    """HGR's retrieval split; every caption is a query."""
    read = _Read(folder)
    by_id = {
        example.id: replace(example, task="retrieval") for name in (TRAIN, VALIDATION) for example in read.file(name)
    }
    listed = {split: _names(find_file(folder, name, f"split/{name}", wanted=f"{WANTED}; and HGR's lists "
                                      f"{', '.join(LISTS.values())}")) for split, name in LISTS.items()}  # fmt: skip
    read.dirt["listed_without_captions"] = sum(id not in by_id for own in listed.values() for id in own)
    examples = {split: [by_id[id] for id in own if id in by_id] for split, own in listed.items()}
    return make_splits("vatex-retrieval", examples, official=OFFICIAL_RETRIEVAL, dirt=read.dirt)


class _Read:
    """The files of a folder, with what was left out."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.dirt, self.videos = folder, Counter[str](), VideoFiles(folder)

    def file(self, name: str) -> list[Example]:
        rows = read_json(find_file(self.folder, name, f"annotations/{name}", wanted=WANTED)).rows()
        self.videos.require_one_of([row.at("videoID").name() for row in rows], example="VIDEOID_000055_000065.mp4")
        seen: dict[str, Example] = {}
        for row in rows:
            id = row.at("videoID").name()
            _seconds(row, id)
            if id in seen:
                self.dirt["duplicate_videos"] += 1
                continue
            references = {language: self._captions(row, key) for language, key in (("en", "enCap"), ("zh", "chCap"))}
            kept = {language: texts for language, texts in references.items() if texts}
            if "en" not in kept:
                raise row.fail("no caption under 'enCap'; expected a list of texts")
            clip = Clip(path=self.videos.path(id, expected=f"videos/{id}.mp4"))
            seen[id] = Example(id=id, clips=(clip,), references=kept, attributes={"parallel": FIRST_PARALLEL})
        return list(seen.values())

    def _captions(self, row: Row, key: str) -> tuple[str, ...]:
        texts = [text.strip() for text in row.at(key).texts()] if row.has(key) else []
        self.dirt["empty_captions"] += sum(not text for text in texts)
        return tuple(text for text in texts if text)


def _seconds(row: Row, id: str) -> tuple[int, int]:
    """Start and end in the source. The YouTube id itself may hold underscores, so the times are split off the end."""
    source, *times = id.rsplit("_", 2)
    if not source or len(times) != 2 or not all(len(time) == 6 and time.isdecimal() for time in times):
        raise row.fail(f"videoID {id!r} does not end in _SSSSSS_SSSSSS, start and end in seconds")
    return int(times[0]), int(times[1])


def _names(file: Path) -> list[str]:
    try:
        names = np.load(file, allow_pickle=False)
    except Exception as error:  # a broken header is parsed as Python's literals and may raise anything
        raise ValueError(
            f"{file}: not an array of texts that numpy.save wrote; save the list as numpy.array(names, dtype=str)"
        ) from error
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise ValueError(f"{file}: {names.dtype} {list(names.shape)}; expected one list of video ids")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in names]
