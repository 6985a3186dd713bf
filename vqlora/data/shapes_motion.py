"""Where every thing of a scene is at each frame: what its phases do to it."""

from __future__ import annotations

import numpy as np

from vqlora.data.shapes import FPS, MARGIN, SIDE, SIZES, WAYS, Phase, Scene

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
