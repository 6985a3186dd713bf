"""The embedded data's world: scenes of moving, sounding shapes, drawn from a seed, with their ground truth.

A scene is one to three objects (shape, colour, size) over two to four phases whose order matters; a long one lasts half
a minute and more, with brief events between long still stretches. Neighbours: `shapes_motion` says where everything is,
`shapes_render` draws it, `shapes_sound` lets it sound, `shapes_words` and `shapes_text` describe it,
`shapes_questions` asks about it, `shapes_tasks` makes conversations of all that, `shapes_write` writes MP4 files in
MSR-VTT's layout. The embedded bases are pretrained on what these say: whoever changes the pretraining split, its texts
or the tokenizer's corpus has to pretrain anew.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

VERSION = "2026.12"
SIDE = 112  # pixels
FPS = 8
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "bar", "moon")
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "cyan", "white")
SIZES = {"small": 9.0, "big": 14.0}  # half width in pixels
MOTIONS = (
    "stay", "left", "right", "up", "down", "circle", "bounce", "grow", "shrink", "rotate", "blink", "appear", "vanish",
    "behind",
)  # fmt: skip
WAYS = ("left", "right", "up", "down")
TRANSIENT = ("circle", "bounce", "rotate", "blink")  # end as they began: only frames from within show them
CHANGES = ("grow", "shrink", "appear", "vanish")  # seen by comparing before and after
ENTROPIES = ("low", "middle", "high")  # of a backdrop: plain, a gradient with faint grain, strong grain
NOISES = ("knock", "chime", "buzz", "whistle")  # heard only: nothing in the picture goes with them
TURNLESS = ("circle", "ring")  # a turn of these cannot be seen
SPLITS = {"pretrain": 0, "train": 1, "val": 2, "test": 3}
PRESETS = {
    "tiny": {"train": 24, "val": 8, "test": 8},
    "small": {"train": 512, "val": 64, "test": 128},
    "medium": {"train": 4096, "val": 128, "test": 512},
    "medium-2": {"train": 4096, "val": 128, "test": 512},
    "full": {"train": 8192, "val": 512, "test": 1024},
    "long": {"train": 64, "val": 16, "test": 32},
}
FIRST_TEST = {"medium-2": 512}  # where a preset's test clips start: fresh ones for another attempt at a claim
SECONDS = {False: (4.0, 12.0), True: (30.0, 60.0)}  # of a clip, by whether it is long
MARGIN = 18.0  # pixels an object's centre keeps from the border
MIN_PHASE_SECONDS = 0.5
MAX_LONG_EVENT_SECONDS = 5.0
CLICK_SECONDS, NOISE_SECONDS = 0.04, 0.6
RARITY = 0.1  # how often a reserved combination is drawn in pretraining, against any other


@dataclass(frozen=True, kw_only=True)
class Thing:
    """One object. Its index in the scene is its layer: later ones are drawn over earlier ones."""

    shape: str
    colour: str
    size: str


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One thing does one motion from start to end (seconds); `other` is what it passes behind. Stay: actor None."""

    motion: str
    actor: int | None
    other: int | None
    start: float
    end: float


@dataclass(frozen=True, kw_only=True)
class Backdrop:
    """What lies behind. entropy: one of ENTROPIES; grain: deviation in 0..255, flickering from frame to frame or not.

    Standing grain has a frame's entropy without motion, flickering grain has both. Colours in 0..255.
    """

    entropy: str
    first: tuple[int, int, int]
    second: tuple[int, int, int]
    angle: float
    grain: float
    flickers: bool


@dataclass(frozen=True, kw_only=True)
class Sound:
    """kind: 'tone' (of a motion, as long as it lasts), 'click' (of a cut) or one of NOISES. Seconds.

    motion gives a tone its pitch, high puts it an octave up; neither high nor loud can be seen.
    """

    kind: str
    motion: str | None
    start: float
    end: float
    high: bool
    loud: bool


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Ground truth of one clip. starts: positions (x, y) in pixels, one row per shot; a cut starts shot 2 at `cut`."""

    split: str
    index: int
    long: bool
    seconds: float
    things: tuple[Thing, ...]
    phases: tuple[Phase, ...]
    backdrops: tuple[Backdrop, ...]
    starts: tuple[tuple[tuple[float, float], ...], ...]
    cut: float | None
    sounds: tuple[Sound, ...]

    @property
    def num_frames(self) -> int:
        return round(self.seconds * FPS)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def reserved(shape: str, colour: str) -> bool:
    """Whether this combination (a quarter of all) is rare in pretraining; each downstream clip has one."""
    return (SHAPES.index(shape) + COLOURS.index(colour)) % 4 == 0


def draw_scene(split: str, index: int, *, long: bool = False) -> Scene:
    """The scene of a split and index; the same on every machine. Long scenes are counted on their own."""
    rng = np.random.default_rng([20261123, SPLITS[split], index, int(long)])
    things = _draw_things(rng, downstream=split != "pretrain")
    motions = _draw_motions(rng, things, long)
    seconds = round(float(rng.uniform(*SECONDS[long])) * FPS) / FPS
    spans = _draw_long_spans(rng, len(motions), seconds) if long else _draw_spans(rng, len(motions), seconds)
    phases = tuple(
        Phase(motion=motion, actor=actor, other=other, start=start, end=end)
        for (motion, actor, other), (start, end) in zip(motions, spans, strict=True)
    )
    cut = phases[int(rng.integers(1, len(phases)))].start if rng.random() < 0.15 else None
    starts = tuple(_draw_places(rng, len(things)) for _ in range(1 if cut is None else 2))
    return Scene(
        split=split,
        index=index,
        long=long,
        seconds=seconds,
        things=things,
        phases=phases,
        backdrops=_draw_backdrops(rng, len(starts)),
        starts=starts,
        cut=cut,
        sounds=_draw_sounds(rng, phases, cut, seconds),
    )


def draw_scenes(counts: Mapping[str, int], *, long: bool = False, first_test: int = 0) -> dict[str, list[Scene]]:
    """The first scenes of each split; of test from number `first_test` on."""
    firsts = {"test": first_test}
    return {
        split: [draw_scene(split, firsts.get(split, 0) + place, long=long) for place in range(count)]
        for split, count in counts.items()
    }


def draw_preset(preset: str) -> dict[str, list[Scene]]:
    """The scenes of one of PRESETS."""
    return draw_scenes(PRESETS[preset], long=preset == "long", first_test=FIRST_TEST.get(preset, 0))


def _draw_things(rng: np.random.Generator, downstream: bool) -> tuple[Thing, ...]:
    count = int(rng.choice([1, 2, 3], p=[0.25, 0.45, 0.3]))
    colours = rng.permutation(len(COLOURS))[:count]  # a colour names its thing, so no two share one
    wanted = int(rng.integers(count)) if downstream else -1
    things: list[Thing] = []
    for place, colour in enumerate(colours):
        weights = np.ones(len(SHAPES))
        if place == wanted:
            weights = np.array([float(reserved(s, COLOURS[colour])) for s in SHAPES])
        elif not downstream:
            weights = np.array([RARITY if reserved(s, COLOURS[colour]) else 1.0 for s in SHAPES])
        shape = str(rng.choice(SHAPES, p=weights / weights.sum()))
        size = str(rng.choice(tuple(SIZES)))
        things.append(Thing(shape=shape, colour=COLOURS[colour], size=size))
    return tuple(things)


def _draw_motions(
    rng: np.random.Generator, things: tuple[Thing, ...], long: bool
) -> list[tuple[str, int | None, int | None]]:
    """Two to four (motion, actor, other) that can follow each other, three to six without a stay in a long clip."""
    count = int(rng.choice([3, 4, 5, 6])) if long else int(rng.choice([2, 3, 4], p=[0.45, 0.35, 0.2]))
    gone: set[int] = set()
    acted: set[int] = set()
    resized: set[int] = set()
    out: list[tuple[str, int | None, int | None]] = []
    for place in range(count):
        alive = [i for i in range(len(things)) if i not in gone]
        stays = sum(motion == "stay" for motion, _, _ in out)
        if not alive or (not long and rng.random() < 0.18 and stays == 0):
            out.append(("stay", None, None))
            continue
        actor = int(rng.choice(alive))
        options = [m for m in MOTIONS if m != "stay"]
        if things[actor].shape in TURNLESS:
            options.remove("rotate")
        if long and len(alive) == 1 and place < count - 1:
            options.remove("vanish")  # somebody has to act next
        if actor in acted or place == 0:
            options.remove("appear")
        if actor in resized:
            options = [m for m in options if m not in ("grow", "shrink")]
        # What passes behind must lie under what hides it, and both must be there.
        others = [i for i in alive if i > actor and not any(m == "appear" for m, a, _ in out if a == i)]
        if not others:
            options.remove("behind")
        if out and out[-1][1] == actor:
            options = [m for m in options if m != out[-1][0]]
        # A way already gone would end at the border at once.
        options = [m for m in options if m not in WAYS or (m, actor, None) not in out]
        motion = str(rng.choice(options))
        other = int(rng.choice(others)) if motion == "behind" else None
        out.append((motion, actor, other))
        acted.add(actor)
        if other is not None:
            acted.add(other)  # it must be in sight from the start
        if motion == "vanish":
            gone.add(actor)
        if motion in ("grow", "shrink"):
            resized.add(actor)
    return out


def _draw_spans(rng: np.random.Generator, count: int, seconds: float) -> list[tuple[float, float]]:
    """Phases end to end on frame times; lengths are heavy-tailed (log-normal, sigma 1): long stretches and bursts."""
    lengths = rng.lognormal(0.0, 1.0, count)
    free = seconds - count * MIN_PHASE_SECONDS
    ends = np.cumsum(MIN_PHASE_SECONDS + free * lengths / lengths.sum())
    bounds = [0.0, *[round(float(end) * FPS) / FPS for end in ends[:-1]], seconds]
    return list(itertools.pairwise(bounds))


def _draw_long_spans(rng: np.random.Generator, count: int, seconds: float) -> list[tuple[float, float]]:
    """Brief phases on frame times with heavy-tailed still stretches before, between and after them."""
    lengths = np.round(rng.uniform(MIN_PHASE_SECONDS, MAX_LONG_EVENT_SECONDS, count) * FPS)
    pauses = rng.lognormal(0.0, 1.0, count + 1)
    free = seconds * FPS - lengths.sum()
    gaps = np.floor(free * pauses / pauses.sum())[:count]
    starts = np.cumsum(gaps) + np.concatenate([[0.0], np.cumsum(lengths)[:-1]])
    return [(float(a) / FPS, float(a + b) / FPS) for a, b in zip(starts, lengths, strict=True)]


def _draw_places(rng: np.random.Generator, count: int) -> tuple[tuple[float, float], ...]:
    cells = rng.permutation(9)[:count]
    jitter = rng.uniform(-4, 4, (count, 2))
    return tuple(
        (28.0 + 28 * (c % 3) + float(j[0]), 28.0 + 28 * (c // 3) + float(j[1]))
        for c, j in zip(cells, jitter, strict=True)
    )


def _draw_backdrops(rng: np.random.Generator, shots: int) -> tuple[Backdrop, ...]:
    """One a shot; every second cut changes the entropy too, so that it varies within some clips."""
    entropy = str(rng.choice(ENTROPIES))
    out = []
    for _ in range(shots):
        first, second = rng.integers(10, 90, (2, 3)).tolist()
        grain = {"low": 0.0, "middle": float(rng.uniform(3, 7)), "high": float(rng.uniform(14, 28))}[entropy]
        out.append(
            Backdrop(
                entropy=entropy,
                first=tuple(first),
                second=tuple(first if entropy == "low" else second),
                angle=float(rng.uniform(0, 2 * np.pi)),
                grain=grain,
                flickers=bool(rng.random() < 0.5) and entropy == "high",
            )
        )
        entropy = str(rng.choice(ENTROPIES)) if rng.random() < 0.5 else entropy
    return tuple(out)


def _draw_sounds(
    rng: np.random.Generator, phases: tuple[Phase, ...], cut: float | None, seconds: float
) -> tuple[Sound, ...]:
    """A tone a motion, a click at a cut, up to three noises at any time; in order of their start."""
    events: list[tuple[str, str | None, float, float]] = [
        ("tone", p.motion, p.start, p.end) for p in phases if p.actor is not None
    ]
    if cut is not None:
        events.append(("click", None, cut, cut + CLICK_SECONDS))
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.25, 0.35, 0.25, 0.15]))):
        start = round(float(rng.uniform(0.2, seconds - NOISE_SECONDS - 0.2)), 2)
        events.append((str(rng.choice(NOISES)), None, start, start + NOISE_SECONDS))
    sounds = [
        Sound(kind=kind, motion=motion, start=start, end=end, high=bool(high), loud=bool(loud))
        for (kind, motion, start, end), (high, loud) in zip(events, rng.random((len(events), 2)) < 0.5, strict=True)
    ]
    return tuple(sorted(sounds, key=lambda sound: sound.start))
