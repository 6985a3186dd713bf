"""What a scene sounds like: a waveform as a pure function of its ground truth, no file needed.

A tone for as long as a motion lasts (each motion its pitch), a click at a cut, and noises that no picture shows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vqlora.data.shapes import MOTIONS, Scene, Sound

RATE_HZ = 16_000
LOWEST_HZ, STEP = 220.0, 2 ** (1 / 5)  # the first motion's tone; from one motion's to the next
LOUD, SOFT = 0.3, 0.06  # peak; three sounds at once stay under 1
FADE_SECONDS = 0.02


def waveform(scene: Scene) -> np.ndarray:
    """The scene's sound, int16 [seconds x RATE_HZ], mono.

    Whole numbers, so that the last bit of a sine, which differs between processors, does not reach a file.
    """
    out = np.zeros(round(scene.seconds * RATE_HZ))
    for sound in scene.sounds:
        first, last = round(sound.start * RATE_HZ), min(round(sound.end * RATE_HZ), len(out))
        out[first:last] += _played(sound, np.arange(last - first) / RATE_HZ)
    return np.round(np.clip(out, -1, 1) * 32767).astype(np.int16)


def pitch_hz(sound: Sound) -> float:
    """Base frequency of a tone or a noise."""
    steps = 0 if sound.motion is None else MOTIONS.index(sound.motion)
    return LOWEST_HZ * STEP**steps * (2 if sound.high else 1)


def _played(sound: Sound, t: np.ndarray) -> np.ndarray:
    """A sound at times t (seconds since its start), faded in and out."""
    edge = np.minimum(t, t[-1] - t) if sound.kind not in STRUCK else t[-1] - t
    fade = np.clip(edge / FADE_SECONDS, 0, 1)
    return (LOUD if sound.loud else SOFT) * fade * VOICES[sound.kind](t, pitch_hz(sound))


def _hiss(count: int) -> np.ndarray:
    return np.clip(np.random.default_rng(11).standard_normal(count) / 3, -1, 1)


def _tone(t: np.ndarray, hz: float) -> np.ndarray:
    return 0.8 * np.sin(2 * np.pi * hz * t) + 0.2 * np.sin(4 * np.pi * hz * t)


def _click(t: np.ndarray, hz: float) -> np.ndarray:
    return _hiss(len(t)) * np.exp(-t / 0.008)


def _knock(t: np.ndarray, hz: float) -> np.ndarray:
    """Two thumps."""
    since = np.where(t < 0.25, t, t - 0.25)
    return (0.7 * np.sin(2 * np.pi * hz / 2 * since) + 0.3 * _hiss(len(t))) * np.exp(-since / 0.03)


def _chime(t: np.ndarray, hz: float) -> np.ndarray:
    return sum(np.sin(2 * np.pi * hz * part * t) for part in (4.0, 5.0, 6.0)) / 3 * np.exp(-t / 0.2)


def _buzz(t: np.ndarray, hz: float) -> np.ndarray:
    return np.sign(np.sin(2 * np.pi * hz / 2 * t)) * 0.6


def _whistle(t: np.ndarray, hz: float) -> np.ndarray:
    """Rises by an octave."""
    return np.sin(2 * np.pi * 6 * hz * (t + t**2 / (2 * t[-1])))


VOICES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "tone": _tone, "click": _click, "knock": _knock, "chime": _chime, "buzz": _buzz, "whistle": _whistle,
}  # fmt: skip
STRUCK = ("click", "knock", "chime")  # begin at full strength
