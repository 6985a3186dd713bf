"""ShareGPT's form with `videos`, as LLaMA-Factory and ms-swift take it:

{"messages": [{"role": "user", "content": "<video>Why?"}, {"role": "assistant", "content": "..."}], "videos": ["x.mp4"]}

`conversations` with `from` and `value` is the older spelling. The placeholders are as many as the videos.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from vqlora.annotations import Row
from vqlora.data.example import Example
from vqlora.data.splits import Splits
from vqlora.data.turns import conversation_example, open_conversations


def open_sharegpt(path: Path) -> Splits:
    """A file of conversations, or a folder with one for each split; video paths start from the file's folder."""
    return open_conversations(path, "sharegpt", _example)


def _example(row: Row, number: str, folder: Path, dirt: Counter[str]) -> Example:
    key = "messages" if row.has("messages") else "conversations"
    speaker, said = ("role", "content") if key == "messages" else ("from", "value")
    turns = []
    for turn in row.at(key).rows():
        names = (speaker, said) if turn.has(speaker) else ("from", "value")
        turns.append((turn.at(names[0]).text(), turn.at(names[1]).text()))
    videos = row.at("videos").texts() if row.has("videos") else []
    return conversation_example(row, number, turns, videos, folder, dirt)
