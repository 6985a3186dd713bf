"""References and predictions of any system, read from files for `vqlora score`.

Captions: COCO's form ({"images": [...], "annotations": [{"image_id", "caption"}]} and a result list of {"image_id",
"caption"}) or {id: [texts]}. Answers: {id: answer} or {id: {"answer", "type", "options", "video"}}. Dense captions: the
form of densevid_eval. Similarities: a NumPy matrix. An id is a text or a whole number; 7 and "7" are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from string import ascii_uppercase

import numpy as np

from vqlora.annotations import Row, read_json
from vqlora.metrics.dense import Event
from vqlora.metrics.moments import Stretch
from vqlora.metrics.qa import Question


def read_references(file: Path) -> dict[str, list[str]]:
    """Texts of each id; ValueError for an id without any."""
    whole = read_json(file)
    if not _is_coco(whole):
        found = {id: row.texts() for id, row in whole.entries()}
    else:
        images = [image.at("id").name() for image in whole.at("images").rows()] if whole.has("images") else []
        found = {id: [] for id in _once(whole.at("images"), images)} if images else {}
        for row in whole.at("annotations").rows():
            id = row.at("image_id").name()
            if images and id not in found:
                raise row.fail(f"image_id {id!r} is not among the images")
            found.setdefault(id, []).append(row.at("caption").text())
    bare = [id for id, texts in found.items() if not texts]
    if bare or not found:
        what = f"{len(bare)} ids without a reference, the first is {bare[0]!r}" if bare else "holds no id"
        raise whole.fail(f"{what}; every id needs at least one text")
    return found


def read_predictions(file: Path) -> dict[str, str]:
    """One text of each id; ValueError for an id given twice or with several texts."""
    whole = read_json(file)
    if isinstance(whole.plain, list):
        pairs = [(row.at("image_id").name(), row.at("caption").text()) for row in whole.rows()]
        _once(whole, [id for id, _ in pairs])
        return dict(pairs)
    return {id: _one_text(row) for id, row in whole.entries()}


def read_questions(file: Path) -> dict[str, Question]:
    """What is right for each id. An answer among options is a number from 0, a letter, or one of the texts."""
    return {id: _question(row) for id, row in read_json(file).entries()}


def read_answers(file: Path, questions: Mapping[str, Question]) -> dict[str, str | int]:
    """A text, or the number of an option from 0, for each id."""
    found: dict[str, str | int] = {}
    for id, row in read_json(file).entries():
        given = row.at("answer") if isinstance(row.plain, dict) else row
        options = questions[id].options if id in questions else ()
        if type(given.plain) is not int:
            found[id] = given.text()
        elif not options:
            found[id] = str(given.plain)
        elif 0 <= given.plain < len(options):
            found[id] = given.plain
        else:
            raise given.fail(f"option {given.plain} of {len(options)}; options are numbered from 0")
    return found


def read_truth_events(file: Path) -> dict[str, list[Event]]:
    """Events of each video, as ActivityNet Captions lists them: {video: {"timestamps": [...], "sentences": [...]}}."""
    found = {}
    for video, row in read_json(file).entries():
        times, texts = row.at("timestamps").rows(), row.at("sentences").texts()
        if len(times) != len(texts):
            raise row.fail(f"{len(times)} timestamps for {len(texts)} sentences; each sentence needs one")
        found[video] = [_event(time, text) for time, text in zip(times, texts, strict=True)]
    return found


def read_predicted_events(file: Path) -> dict[str, list[Event]]:
    """Events of each video: {"version", "results": {video: [{"sentence", "timestamp": [start, end]}]}, ...}."""
    results = read_json(file).at("results")
    return {
        video: [_event(one.at("timestamp"), one.at("sentence").text()) for one in row.rows()]
        for video, row in results.entries()
    }


def read_true_moments(file: Path) -> dict[str, Stretch]:
    """{id: [start, end]} in seconds."""
    return {id: row.stretch() for id, row in read_json(file).entries()}


def read_predicted_moments(file: Path) -> dict[str, list[Stretch]]:
    """{id: [[start, end], ...]} in seconds, best first."""
    return {id: [one.stretch() for one in row.rows()] for id, row in read_json(file).entries()}


def read_similarity(file: Path) -> np.ndarray:
    """A matrix [queries, videos] saved by numpy.save."""
    try:
        with file.open("rb") as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)
    except FileNotFoundError as error:
        raise ValueError(f"{file}: no such file") from error
    except Exception as error:  # a broken header is parsed as Python's literals and may raise anything
        raise ValueError(
            f"{file}: not a matrix that numpy.save wrote ({' '.join(str(error).split())[:200]})"
        ) from error


def read_query_videos(file: Path, queries: int) -> list[int]:
    """The column of each row's video: a list, or {row: column}."""
    whole = read_json(file)
    if isinstance(whole.plain, list):
        columns = [row.whole() for row in whole.rows()]
    else:
        columns = _by_row({key: row.whole() for key, row in whole.entries()}, whole)
    if len(columns) != queries:
        raise whole.fail(f"names the video of {len(columns)} rows; the similarities have {queries}")
    return columns


def _by_row(given: Mapping[str, int], whole: Row) -> list[int]:
    missing = [row for row in range(len(given)) if str(row) not in given]
    if missing:
        raise whole.fail(f"no row {missing[0]} among {len(given)}; rows are numbered from 0")
    return [given[str(row)] for row in range(len(given))]


def _is_coco(whole: Row) -> bool:
    annotations = whole.mapping().get("annotations")
    return isinstance(annotations, list) and all(isinstance(row, dict) for row in annotations)


def _once(place: Row, ids: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    twins = [id for id in ids if id in seen or seen.add(id)]
    if twins:
        raise place.fail(f"{len(twins)} ids stand twice, the first is {twins[0]!r}; give each id once")
    return list(seen)


def _one_text(row: Row) -> str:
    if isinstance(row.plain, str):
        return row.text()
    texts = row.texts()
    if len(texts) != 1:
        raise row.fail(f"{len(texts)} predictions; one is scored")
    return texts[0]


def _question(row: Row) -> Question:
    if not isinstance(row.plain, dict):
        return Question(answer=row.name())
    options = tuple(row.at("options").texts()) if row.has("options") else ()
    try:
        return Question(
            answer=_right(row.at("answer"), options),
            type=row.at("type").name() if row.has("type") else None,
            options=options,
            video=row.at("video").name() if row.has("video") else "",
        )
    except ValueError as error:
        raise error if str(error).startswith(str(row.file)) else row.fail(str(error)) from error


def _right(answer: Row, options: tuple[str, ...]) -> str:
    if not options:
        return answer.name()
    if isinstance(answer.plain, str):
        letters = ascii_uppercase[: len(options)]
        is_letter = answer.plain not in options and len(answer.plain) == 1 and answer.plain.upper() in letters
        return options[letters.index(answer.plain.upper())] if is_letter else answer.text()
    number = answer.whole()
    if not 0 <= number < len(options):
        raise answer.fail(f"option {number} of {len(options)}; options are numbered from 0")
    return options[number]


def _event(times: Row, sentence: str) -> Event:
    start, end = times.stretch()
    return Event(start_seconds=start, end_seconds=end, sentence=sentence)
