"""LSMDC 2016 as published: tab-separated files without a header, six columns, names replaced by SOMEONE.

Columns: clip, start and end aligned, start and end extracted (hh.mm.ss.mmm), sentence. A clip is an AVI file
`<movie>/<clip>.avi`, already cut. Clip ids repeat in train: their sentences become references of one example. Quotation
marks are letters here. The test list is spelled `publictect`.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from vqlora.annotations import find_file, read_lines
from vqlora.data.example import Clip, Example
from vqlora.data.splits import Splits, make_splits
from vqlora.data.videos import VideoFiles

OFFICIAL = {"val": 7408, "test": 1000}  # clips; train's 101 079 are sentences
FILES = {
    "train": "LSMDC16_annos_training.csv",
    "val": "LSMDC16_annos_val.csv",
    "test": "LSMDC16_challenge_1000_publictect.csv",
}
COLUMNS = ("clip", "start aligned", "end aligned", "start extracted", "end extracted", "sentence")
TIME = re.compile(r"\d\d\.\d\d\.\d\d\.\d{3}")
WANTED = f"{', '.join(FILES.values())}, and the videos as <movie>/<clip>.avi"


def open_lsmdc(folder: Path) -> Splits:
    """Movie descriptions, for retrieval and for captioning: a clip's sentences are its references and its queries."""
    dirt: Counter[str] = Counter()
    read = {split: _sentences(find_file(folder, name, wanted=WANTED), dirt) for split, name in FILES.items()}
    videos = VideoFiles(folder)
    videos.require_one_of([id for own in read.values() for id in own], example="<movie>/<clip>.avi")
    examples = {
        split: [
            Example(
                id=id,
                clips=(Clip(path=videos.path(id, expected=f"{movie_of(id)}/{id}.avi")),),
                references={"en": tuple(texts)},
                task="retrieval",
            )
            for id, texts in own.items()
        ]
        for split, own in read.items()
    }
    return make_splits("lsmdc", examples, official=OFFICIAL, dirt=dirt)


def movie_of(id: str) -> str:
    """'0001_Some_Movie' of '0001_Some_Movie_00.00.51.926-00.00.54.129'."""
    return id.rpartition("_")[0]


def _sentences(file: Path, dirt: Counter[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in read_lines(file):
        cells = row.text().split("\t")
        if len(cells) != len(COLUMNS):
            raise row.fail(f"{len(cells)} columns; expected {len(COLUMNS)} between tabs: {', '.join(COLUMNS)}")
        id, sentence = cells[0].strip(), cells[5].strip()
        wrong = [cell for cell in cells[1:5] if not TIME.fullmatch(cell.strip())]
        if wrong or not movie_of(id):
            raise row.fail(f"{wrong[0] if wrong else id!r} is no {'time hh.mm.ss.mmm' if wrong else 'clip of a movie'}")
        dirt["empty_captions"] += not sentence
        dirt["repeated_ids"] += id in found
        if sentence:
            found.setdefault(id, []).append(sentence)
    return found
