"""OpenAI-style messages, as Hugging Face's chat templates take them, one object a line or in a list:

{"messages": [{"role": "user", "content": [{"type": "video", "video": "a.mp4"}, {"type": "text", "text": "Why?"}]}]}

A content may be a text. A video is named by `video`, `path`, `url`, or `video_url: {"url"}`; a list of its frames must
be the pictures of one folder, in order.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from vqlora.annotations import Row
from vqlora.data.example import Example
from vqlora.data.splits import Splits
from vqlora.data.turns import conversation_example, open_conversations

VIDEO_KEYS = ("video", "path", "url")


def open_messages(path: Path) -> Splits:
    """A file of conversations, or a folder with one for each split; video paths start from the file's folder."""
    return open_conversations(path, "messages", _example)


def _example(row: Row, number: str, folder: Path, dirt: Counter[str]) -> Example:
    turns, videos = [], []
    for message in row.at("messages").rows():
        text, shown = _content(message.at("content"))
        turns.append((message.at("role").text(), text))
        videos += shown
    return conversation_example(row, number, turns, videos, folder, dirt)


def _content(row: Row) -> tuple[str, list[str]]:
    """Text, with a placeholder for each video, and the videos."""
    if isinstance(row.plain, str):
        return row.text(), []
    texts, videos = [], []
    for part in row.rows():
        kind = part.at("type").text()
        if kind == "text":
            texts.append(part.at("text").text())
        elif kind in ("video", "video_url"):
            videos.append(_video(part))
            texts.append("<video>")
        else:
            raise part.fail(f"a part of type {kind!r}; expected 'text' or 'video'")
    return "\n".join(texts), videos


def _video(part: Row) -> str:
    if part.has("video_url"):
        return part.at("video_url").at("url").text()
    keys = [key for key in VIDEO_KEYS if part.has(key)]
    if len(keys) != 1:
        raise part.fail(f"a video is named by one of {VIDEO_KEYS}, found {keys}")
    given = part.at(keys[0])
    if isinstance(given.plain, str):
        return given.text()
    frames = given.texts()
    folders = {os.path.dirname(frame) for frame in frames}
    if len(folders) != 1 or frames != sorted(frames):
        raise given.fail("frames must be the pictures of one folder, in the order of their names")
    return folders.pop()
