"""ActivityNet-QA as published: {train,val,test}_q.json and _a.json, matched by question_id.

Types: 0 motion, 1 spatial, 2 temporal, 3 yes or no, 4 colour, 5 object, 6 location, 7 number, 8 other. Files carry
their video's id with or without `v_`. (The published script's "Free" divides by the wrong count; accuracy of all is
right.)
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from vqlora.annotations import Row, find_file, read_json
from vqlora.data.example import Example
from vqlora.data.questions import question_example
from vqlora.data.splits import NAMES, Splits, make_splits
from vqlora.data.videos import VideoFiles

OFFICIAL = {"train": 32000, "val": 18000, "test": 8000}
TYPES = ("motion", "spatial", "temporal", "yes/no", "colour", "object", "location", "number", "other")
WANTED = "train_q.json, train_a.json and so on for val and test, and the videos"


def open_activitynet_qa(folder: Path) -> Splits:
    """Open questions about ActivityNet's videos."""
    dirt: Counter[str] = Counter()
    pairs = {
        split: [
            read_json(find_file(folder, f"{split}_{kind}.json", f"dataset/{split}_{kind}.json", wanted=WANTED)).rows()
            for kind in "qa"
        ]
        for split in NAMES
    }
    videos = VideoFiles(folder)
    names = {row.at("video_name").name() for questions, _ in pairs.values() for row in questions}
    videos.require_one_of([stem for name in names for stem in (name, f"v_{name}")], example="v_ID.mp4")
    examples = {split: _matched(asked, said, videos, dirt) for split, (asked, said) in pairs.items()}
    return make_splits("activitynet-qa", examples, official=OFFICIAL, dirt=dirt)


def _matched(questions: list[Row], answers: list[Row], videos: VideoFiles, dirt: Counter[str]) -> list[Example]:
    answer_of = {row.at("question_id").name(): row for row in answers}
    found = []
    for row in questions:
        id = row.at("question_id").name()
        dirt["questions_without_answer"] += id not in answer_of
        if id not in answer_of:
            continue
        name, answer = row.at("video_name").name(), answer_of.pop(id)
        kind = answer.at("type").whole()
        if not 0 <= kind < len(TYPES):
            raise answer.fail(f"type {kind}; expected 0 to {len(TYPES) - 1}")
        path = videos.path(f"v_{name}", name, expected=f"videos/v_{name}.mp4")
        text = answer.at("answer").name()
        found.append(question_example(id, path, row.at("question").text().strip(), text, type=TYPES[kind]))
    dirt["answers_without_question"] += len(answer_of)
    return found
