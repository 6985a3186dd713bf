"""The embedded data's world: scenes of moving shapes, drawn from a seed, with their ground truth.

A scene is one to three objects (shape, colour, size) over two to four phases whose order matters. Neighbours:
`shapes_render` draws it, `shapes_text` describes it, `shapes_write` writes it as MP4 in MSR-VTT's layout.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

VERSION = "2026.11"
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
TURNLESS = ("circle", "ring")  # a turn of these cannot be seen
SPLITS = {"pretrain": 0, "train": 1, "val": 2, "test": 3}
PRESETS = {
    "tiny": {"train": 24, "val": 8, "test": 8},
    "small": {"train": 512, "val": 64, "test": 128},
    "full": {"train": 8192, "val": 512, "test": 1024},
}
MARGIN = 18.0  # pixels an object's centre keeps from the border
MIN_PHASE_SECONDS = 0.5
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
    """plain, gradient or grain, so that a frame's entropy is not its objects' alone. Colours in 0..255."""

    kind: str
    first: tuple[int, int, int]
    second: tuple[int, int, int]
    angle: float
    grain: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Ground truth of one clip. starts: positions (x, y) in pixels, one row per shot; a cut starts shot 2 at `cut`."""

    split: str
    index: int
    seconds: float
    things: tuple[Thing, ...]
    phases: tuple[Phase, ...]
    backdrops: tuple[Backdrop, ...]
    starts: tuple[tuple[tuple[float, float], ...], ...]
    cut: float | None

    @property
    def num_frames(self) -> int:
        return round(self.seconds * FPS)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def reserved(shape: str, colour: str) -> bool:
    """Whether this combination (a quarter of all) is rare in pretraining; each downstream clip has one."""
    return (SHAPES.index(shape) + COLOURS.index(colour)) % 4 == 0


def draw_scene(split: str, index: int) -> Scene:
    """The scene of a split and index; the same on every machine."""
    rng = np.random.default_rng([20261123, SPLITS[split], index])
    things = _draw_things(rng, downstream=split != "pretrain")
    motions = _draw_motions(rng, things)
    seconds = round(float(rng.uniform(4, 12)) * FPS) / FPS
    bounds = _draw_bounds(rng, len(motions), seconds)
    cut = int(rng.integers(1, len(motions))) if rng.random() < 0.15 else None
    starts = [_draw_places(rng, len(things)) for _ in range(1 if cut is None else 2)]
    phases = tuple(
        Phase(motion=motion, actor=actor, other=other, start=bounds[i], end=bounds[i + 1])
        for i, (motion, actor, other) in enumerate(motions)
    )
    return Scene(
        split=split,
        index=index,
        seconds=seconds,
        things=things,
        phases=phases,
        backdrops=tuple(_draw_backdrop(rng) for _ in starts),
        starts=tuple(starts),
        cut=None if cut is None else bounds[cut],
    )


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


def _draw_motions(rng: np.random.Generator, things: tuple[Thing, ...]) -> list[tuple[str, int | None, int | None]]:
    """Two to four (motion, actor, other) that can follow each other; at least one is not a stay."""
    count = int(rng.choice([2, 3, 4], p=[0.45, 0.35, 0.2]))
    gone: set[int] = set()
    acted: set[int] = set()
    resized: set[int] = set()
    out: list[tuple[str, int | None, int | None]] = []
    for place in range(count):
        alive = [i for i in range(len(things)) if i not in gone]
        stays = sum(motion == "stay" for motion, _, _ in out)
        if not alive or (rng.random() < 0.18 and stays == 0):
            out.append(("stay", None, None))
            continue
        actor = int(rng.choice(alive))
        options = [m for m in MOTIONS if m != "stay"]
        if things[actor].shape in TURNLESS:
            options.remove("rotate")
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


def _draw_bounds(rng: np.random.Generator, count: int, seconds: float) -> list[float]:
    """Phase boundaries on frame times; lengths are heavy-tailed (log-normal, sigma 1): long stretches and bursts."""
    lengths = rng.lognormal(0.0, 1.0, count)
    free = seconds - count * MIN_PHASE_SECONDS
    ends = np.cumsum(MIN_PHASE_SECONDS + free * lengths / lengths.sum())
    return [0.0, *[round(float(end) * FPS) / FPS for end in ends[:-1]], seconds]


def _draw_places(rng: np.random.Generator, count: int) -> tuple[tuple[float, float], ...]:
    cells = rng.permutation(9)[:count]
    jitter = rng.uniform(-4, 4, (count, 2))
    return tuple(
        (28.0 + 28 * (c % 3) + float(j[0]), 28.0 + 28 * (c // 3) + float(j[1]))
        for c, j in zip(cells, jitter, strict=True)
    )


def _draw_backdrop(rng: np.random.Generator) -> Backdrop:
    first, second = rng.integers(10, 90, (2, 3)).tolist()
    kind = str(rng.choice(["plain", "gradient", "grain"]))
    return Backdrop(
        kind=kind,
        first=tuple(first),
        second=tuple(second) if kind == "gradient" else tuple(first),
        angle=float(rng.uniform(0, 2 * np.pi)),
        grain=float(rng.uniform(10, 28)) if kind == "grain" else 0.0,
    )


# ---- where everything is at each frame ------------------------------------------------------------------------

STATE = ("x", "y", "half_width", "angle", "visible")


def states(scene: Scene) -> np.ndarray:
    """State of each thing at each native frame, float32 [frames, things, 5] in the order of STATE."""
    times = np.arange(scene.num_frames) / FPS
    out = np.zeros((len(times), len(scene.things), 5), np.float32)
    for i, thing in enumerate(scene.things):
        late = any(p.motion == "appear" and p.actor == i for p in scene.phases)
        out[:, i] = (*scene.starts[0][i], SIZES[thing.size], 0.0, 0.0 if late else 1.0)
    for phase in scene.phases:
        after = times >= phase.start
        if scene.cut is not None and phase.start == scene.cut:
            out[after, :, :2] = np.array(scene.starts[1], np.float32)
        if phase.actor is not None:
            progress = np.clip((times[after] - phase.start) / (phase.end - phase.start), 0, 1)
            first = out[np.argmax(after)].copy()
            out[after, phase.actor] = _move(phase, first, progress, times[after] - phase.start)
    return out


def _move(phase: Phase, first: np.ndarray, u: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """States [n, 5] of the actor at progress u in [0, 1] (1 ever after), from its state at the phase's start."""
    assert phase.actor is not None
    out = np.repeat(first[phase.actor][None], len(u), axis=0)
    x, y = out[0, 0], out[0, 1]
    if phase.motion in WAYS:
        axis, sign = (0 if phase.motion in ("left", "right") else 1), (-1 if phase.motion in ("left", "up") else 1)
        room = (out[0, axis] - MARGIN / 2) if sign < 0 else (SIDE - MARGIN / 2 - out[0, axis])
        out[:, axis] += sign * min(room, 42.0) * u
    elif phase.motion == "circle":
        centre = np.array([x + (14 if x < SIDE / 2 else -14), y])
        turn = 2 * np.pi * u
        out[:, 0] = centre[0] + (x - centre[0]) * np.cos(turn)
        out[:, 1] = centre[1] + 14 * np.sin(turn) * (1 if y < SIDE / 2 else -1)
    elif phase.motion == "bounce":
        height = 20 if y > 40 else -20
        out[:, 1] -= height * np.abs(np.sin(3 * np.pi * u))
    elif phase.motion == "grow":
        out[:, 2] *= 1 + 0.8 * u
    elif phase.motion == "shrink":
        out[:, 2] *= 1 - 0.5 * u
    elif phase.motion == "rotate":
        out[:, 3] += 2 * np.pi * u
    elif phase.motion == "blink":
        out[:, 4] = np.where((u > 0) & (u < 1) & (np.floor(seconds * 4) % 2 == 1), 0.0, 1.0)
    elif phase.motion == "appear":
        out[:, 4] = (u >= 0.25).astype(np.float32)
    elif phase.motion == "vanish":
        out[:, 4] = (u < 0.25).astype(np.float32)
    elif phase.motion == "behind":
        assert phase.other is not None
        out[:, :2] += u[:, None] * 2 * (first[phase.other][:2] - out[0, :2])
    else:
        raise AssertionError(f"motion {phase.motion!r} of {phase} is not drawn")
    out[:, :2] = np.clip(out[:, :2], MARGIN / 2, SIDE - MARGIN / 2)
    return out
