"""MUSIC-AVQA as published: avqa-{train,val,test}.json with its own spellings: the answer's key is `anser`.

`type` and `templ_values` are JSON inside texts; the values fill `<Object>`, `<LR>` and the like in the question, in
order. Deleted questions are left out and counted. Questions, not videos, were split, so splits share videos.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

from vqlora.annotations import Row, find_file, read_json
from vqlora.data.example import Example
from vqlora.data.questions import question_example
from vqlora.data.splits import NAMES, Splits, make_splits
from vqlora.data.videos import VideoFiles

OFFICIAL = {"train": 32087, "val": 4595, "test": 9185}
BLANK = re.compile(r"<\w+>")
WANTED = "avqa-train.json, avqa-val.json and avqa-test.json, and the videos with their sound"


def open_music_avqa(folder: Path) -> Splits:
    """Questions about what is seen and heard."""
    dirt: Counter[str] = Counter()
    rows = {
        split: read_json(find_file(folder, f"avqa-{split}.json", f"json/avqa-{split}.json", wanted=WANTED)).rows()
        for split in NAMES
    }
    videos = VideoFiles(folder)
    videos.require_one_of([row.at("video_id").name() for own in rows.values() for row in own], example="00000093.mp4")
    examples = {
        split: [one for one in (_example(row, videos, dirt) for row in own) if one] for split, own in rows.items()
    }
    return make_splits("music-avqa", examples, official=OFFICIAL, dirt=dirt, may_share_videos=True)


def _example(row: Row, videos: VideoFiles, dirt: Counter[str]) -> Example | None:
    is_deleted = row.has("question_deleted") and row.at("question_deleted").whole() != 0
    dirt["deleted_questions"] += is_deleted
    if is_deleted:
        return None
    id = row.at("video_id").name()
    question = _filled(row.at("question_content"), _inner(row.at("templ_values")))
    path = videos.path(id, expected=f"videos/{id}.mp4")
    kind = "/".join(_inner(row.at("type")))
    return question_example(f"{id}/{row.at('question_id').name()}", path, question, row.at("anser").name(), type=kind)


def _inner(row: Row) -> list[str]:
    """A list of texts written as JSON in a text."""
    try:
        plain = json.loads(row.text())
    except (json.JSONDecodeError, RecursionError) as error:
        raise row.fail(f"expected a JSON list in a text, as '[\"violin\"]', found {row.plain!r}") from error
    return Row(row.file, row.place, plain).texts()


def _filled(row: Row, values: list[str]) -> str:
    text = row.text()
    blanks = BLANK.findall(text)
    if len(blanks) != len(values):
        raise row.fail(f"{len(blanks)} blanks in {text!r} for {len(values)} values {values}")
    given = iter(values)
    return BLANK.sub(lambda _: next(given), text).strip()
