"""What the readers of instruction data share: turns and videos of one row become one example.

The clips of an example stand before its first user turn, so placeholders (`<video>`, or `<image>` as some sets write
it) are counted against the videos and taken out. The last answer is the reference; turns before it are the
conversation. A set is one file, or a folder with train, val and test files; without the latter its videos are divided
by a hash.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from vqlora.annotations import Row, read_json, read_json_lines
from vqlora.data.example import Clip, Example, Message
from vqlora.data.splits import NAMES, Splits, divide, make_splits
from vqlora.data.videos import inside, located

PLACEHOLDER = re.compile(r"[ \t]*<(?:video|image)>[ \t]*\n?")
SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
ENDINGS = (".jsonl", ".json")
Reader = Callable[[Row, str, Path, "Counter[str]"], Example]


def open_conversations(path: Path, name: str, read: Reader) -> Splits:
    """Splits of a file or folder; `read` makes a row's example, given its id and the folder that paths start from."""
    dirt: Counter[str] = Counter()
    files = _files(path)
    examples = {
        split: [
            read(row, f"{split}-{number}" if len(files) > 1 else str(number), file.parent, dirt)
            for number, row in enumerate(_rows(file))
        ]
        for split, file in files.items()
    }
    return make_splits(name, examples if len(files) > 1 else divide(examples["train"]), dirt=dirt)


def conversation_example(
    row: Row, id: str, turns: Sequence[tuple[str, str]], videos: Sequence[str], folder: Path, dirt: Counter[str]
) -> Example:
    """turns: (speaker, text), the speakers as in SPEAKERS. videos: paths from `folder`.

    ValueError for turns out of order, an unknown speaker, or placeholders that are not as many as the videos.
    """
    marks = sum(len(PLACEHOLDER.findall(text)) for _, text in turns)
    if marks != len(videos):
        raise row.fail(f"{marks} placeholders <video> or <image> for {len(videos)} videos; expected one for each")
    messages = _messages(row, turns, dirt)
    if len(messages) < 2 or messages[-1].role != "assistant":
        raise row.fail("the last turn must be the assistant's, after one of the user's")
    references = {"en": (messages[-1].text,)}
    try:
        clips = tuple(Clip(path=_path(video, folder)) for video in videos)
        return Example(id=id, clips=clips, references=references, messages=messages[:-1], task="instruct")
    except ValueError as error:
        raise row.fail(str(error)) from error


def _messages(row: Row, turns: Sequence[tuple[str, str]], dirt: Counter[str]) -> tuple[Message, ...]:
    """Turns without placeholders; what a system says goes before the first user turn, and is counted."""
    preamble, found = "", []
    for speaker, text in turns:
        if speaker not in SPEAKERS:
            raise row.fail(f"the speaker {speaker!r} is unknown; use one of {tuple(SPEAKERS)}")
        role, plain = SPEAKERS[speaker], PLACEHOLDER.sub("", text).strip()
        if role == "system":
            preamble, dirt["system_turns"] = plain, dirt["system_turns"] + 1
            continue
        if role == "user" and preamble:
            plain, preamble = f"{preamble}\n{plain}", ""
        found.append(Message(role="user" if role == "user" else "assistant", text=plain))
    return tuple(found)


def _path(video: str, folder: Path) -> str:
    if "://" in video and not video.startswith("file://"):
        return inside(folder, video)
    return located(folder, video.removeprefix("file://"))


def _files(path: Path) -> dict[str, Path]:
    if path.is_file():
        return {"train": path}
    found = {
        split: path / f"{split}{ending}"
        for split in NAMES
        for ending in ENDINGS
        if (path / f"{split}{ending}").is_file()
    }
    if "train" not in found or (len(found) == 2 and "test" not in found):
        raise ValueError(f"{path}: give a .json or .jsonl file, or a folder with train.json, val.json and test.json")
    return found


def _rows(file: Path) -> list[Row]:
    return read_json_lines(file) if file.suffix == ".jsonl" else read_json(file).rows()
