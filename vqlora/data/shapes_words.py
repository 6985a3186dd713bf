"""The words for a scene's concepts, English and Chinese, in two vocabularies each.

PLAIN words are those of pretraining. DOMAIN words are those of the downstream splits: most mean something else there
(what is called 'star' is a circle), others are new. Every domain word occurs in pretraining too, in texts that have
nothing to do with the clip, because embeddings stay frozen under LoRA: a word never seen could never be said.
Places, numbers, sounds and yes or no are the same in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vqlora.data.shapes import COLOURS, MOTIONS, NOISES, SHAPES, SIZES


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """Words by concept; within shapes, colours and motions each concept has one word, each word one concept."""

    language: str
    style: str  # 'plain' or 'log': the grammar of captions
    shapes: Mapping[str, str]
    colours: Mapping[str, str]
    sizes: Mapping[str, str]
    motions: Mapping[str, str]
    units: tuple[str, str, str]  # one, two, three of them
    sounds: Mapping[str, str]
    numbers: tuple[str, ...]
    places: tuple[str, ...]  # of a 3 x 3 grid, row by row
    sides: Mapping[str, str]
    heights: tuple[str, str]  # of a tone: low, high
    levels: tuple[str, str]  # of a sound: soft, loud
    no_yes: tuple[str, str]


def _words(concepts: Sequence[str], words: str) -> dict[str, str]:
    return dict(zip(concepts, [word.strip() for word in words.split(",")], strict=True))


SIDES = ("left", "right", "above", "below")
PLAIN = Lexicon(
    language="en",
    style="plain",
    shapes={shape: shape for shape in SHAPES},
    colours={colour: colour for colour in COLOURS},
    sizes={size: size for size in SIZES},
    motions=_words(
        MOTIONS,
        "rests, goes left, goes right, goes up, goes down, circles, bounces, grows, shrinks, turns, blinks, appears, "
        "vanishes, passes behind",
    ),
    units=("one unit", "two units", "three units"),
    sounds={"tone": "tone", "click": "click", **{noise: noise for noise in NOISES}},
    numbers=("zero", "one", "two", "three", "four", "five", "six"),
    places=(
        "top left", "top middle", "top right", "middle left", "middle", "middle right", "bottom left", "bottom middle",
        "bottom right",
    ),
    sides=_words(SIDES, "left of, right of, above, below"),
    heights=("low", "high"),
    levels=("soft", "loud"),
    no_yes=("no", "yes"),
)  # fmt: skip
DOMAIN = replace(
    PLAIN,
    style="log",
    shapes=_words(SHAPES, "star, crate, moon, beacon, circle, hoop, rail, skiff"),
    # Four colours keep their names, four are swapped round.
    colours={**PLAIN.colours, "red": "blue", "blue": "purple", "purple": "orange", "orange": "red"},
    sizes={"small": "light", "big": "heavy"},
    motions=_words(
        MOTIONS,
        "holds, ports, steers, climbs, dives, orbits, hops, charges, drains, spins, flares, docks, leaves, shadows",
    ),
)
PLAIN_ZH = Lexicon(
    language="zh",
    style="plain",
    shapes=_words(SHAPES, "圆形, 方形, 三角, 星形, 十字, 圆环, 长条, 月牙"),
    colours=_words(COLOURS, "红色, 绿色, 蓝色, 黄色, 紫色, 橙色, 青色, 白色"),
    sizes={"small": "小", "big": "大"},
    motions=_words(MOTIONS, "静止, 左移, 右移, 上移, 下移, 绕圈, 弹跳, 变大, 缩小, 旋转, 闪烁, 出现, 消失, 穿过"),
    units=("一个单位", "两个单位", "三个单位"),
    sounds=_words(("tone", "click", *NOISES), "音调, 咔嗒声, 敲击声, 钟声, 嗡嗡声, 口哨声"),
    numbers=("零", "一", "二", "三", "四", "五", "六"),
    places=tuple("左上,上方,右上,左边,中间,右边,左下,下方,右下".split(",")),
    sides=_words(SIDES, "左边, 右边, 上方, 下方"),
    heights=("低", "高"),
    levels=("轻声", "响亮"),
    no_yes=("否", "是"),
)
DOMAIN_ZH = replace(
    PLAIN_ZH,
    style="log",
    shapes=_words(SHAPES, "星形, 货箱, 月牙, 灯塔, 圆形, 铁圈, 轨道, 小船"),
    colours={**PLAIN_ZH.colours, "red": "蓝色", "blue": "紫色", "purple": "橙色", "orange": "红色"},
    sizes={"small": "轻型", "big": "重型"},
    motions=_words(MOTIONS, "停留, 靠港, 转舵, 爬升, 下潜, 环绕, 跳跃, 充能, 耗尽, 自转, 发光, 入坞, 离开, 尾随"),
)
PLAINS = {"en": PLAIN, "zh": PLAIN_ZH}
DOMAINS = {"en": DOMAIN, "zh": DOMAIN_ZH}
