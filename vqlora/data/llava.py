"""LLaVA's form: [{"id", "video": "a.mp4", "conversations": [{"from": "human", "value": "<video>\\nWhat?"}, ...]}].

`video` may be a list. LLaVA-Video-178K writes `<image>` for a video and `data_source` beside it; VideoInstruct-100K's
raw form is {"q", "a", "video_id"}. Each video has one placeholder, in whichever turn.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from vqlora.annotations import Row
from vqlora.data.example import Example
from vqlora.data.splits import Splits
from vqlora.data.turns import conversation_example, open_conversations


def open_llava(path: Path) -> Splits:
    """A file of conversations, or a folder with one for each split; video paths start from the file's folder."""
    return open_conversations(path, "llava", _example)


def _example(row: Row, number: str, folder: Path, dirt: Counter[str]) -> Example:
    if row.has("q"):
        video = row.at("video_id").name()
        file = next((f"{video}{ending}" for ending in (".mp4", ".mkv") if (folder / f"{video}{ending}").is_file()), "")
        turns = [("human", f"<video>\n{row.at('q').text()}"), ("gpt", row.at("a").text())]
        return conversation_example(row, number, turns, [file or f"{video}.mp4"], folder, dirt)
    turns = [(turn.at("from").text(), turn.at("value").text()) for turn in row.at("conversations").rows()]
    videos: list[str] = []
    if row.has("video"):
        videos = row.at("video").texts() if isinstance(row.at("video").plain, list) else [row.at("video").text()]
    id = row.at("id").name() if row.has("id") else "row"
    return conversation_example(row, f"{id}#{number}", turns, videos, folder, dirt)
