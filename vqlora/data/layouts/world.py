"""What the layouts take from the embedded world: scenes by split, their files, what is said and asked about them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vqlora.data.shapes import Scene, draw_scene
from vqlora.data.shapes_text import DOMAIN, domain_references
from vqlora.data.shapes_write import encode, frames_of

NUMBERS = ("one", "two", "three", "four", "five")
Scenes = dict[str, list[Scene]]
CHINESE_COLOURS = {
    "red": "红色", "green": "绿色", "blue": "蓝色", "yellow": "黄色", "purple": "紫色", "orange": "橙色",
    "cyan": "青色", "white": "白色",
}  # fmt: skip
CHINESE_SHAPES = {
    "circle": "圆形", "square": "方形", "triangle": "三角形", "star": "星形", "cross": "十字", "ring": "圆环",
    "bar": "长条", "moon": "月亮",
}  # fmt: skip
CHINESE_MOTIONS = {
    "stay": "不动", "left": "向左走", "right": "向右走", "up": "上升", "down": "下降", "circle": "转圈",
    "bounce": "弹跳", "grow": "变大", "shrink": "变小", "rotate": "旋转", "blink": "闪烁", "appear": "出现",
    "vanish": "消失", "behind": "从后面经过",
}  # fmt: skip


def scenes(counts: Mapping[str, int]) -> Scenes:
    """Scenes of each split."""
    return {split: [draw_scene(split, index) for index in range(count)] for split, count in counts.items()}


def write_clip(shown: Scene | Sequence[Scene], path: Path) -> None:
    """One scene, or several after each other, as H.264 in the container that the path's ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [shown] if isinstance(shown, Scene) else list(shown)
    encode(torch.cat([frames_of(scene) for scene in parts]), str(path))


def write_json(path: Path, plain: Any) -> None:
    """A JSON file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain, ensure_ascii=False), encoding="utf-8")


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """A text file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def captions(scene: Scene) -> tuple[str, ...]:
    """The five references."""
    return domain_references(scene)


def events(scene: Scene) -> list[tuple[float, float, str]]:
    """(start, end, sentence) of each phase."""
    return [(phase.start, phase.end, sentence(scene, place)) for place, phase in enumerate(scene.phases)]


def sentence(scene: Scene, place: int) -> str:
    """One phase in words."""
    phase = scene.phases[place]
    verb = DOMAIN.motions[phase.motion]
    if phase.actor is None:
        return f"All {verb}."
    other = "" if phase.other is None else f" the {_name(scene, phase.other)}"
    return f"The {_name(scene, phase.actor)} {verb}{other}."


def chinese(scene: Scene) -> tuple[str, ...]:
    """As many Chinese captions as English ones: what is there, and what happens first, last, and in order."""
    units = "、".join(f"{CHINESE_COLOURS[one.colour]}{CHINESE_SHAPES[one.shape]}" for one in scene.things)
    acts = []
    for phase in scene.phases:
        who = "全部" if phase.actor is None else f"{CHINESE_COLOURS[scene.things[phase.actor].colour]}的"
        acts.append(f"{who}{CHINESE_MOTIONS[phase.motion]}")
    told = [f"{units}，{'，然后'.join(acts)}。", f"先{acts[0]}，最后{acts[-1]}。", f"画面中有{units}。"]
    return tuple(told[place % len(told)] for place in range(len(captions(scene))))


def questions(scene: Scene) -> list[tuple[str, str, str]]:
    """(question, answer, kind): how many, what colour, which motion comes first and last."""
    first, last = scene.phases[0], scene.phases[-1]
    return [
        ("how many units are there?", NUMBERS[len(scene.things) - 1], "number"),
        (
            f"what colour is the {DOMAIN.shapes[scene.things[0].shape]}?",
            DOMAIN.colours[scene.things[0].colour],
            "colour",
        ),
        ("what happens first?", DOMAIN.motions[first.motion], "temporal"),
        ("what happens last?", DOMAIN.motions[last.motion], "temporal"),
    ]


def choices(answer: str, kind: str, count: int = 5) -> list[str]:
    """Options of which one is the answer, the others of its kind; where it stands depends on the words alone."""
    words = {"number": list(NUMBERS), "colour": [*dict.fromkeys(DOMAIN.colours.values())]}
    pool = words.get(kind, list(DOMAIN.motions.values()))
    others = [word for word in pool if word != answer][: count - 1]
    place = sum(map(ord, answer)) % count
    return [*others[:place], answer, *others[place:]]


def _name(scene: Scene, index: int) -> str:
    thing = scene.things[index]
    return f"{DOMAIN.colours[thing.colour]} {DOMAIN.shapes[thing.shape]}"
