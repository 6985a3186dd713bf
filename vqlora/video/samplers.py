"""Which frames of a clip the model sees. A sampler is a function in SAMPLERS; it looks at a clip through a `Sight`.

All go by frame number; `select` sorts what a sampler takes and, where it takes too few, fills the largest gaps. On a
clip in which nothing changes every sampler is uniform. Samplers that look at the tower's features are in `logdet`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vqlora.recipe import DEFAULT_FPS, Frames
from vqlora.video import logdet
from vqlora.video.sight import Sight
from vqlora.video.video_info import DecodeError

FLOOR = 0.1  # of a density that lies in [0, 1]: no stretch of a clip is never looked at
WEIGHT_STEPS = 2**20  # densities become whole numbers, so that equal ones give exactly the uniform frames
QUERY_POWER = 3.0  # how sharply frames that fit the question are preferred

Sampler = Callable[[Frames, Sight], Sequence[int]]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Sorted indices of different frames, and how many of them the sampler left to the uniform filling."""

    indices: tuple[int, ...]
    filled: int = 0


def select(frames: Frames, sight: Sight) -> Selection:
    """min(budget, frames of the clip) frames; with the sampler 'fps' fewer where the clip is shorter than that."""
    count = sight.info.frames
    if frames.sampler == "fps":
        return Selection(indices=_fps(frames, sight))
    if count <= frames.budget:
        return Selection(indices=tuple(range(count)))
    taken = sorted(set(SAMPLERS[frames.sampler](frames, sight)))
    assert len(taken) <= frames.budget and (not taken or (taken[0] >= 0 and taken[-1] < count))
    if not taken:
        return Selection(indices=uniform(frames.budget, count), filled=frames.budget)
    filled = frames.budget - len(taken)
    for _ in range(filled):
        taken = _with_largest_gap_filled(taken, count)
    return Selection(indices=tuple(taken), filled=filled)


def uniform(budget: int, count: int) -> tuple[int, ...]:
    """The centres of `budget` equal bins of `count` frames; integers throughout, so the same on every machine."""
    return tuple((2 * place + 1) * count // (2 * budget) for place in range(budget))


def spread(density: np.ndarray, budget: int) -> list[int]:
    """`budget` frames at equal steps of the cumulated density (inverse transform); fewer where one holds several."""
    weights = np.round(density / density.max() * WEIGHT_STEPS).astype(np.int64)
    reached = np.cumsum(weights) * 2 * budget
    targets = (2 * np.arange(budget) + 1) * int(weights.sum())
    return sorted(set(np.searchsorted(reached, targets, side="right").tolist()))


# ---- samplers ---------------------------------------------------------------------------------------------------


def _uniform(frames: Frames, sight: Sight) -> Sequence[int]:
    return uniform(frames.budget, sight.info.frames)


def _random(frames: Frames, sight: Sight) -> Sequence[int]:
    """A control: the same frames whenever the same clip is asked for."""
    rng = np.random.default_rng(sight.seed)
    return rng.choice(sight.info.frames, frames.budget, replace=False).tolist()


def _fps(frames: Frames, sight: Sight) -> tuple[int, ...]:
    """The frame shown every 1 / fps seconds, thinned uniformly to the budget."""
    times = np.asarray(sight.info.times_seconds)
    times = times - times[0]
    ticks = np.arange(0.0, times[-1] + 1e-9, 1 / (frames.fps or DEFAULT_FPS))
    shown = sorted(set((np.searchsorted(times, ticks + 1e-9, side="right") - 1).tolist()))
    if len(shown) <= frames.budget:
        return tuple(shown)
    return tuple(shown[place] for place in uniform(frames.budget, len(shown)))


def _keyframe(frames: Frames, sight: Sight) -> Sequence[int]:
    """The centres of equal bins, moved to the key frame nearest to it in the bin. Nothing is decoded.

    The first key frame says nothing: every file begins with one.
    """
    try:
        keys = np.flatnonzero(sight.packets().keys)[1:]
    except DecodeError:
        return ()
    count = sight.info.frames
    taken: list[int] = []
    for place, centre in enumerate(uniform(frames.budget, count)):
        first, end = (edge * count // frames.budget for edge in (place, place + 1))
        own = keys[(keys >= first) & (keys < end)]
        taken.append(int(own[np.argmin(np.abs(own - centre))]) if own.size else centre)
    return taken


def _codec(frames: Frames, sight: Sight) -> Sequence[int]:
    """Density: bytes of the packets, key frames at the median of the others. Nothing is decoded."""
    try:
        found = sight.packets()
    except DecodeError:
        return ()
    sizes = found.sizes.astype(np.float64)
    usual = sizes[~found.keys]
    sizes[found.keys] = np.median(usual) if usual.size else 1.0
    return spread(FLOOR + np.clip(sizes / max(np.percentile(sizes, 90), 1.0), 0, 1), frames.budget)


def _vectors(frames: Frames, sight: Sight) -> Sequence[int]:
    """Density: mean length of the motion vectors; pictures without any take their neighbours'.

    Less than a quarter of a pixel, H.264's own step, is an encoder's convenience and no motion.
    """
    lengths = sight.vectors()
    step = 0.25 / np.hypot(sight.info.width, sight.info.height)
    lengths = np.where(lengths < step, 0.0, lengths)  # NaN stays NaN
    known = np.flatnonzero(~np.isnan(lengths))
    if not known.size or not lengths[known].max():
        return ()
    lengths = np.interp(np.arange(len(lengths)), known, lengths[known])
    return spread(FLOOR + lengths / lengths.max(), frames.budget)


def _motion(frames: Frames, sight: Sight) -> Sequence[int]:
    return spread(FLOOR + sight.signals().motion, frames.budget)


def _entropy(frames: Frames, sight: Sight) -> Sequence[int]:
    """Density: entropy x motion, so that equal information lies between neighbours."""
    signals = sight.signals()
    return spread(FLOOR + signals.entropy * signals.motion, frames.budget)


def _scene(frames: Frames, sight: Sight) -> Sequence[int]:
    """Bin centres of scenes, whose quotas follow length x mean density, one each while the budget lasts."""
    signals = sight.signals()
    scenes = signals.scenes
    if len(scenes) == 1:
        return uniform(frames.budget, sight.info.frames)
    density = FLOOR + signals.entropy * signals.motion
    weights = np.array([float(density[scene.start : scene.stop].sum()) for scene in scenes])
    quotas = quota(weights, [len(scene) for scene in scenes], frames.budget)
    return [scene[place] for scene, own in zip(scenes, quotas, strict=True) for place in uniform(own, len(scene))]


def quota(weights: np.ndarray, rooms: Sequence[int], budget: int) -> list[int]:
    """Whole shares of `budget` by weight, at most `rooms` each; one for each while the budget lasts, heaviest first."""
    shares = [0] * len(rooms)
    for place in np.argsort(-weights, kind="stable")[:budget]:
        shares[int(place)] = 1
    for _ in range(min(budget, sum(rooms)) - sum(shares)):
        owed = [w / (own + 1) if own < room else -1.0 for w, own, room in zip(weights, shares, rooms, strict=True)]
        shares[int(np.argmax(owed))] += 1
    return shares


def _fidelity(frames: Frames, sight: Sight) -> Sequence[int]:
    """Density: entropy x motion, less where quantisation hurts the features, none where it hurts most."""
    signals, features = sight.signals(), sight.features(frames.budget)
    places = features.indices
    scene_of = np.repeat(np.arange(len(signals.scenes)), [len(scene) for scene in signals.scenes])[places]
    score = logdet.faithful(signals.entropy[places] * signals.motion[places], features.noise, scene_of)
    if score.max() == score.min():
        return ()
    return [int(places[place]) for place in spread(score, min(frames.budget, len(places)))]


def _query(frames: Frames, sight: Sight) -> Sequence[int]:
    """Density: how well a frame fits the question, as BOLT has it (arXiv:2503.21483)."""
    features = sight.features(frames.budget)
    fit = features.relevance
    if fit is None or fit.max() == fit.min():
        return ()
    share = ((fit - fit.min()) / (fit.max() - fit.min())) ** QUERY_POWER
    return [int(features.indices[place]) for place in spread(FLOOR + share, min(frames.budget, len(share)))]


def _logdet(kind: logdet.Kind) -> Sampler:
    def sample(frames: Frames, sight: Sight) -> Sequence[int]:
        features = sight.features(frames.budget)
        return [int(features.indices[place]) for place in logdet.most_information(features, frames.budget, kind)]

    return sample


def _with_largest_gap_filled(taken: list[int], count: int) -> list[int]:
    """One more frame: the middle of the longest stretch of frames not taken, the first of equal ones."""
    edges = [-1, *taken, count]
    start, end = max(pairwise(edges), key=lambda pair: pair[1] - pair[0])
    return sorted([*taken, (start + end) // 2])


SAMPLERS: dict[str, Sampler] = {
    "uniform": _uniform,
    "fps": _fps,
    "random": _random,
    "keyframe": _keyframe,
    "codec": _codec,
    "vectors": _vectors,
    "motion": _motion,
    "entropy": _entropy,
    "scene": _scene,
    "fidelity": _fidelity,
    "quant_logdet": _logdet("quantised"),
    "flat_logdet": _logdet("flat"),
    "full_logdet": _logdet("full"),
    "query": _query,
}
