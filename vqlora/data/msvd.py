"""MSVD as published: captions in AllVideoDescriptions.txt, or in raw-captions.pkl of the retrieval releases.

Clips are AVI files named by source and times (`-4wsuPCjDBc_5_15`) or by number (`vid1`); youtube_mapping.txt says which
is which and, by its numbers, the split everybody uses: 1 to 1200 train, to 1300 val, to 1970 test. Lists
train_list.txt, val_list.txt and test_list.txt, if there, say it instead. Retrieval: every caption of a clip is a query.
"""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from vqlora.annotations import Row, find_file, read_lines
from vqlora.data.example import Clip, Example
from vqlora.data.splits import NAMES, Splits, make_splits
from vqlora.data.videos import VideoFiles

OFFICIAL = {"train": 1200, "val": 100, "test": 670}
LAST = {"train": 1200, "val": 1300, "test": 1970}  # number of a split's last clip
DESCRIPTIONS, PICKLED, MAPPING = "AllVideoDescriptions.txt", "raw-captions.pkl", "youtube_mapping.txt"
WANTED = f"{DESCRIPTIONS} or {PICKLED}, {MAPPING} or train_list.txt, val_list.txt and test_list.txt, and the videos"


def open_msvd(folder: Path) -> Splits:
    """Captioning."""
    examples, official, dirt = _read(folder)
    return make_splits("msvd", examples, official=official, dirt=dirt)


def open_msvd_retrieval(folder: Path) -> Splits:
    """Retrieval with several captions a video."""
    examples, official, dirt = _read(folder)
    asked = {split: [replace(example, task="retrieval") for example in own] for split, own in examples.items()}
    return make_splits("msvd-retrieval", asked, official=official, dirt=dirt)


def read_mapping(file: Path) -> dict[str, str]:
    """Clip name -> number ('vid1'), from lines of both."""
    found: dict[str, str] = {}
    for row in read_lines(file):
        words = row.text().split()
        if len(words) != 2 or not words[1].startswith("vid") or not words[1][3:].isdecimal():
            raise row.fail(f"expected a clip and its number, as in '-4wsuPCjDBc_5_15 vid1', found {row.plain!r}")
        if words[0] in found:
            raise row.fail(f"the clip {words[0]!r} stands twice")
        found[words[0]] = words[1]
    return found


def _read(folder: Path) -> tuple[dict[str, list[Example]], dict[str, int], Counter[str]]:
    dirt: Counter[str] = Counter()
    source = find_file(folder, DESCRIPTIONS, PICKLED, wanted=WANTED)
    captions = _described(source, dirt) if source.name == DESCRIPTIONS else _pickled(source)
    numbers = read_mapping(folder / MAPPING) if (folder / MAPPING).is_file() else {}
    videos = VideoFiles(folder)
    listed = _listed(folder, numbers)
    videos.require_one_of([*captions, *numbers.values()], example="-4wsuPCjDBc_5_15.avi")
    examples: dict[str, list[Example]] = {}
    for split, names in listed.items():
        dirt["listed_without_caption"] += sum(name not in captions for name in names)
        examples[split] = [
            Example(
                id=name,
                clips=(Clip(path=videos.path(name, numbers.get(name, name), expected=f"{name}.avi")),),
                references={"en": tuple(captions[name])},
            )
            for name in names
            if name in captions
        ]
    return examples, OFFICIAL, dirt


def _listed(folder: Path, numbers: dict[str, str]) -> dict[str, list[str]]:
    if (folder / "train_list.txt").is_file() or not numbers:
        files = {split: find_file(folder, f"{split}_list.txt", wanted=WANTED) for split in NAMES}
        return {
            split: list(dict.fromkeys(row.text().strip() for row in read_lines(file))) for split, file in files.items()
        }
    found: dict[str, list[str]] = {split: [] for split in NAMES}
    for name, number in sorted(numbers.items(), key=lambda pair: int(pair[1][3:])):
        place = int(number[3:])
        home = next((split for split in NAMES if place <= LAST[split]), None)
        if home is None:
            raise ValueError(f"{folder / MAPPING}: {name} has the number {place}; MSVD's clips end at {LAST['test']}")
        found[home].append(name)
    return found


def _described(file: Path, dirt: Counter[str]) -> dict[str, list[str]]:
    """Lines of clip and sentence; those that begin with # are the file's own introduction."""
    found: dict[str, list[str]] = {}
    for row in read_lines(file):
        if row.text().startswith("#"):
            continue
        name, _, sentence = row.text().strip().partition(" ")
        dirt["empty_captions"] += not sentence.strip()
        if sentence.strip():
            found.setdefault(name, []).append(sentence.strip())
    return found


class _Plain(pickle.Unpickler):
    """Reads numbers, texts, lists and objects; whatever would run code is refused."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"it wants to load {module_name}.{global_name}")


def _pickled(file: Path) -> dict[str, list[str]]:
    """{clip: [[word, ...], ...]}"""
    try:
        with file.open("rb") as stream:
            plain = _Plain(stream, encoding="utf-8").load()
    except Exception as error:  # a broken pickle may raise anything
        raise ValueError(f"{file}: not the plain pickle of MSVD's captions ({error}); use {DESCRIPTIONS}") from error
    return {name: [" ".join(words.texts()) for words in row.rows()] for name, row in Row(file, "", plain).entries()}
