"""The forms in which users bring conversations of their own: LLaVA, messages, ShareGPT."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from vqlora.data.layouts import world
from vqlora.data.layouts.world import Scenes


def write_llava(folder: Path, drawn: Scenes) -> None:
    """A JSON list for each split; every other row as LLaVA-Video-178K writes it, `<image>` for the video."""
    for split, rows in _turns(folder, drawn):
        world.write_json(folder / f"{split}.json", [
            {
                "id": name,
                "video": f"videos/{name}.mp4",
                **({"data_source": "shapes"} if place % 2 else {}),
                "conversations": [
                    {"from": "human", "value": f"<{'image' if place % 2 else 'video'}>\n{turns[0]}"},
                    {"from": "gpt", "value": turns[1]},
                    {"from": "human", "value": turns[2]},
                    {"from": "gpt", "value": turns[3]},
                ],
            }
            for place, (name, turns) in enumerate(rows)
        ])  # fmt: skip


def write_messages(folder: Path, drawn: Scenes) -> None:
    """JSON lines of messages, the video a part of the first."""
    for split, rows in _turns(folder, drawn):
        lines = []
        for name, (asked, *rest) in rows:
            parts = [{"type": "video", "video": f"videos/{name}.mp4"}, {"type": "text", "text": asked}]
            speakers = ("assistant", "user", "assistant")
            later = [{"role": who, "content": text} for who, text in zip(speakers, rest, strict=True)]
            lines.append(json.dumps({"messages": [{"role": "user", "content": parts}, *later]}))
        world.write_lines(folder / f"{split}.jsonl", lines)


def write_sharegpt(folder: Path, drawn: Scenes) -> None:
    """One JSON list for all, videos beside the messages, with a system's turn."""
    found = []
    for _, rows in _turns(folder, drawn):
        for name, (asked, *rest) in rows:
            turns = [("system", "Answer briefly ."), ("user", f"<video>{asked}")]
            turns += zip(("assistant", "user", "assistant"), rest, strict=True)
            said = [{"role": who, "content": text} for who, text in turns]
            found.append({"messages": said, "videos": [f"videos/{name}.mp4"]})
    world.write_json(folder / "all.json", found)


def _turns(folder: Path, drawn: Scenes) -> Iterator[tuple[str, list[tuple[str, list[str]]]]]:
    """(split, rows), a row being a video's name and the texts of two questions and answers."""
    for split, own in drawn.items():
        for place, scene in enumerate(own):
            world.write_clip(scene, folder / "videos" / f"{split}{place}.mp4")
        yield split, [(f"{split}{place}", world.two_turns(scene)) for place, scene in enumerate(own)]
