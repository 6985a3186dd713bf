"""Your own clips as a table: CSV with a header, or JSON lines, of path and text.

Columns `path` and `text`; also `id`, `split` (train, val, test), `start`, `end` (seconds), `language`, `question`,
`options` (a JSON list, or texts between |) and `type`. Rows of one id, or without ids of one path and stretch, are
references of one clip. Other names, or the videos elsewhere, go into a description, a .json file:

{"file": "clips.csv", "videos": "clips", "columns": {"path": "video_file", "text": "caption"}, "task": "caption"}
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from vqlora.annotations import Row, read_csv, read_json, read_json_lines, read_text
from vqlora.data.example import Clip, Example
from vqlora.data.questions import question_example
from vqlora.data.splits import NAMES, Splits, divide, make_splits
from vqlora.data.videos import inside, located

COLUMNS = ("path", "text", "id", "split", "start", "end", "language", "question", "options", "type")
TASKS = ("caption", "retrieval", "qa")


@dataclass(frozen=True, kw_only=True)
class Description:
    """Where a table is, from which folder its paths start, and what its columns are called."""

    file: Path
    videos: Path
    columns: dict[str, str] = field(default_factory=dict)
    task: str = "caption"


def open_table(path: Path) -> Splits:
    """A table, or the description of one. Without a column `split` the videos are divided by a hash of their names."""
    described = _description(path) if path.suffix == ".json" else Description(file=path, videos=path.parent)
    dirt: Counter[str] = Counter()
    rows = _rows(described)
    has_splits = any(_cell(row, described, "split") for row in rows)
    found: dict[str, dict[str, Example]] = {split: {} for split in NAMES}
    for row in rows:
        split = _cell(row, described, "split") if has_splits else "train"
        if split not in NAMES:
            raise row.fail(f"split {split!r} is unknown; use one of {NAMES}")
        text = _cell(row, described, "text")
        dirt["empty_texts"] += not text
        if text:
            _add(found[split], row, described, text)
    examples = {split: list(own.values()) for split, own in found.items()}
    return make_splits("table", examples if has_splits else divide(examples["train"]), dirt=dirt)


def _add(found: dict[str, Example], row: Row, described: Description, text: str) -> None:
    """A new example, or one more reference of one that is there."""
    name, language = _cell(row, described, "path"), _cell(row, described, "language") or "en"
    if not name:
        raise row.fail(f"no path; expected a video's under {described.columns.get('path', 'path')!r}")
    clip = _clip(row, described, name)
    question = _cell(row, described, "question")
    id = _cell(row, described, "id") or f"{name}@{clip.start_seconds}-{clip.end_seconds}" + (
        f"?{question}" if question else ""
    )
    if described.task == "qa" or question:
        if not question or id in found:
            raise row.fail(f"{'no question' if not question else f'the id {id!r} stands twice'}; each needs one")
        found[id] = _asked(row, described, id, clip, question, text)
        return
    texts = dict(found[id].references) if id in found else {}
    if id in found and found[id].clips != (clip,):
        raise row.fail(f"the id {id!r} names two clips; give each clip its own")
    texts[language] = (*texts.get(language, ()), text)
    found[id] = Example(id=id, clips=(clip,), references=texts, task=described.task)


def _asked(row: Row, described: Description, id: str, clip: Clip, question: str, answer: str) -> Example:
    given = _cell(row, described, "options")
    try:
        options = json.loads(given) if given.startswith("[") else [one.strip() for one in given.split("|") if one]
    except json.JSONDecodeError as error:
        raise row.fail(f"options {given!r} are no JSON list") from error
    if options and answer not in options:
        raise row.fail(f"the answer {answer!r} is none of the options {options}")
    kind = _cell(row, described, "type") or None
    return question_example(id, clip.path, question, answer, type=kind, options=options)


def _clip(row: Row, described: Description, name: str) -> Clip:
    times = []
    for column in ("start", "end"):
        cell = _cell(row, described, column)
        try:
            times.append(float(cell) if cell else None)
        except ValueError as error:
            raise row.fail(f"{column} {cell!r} is no time in seconds") from error
    try:
        path = inside(described.file.parent, name) if "://" in name else _located(described, name)
        return Clip(path=path, start_seconds=times[0], end_seconds=times[1])
    except ValueError as error:
        raise row.fail(str(error)) from error


def _located(described: Description, name: str) -> str:
    """From the description's folder, so that a list of a bucket's files there is found."""
    root = described.file.parent
    place = os.path.join(described.videos, os.path.expanduser(name))
    return located(root, os.path.relpath(place, root)) if "\0" not in place else inside(root, place)


def _cell(row: Row, described: Description, column: str) -> str:
    value = row.mapping().get(described.columns.get(column, column))
    if value is None:
        return ""
    if column == "options" and isinstance(value, list):
        return json.dumps(value)
    return str(value).strip()


def _rows(described: Description) -> list[Row]:
    named = [described.columns.get(column, column) for column in ("path", "text")]
    if described.file.suffix == ".jsonl":
        rows = read_json_lines(described.file)
        for row in rows:
            row.at(named[0])
        return rows
    delimiter = "\t" if described.file.suffix == ".tsv" else ","
    header = next(csv.reader(io.StringIO(read_text(described.file)), delimiter=delimiter), [])
    optional = [column for column in header if column != named[0]]
    rows = read_csv(described.file, named, delimiter=delimiter, optional=optional)
    if not rows:
        raise ValueError(f"{described.file}: holds no row")
    return rows


def _description(path: Path) -> Description:
    whole = read_json(path)
    columns = {key: row.text() for key, row in whole.at("columns").entries()} if whole.has("columns") else {}
    unknown = [key for key in columns if key not in COLUMNS]
    if unknown:
        raise whole.at("columns").fail(f"{unknown[0]!r} is no column; use {COLUMNS}")
    task = whole.at("task").text() if whole.has("task") else "caption"
    if task not in TASKS:
        raise whole.at("task").fail(f"{task!r} is unknown; use one of {TASKS}")
    videos = whole.at("videos").text() if whole.has("videos") else "."
    file = Path(inside(path.parent, str(path.parent / whole.at("file").text())))
    return Description(file=file, videos=path.parent / videos, columns=columns, task=task)
