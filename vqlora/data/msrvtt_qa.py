"""MSRVTT-QA (Xu et al.) as published: {train,val,test}_qa.json, lists of {"answer", "id", "question", "video_id"}.

`video_id` is a number, the file is video{video_id}. Answers are one word, compared in lower case. MSVD-QA has the same
form (`msvd_qa`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from vqlora.annotations import Row, find_file, read_json
from vqlora.data.example import Example
from vqlora.data.questions import question_example
from vqlora.data.splits import NAMES, Splits, make_splits
from vqlora.data.videos import VideoFiles

OFFICIAL = {"train": 158581, "val": 12278, "test": 72821}
WANTED = "train_qa.json, val_qa.json and test_qa.json, and the videos"


def open_msrvtt_qa(folder: Path) -> Splits:
    """Open questions about MSR-VTT's clips."""
    return open_xu(folder, "msrvtt-qa", OFFICIAL, lambda number: (f"video{number}",), "TrainValVideo/video0.mp4")


def open_xu(
    folder: Path,
    name: str,
    official: dict[str, int],
    stems: Callable[[int], Sequence[str]],
    example: str,
    wanted: str = WANTED,
) -> Splits:
    """A set of this form; `stems` gives the file names that a video number may have."""
    dirt: Counter[str] = Counter()
    rows = {split: read_json(find_file(folder, f"{split}_qa.json", wanted=wanted)).rows() for split in NAMES}
    videos = VideoFiles(folder)
    numbers = {row.at("video_id").whole() for own in rows.values() for row in own}
    videos.require_one_of([stem for number in numbers for stem in stems(number)], example=example)

    def read(split: str, row: Row) -> Example | None:
        question, answer = row.at("question").text().strip(), row.at("answer").text().strip()
        dirt["empty_questions_or_answers"] += not (question and answer)
        if not (question and answer):
            return None
        names = stems(row.at("video_id").whole())
        path = videos.path(*names, expected=f"{names[0]}{Path(example).suffix}")
        category = row.at("category_id").whole() if row.has("category_id") else None
        id, kind = f"{split}/{row.at('id').name()}", question.split()[0].lower()
        return question_example(id, path, question, answer, type=kind, category=category)

    examples = {split: [one for one in (read(split, row) for row in own) if one] for split, own in rows.items()}
    return make_splits(name, examples, official=official, dirt=dirt)
