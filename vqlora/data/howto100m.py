"""HowTo100M narrations as published: {video: {"start": [...], "end": [...], "text": [...]}} in seconds.

raw_caption.json, or caption.json without stop words; Multi-HowTo100M adds how2_LANGUAGE.json in the same form. Each
narrated stretch is an example: a window of a long file and its text in every language that has the same stretch. The
set has no splits: a tenth of the videos each for val and test. HowTo100M_v1.csv, if there, gives categories.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vqlora.annotations import Row, find_file, read_csv, read_json
from vqlora.data.example import Clip, Example
from vqlora.data.splits import Splits, divide, make_splits
from vqlora.data.videos import VideoFiles

TABLE = "HowTo100M_v1.csv"
LANGUAGES = ("de", "fr", "cs", "es", "ru", "vi", "sw", "zh")
WANTED = f"raw_caption.json, caption.json or how2_en.json, and the videos; how2_LANGUAGE.json and {TABLE} if wanted"


@dataclass(frozen=True, kw_only=True)
class Narrated:
    """Text said from start to end, in seconds."""

    start_seconds: float
    end_seconds: float
    text: str


def open_howto100m(folder: Path) -> Splits:
    """Captions of narrated windows."""
    dirt: Counter[str] = Counter()
    english = find_file(folder, "raw_caption.json", "caption.json", "how2_en.json", wanted=WANTED)
    said = _read(english)
    others = {
        language: _read(folder / f"how2_{language}.json")
        for language in LANGUAGES
        if (folder / f"how2_{language}.json").is_file()
    }
    category = _categories(folder)
    videos = VideoFiles(folder)
    videos.require_one_of(said, example="videos/VIDEO.mp4")
    examples = []
    for video, stretches in said.items():
        path = videos.path(video, expected=f"videos/{video}.mp4")
        for place, stretch in _usable(stretches, dirt):
            texts = {"en": (stretch.text,)}
            for language, all_said in others.items():
                text = _same(all_said.get(video, []), place, stretch)
                dirt[f"not_aligned_{language}"] += text is None
                texts |= {language: (text,)} if text else {}
            clip = Clip(path=path, start_seconds=stretch.start_seconds, end_seconds=stretch.end_seconds)
            known = {"category": category[video]} if video in category else {}
            examples.append(Example(id=f"{video}_{place:05d}", clips=(clip,), references=texts, attributes=known))
    return make_splits("howto100m", divide(examples), dirt=dirt)


def _read(file: Path) -> dict[str, list[Narrated]]:
    return {video: _stretches(row) for video, row in read_json(file).entries()}


def _stretches(row: Row) -> list[Narrated]:
    starts, ends, texts = (row.at(key).rows() for key in ("start", "end", "text"))
    if not len(starts) == len(ends) == len(texts):
        raise row.fail(f"{len(starts)} starts, {len(ends)} ends and {len(texts)} texts; expected as many of each")
    return [
        Narrated(start_seconds=start.number(), end_seconds=end.number(), text=text.text().strip())
        for start, end, text in zip(starts, ends, texts, strict=True)
    ]


def _usable(stretches: list[Narrated], dirt: Counter[str]) -> Iterator[tuple[int, Narrated]]:
    for place, stretch in enumerate(stretches):
        is_window = 0 <= stretch.start_seconds < stretch.end_seconds
        dirt["empty_texts"] += not stretch.text
        dirt["odd_times"] += not is_window
        if stretch.text and is_window:
            yield place, stretch


def _same(stretches: list[Narrated], place: int, stretch: Narrated) -> str | None:
    """The text of the same stretch in another language."""
    if place >= len(stretches) or stretches[place].start_seconds != stretch.start_seconds:
        return None
    return stretches[place].text or None


def _categories(folder: Path) -> dict[str, str]:
    if not (folder / TABLE).is_file():
        return {}
    columns = ("video_id", "category_1", "category_2", "rank", "task_id")
    rows = read_csv(folder / TABLE, columns, optional=columns[1:])
    return {row.at("video_id").name(): row.at("category_1").text() for row in rows}
