"""NExT-QA as published: CSV files of questions with five options (MC) or a free answer (OE).

MC: train.csv, val.csv, test.csv with `answer` as the number of an option, from 0. OE: the same names without options,
and add_reference_answer_test.json with second answers. map_vid_vidorID.json, if there, says which file a video is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vqlora.annotations import Row, find_file, read_csv, read_json
from vqlora.data.example import Example
from vqlora.data.questions import question_example
from vqlora.data.splits import NAMES, Splits, make_splits
from vqlora.data.videos import VideoFiles

OFFICIAL = {"train": 34132, "val": 4996, "test": 8564}
OFFICIAL_OPEN = {"train": 37523, "val": 5343, "test": 9178}
COLUMNS = ("video", "frame_count", "width", "height", "question", "answer", "qid", "type")
OPTIONS = ("a0", "a1", "a2", "a3", "a4")
MAP, MORE = "map_vid_vidorID.json", "add_reference_answer_test.json"
WANTED = f"train.csv, val.csv and test.csv, and the videos; {MAP} if files have VidOR's names"


def open_nextqa(folder: Path) -> Splits:
    """Questions of choice."""
    rows, path = _read(folder, (*COLUMNS, *OPTIONS))
    dirt: Counter[str] = Counter()

    def read(row: Row) -> Example:
        options, number = [row.at(name).text().strip() for name in OPTIONS], row.at("answer").text()
        if not number.isdecimal() or int(number) >= len(options):
            raise row.fail(f"answer {number!r} is no number of an option, 0 to {len(options) - 1}")
        dirt["repeated_options"] += len(set(options)) < len(options)
        right = options[int(number)]
        id, kind = f"{row.at('video').name()}_{row.at('qid').name()}", row.at("type").text()
        return question_example(id, path(row), row.at("question").text(), right, type=kind, options=_distinct(options))

    examples = {split: [read(row) for row in own] for split, own in rows.items()}
    return make_splits("nextqa", examples, official=OFFICIAL, dirt=dirt)


def open_nextqa_open(folder: Path) -> Splits:
    """Free answers, compared exactly; the published WUPS needs WordNet and is not computed here."""
    rows, path = _read(folder, COLUMNS)
    more = dict(read_json(folder / MORE).entries()) if (folder / MORE).is_file() else {}

    def read(row: Row) -> Example:
        video, number = row.at("video").name(), row.at("qid").name()
        made = question_example(
            f"{video}_{number}",
            path(row),
            row.at("question").text(),
            row.at("answer").text(),
            type=row.at("type").text(),
        )
        second = more[video].mapping().get(number) if video in more else None
        if not isinstance(second, str):
            return made
        return replace(made, references={"en": (*made.references["en"], second)})

    examples = {split: [read(row) for row in own] for split, own in rows.items()}
    return make_splits("nextqa-open", examples, official=OFFICIAL_OPEN)


def _read(folder: Path, columns: tuple[str, ...]) -> tuple[dict[str, list[Row]], Callable[[Row], str]]:
    """Rows of each split, and the function from a row to its video's path."""
    rows = {split: read_csv(find_file(folder, f"{split}.csv", wanted=WANTED), columns) for split in NAMES}
    names = {id: row.text() for id, row in read_json(folder / MAP).entries()} if (folder / MAP).is_file() else {}
    videos = VideoFiles(folder)

    def stems(row: Row) -> tuple[str, str]:
        video = row.at("video").name()
        return names.get(video, video).rpartition("/")[2], video

    def path(row: Row) -> str:
        return videos.path(*stems(row), expected=f"NExTVideo/{stems(row)[0]}.mp4")

    videos.require_one_of([stem for own in rows.values() for row in own for stem in stems(row)], example="VIDEO.mp4")
    return rows, path


def _distinct(options: list[str]) -> list[str]:
    """Options as they are; of equal ones all but the first are told apart by their number."""
    return [text if text not in options[:place] else f"{text} ({place})" for place, text in enumerate(options)]
