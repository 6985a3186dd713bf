"""What moves, how much there is to see, and where scenes change: scores of a clip's frames, from its thumbnails.

All on 64 x 64 luma (32 x 32 chroma for scene changes), in one pass (`passes`). Used to choose frames (`samplers`) and
by adapters whose rank follows motion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vqlora.video.passes import SIDE, Thumbnails

LOW, HIGH = 10, 90  # percentiles between which a clip's motion is stretched to [0, 1]
FLOOR = 3 / 255  # of that range, which grain alone can reach in part: smaller ones are not stretched
ROUNDING = 0.1  # grey levels; an encoder changes a still picture by that much
BLOCK = 4  # thumbnail values a side that are averaged before frames are compared
CUT_RATIO, CUT_CHANGE, CUT_REACH = 2.5, 8.0, 2  # after PySceneDetect's AdaptiveDetector, which compares in HSV
SCENE_FRAMES = 15  # of a scene at least, as there


@dataclass(frozen=True, kw_only=True, eq=False)
class Signals:
    """Scores of frames, each [frames].

    difference: temporal information as ITU-T P.910 has it, the standard deviation of Y_t - Y_(t-1), luma in [0, 1], of
    means of 4 x 4 blocks, less what grain alone would give them. Per frame; the first frame has the second one's.
    entropy: of the 256-bin luma histogram over 8 bits, in [0, 1]. cuts: whether a scene begins at the frame.
    """

    difference: np.ndarray
    entropy: np.ndarray
    cuts: np.ndarray

    def __post_init__(self) -> None:
        assert len(self.difference) == len(self.entropy) == len(self.cuts)

    @property
    def motion(self) -> np.ndarray:
        """In [0, 1]: (difference - q10) / max(q90 - q10, three grey levels), clipped; zero where nothing moves."""
        return _stretched(self.difference)

    def inside(self, indices: Sequence[int]) -> Signals:
        """Of a stretch of the file; a cut at its first frame begins nothing."""
        places = np.asarray(indices)
        cuts = self.cuts[places].copy()
        cuts[0] = False
        difference = self.difference[places].copy()
        difference[0] = difference[min(1, len(difference) - 1)]
        return Signals(difference=difference, entropy=self.entropy[places], cuts=cuts)

    @property
    def scenes(self) -> list[range]:
        """Places of the frames of each scene, in order; they cover the clip."""
        starts = [0, *(int(place) for place in np.flatnonzero(self.cuts) if place), len(self.cuts)]
        return [range(start, end) for start, end in pairwise(starts)]


def signals_of(found: Thumbnails, frames: int, sizes: np.ndarray | None = None) -> Signals:
    """Scores of all `frames` of a file from the thumbnails of some.

    Between two thumbnails motion is shared out evenly and entropy is interpolated. A cut lies where a frame's packet
    is largest between them (`sizes` [frames]), or at the later one.
    """
    indices = found.indices
    steps = np.abs(np.diff(found.luma.astype(np.int16), axis=0)).mean((1, 2))
    moved = _moved(np.diff(found.luma.astype(np.float32), axis=0)) / 255
    colour = np.abs(np.diff(found.chroma.astype(np.int16), axis=0)).mean((2, 3)).sum(1)
    gaps = np.diff(indices)
    entropy = np.interp(np.arange(frames), indices, [_entropy(luma) for luma in found.luma])
    difference = np.zeros(frames)
    for start, gap, step in zip(indices, gaps, moved, strict=False):
        difference[start + 1 : start + 1 + gap] = step / gap
    difference[: indices[0] + 1] = difference[min(indices[0] + 1, frames - 1)]
    cuts = np.zeros(frames, bool)
    for place in _cut_places(steps + colour, indices):
        between = np.arange(indices[place] + 1, indices[place + 1] + 1)
        cuts[between[-1] if sizes is None else between[int(np.argmax(sizes[between]))]] = True
    return Signals(difference=difference, entropy=entropy, cuts=cuts)


def _moved(change: np.ndarray) -> np.ndarray:
    """Standard deviation between the blocks of differences [n, 64, 64], in grey levels [n].

    A block's mean of 16 values of grain has a 16th of their variance, which is known from the spread within blocks
    (the between-groups component of variance); what moves is larger than a block.
    """
    # slices are many times faster than the mean of a reshaped array
    rows = np.add.reduce([change[:, place::BLOCK] for place in range(BLOCK)])
    means = np.add.reduce([rows[:, :, place::BLOCK] for place in range(BLOCK)]) / BLOCK**2
    within = np.einsum("nyx,nyx->n", change, change) / SIDE**2 - (means**2).mean((1, 2))
    moved = np.sqrt(np.maximum(means.var((1, 2)) - within / (BLOCK**2 - 1), 0.0))
    return np.where(moved < ROUNDING, 0.0, moved)


def scores_of(signals: Signals, places: Sequence[int]) -> dict[str, np.ndarray]:
    """How much happens around each chosen frame, in [0, 1]: each score [n] of the frames up to half way to the next.

    motion: the mean of that stretch, stretched as `Signals.motion` over the chosen frames. entropy: the frame's own.
    keyframe: 1 where a scene begins in the stretch, else the share of the stretch's greatest change in the clip's.
    """
    edges = [0, *((a + b + 1) // 2 for a, b in pairwise(places)), len(signals.difference)]
    stretches = [slice(start, max(end, start + 1)) for start, end in pairwise(edges)]
    mean = np.array([signals.difference[part].mean() for part in stretches])
    greatest = np.array([signals.difference[part].max() for part in stretches])
    keyframe = np.maximum(
        greatest / max(signals.difference.max(), FLOOR), [signals.cuts[part].any() for part in stretches]
    )
    return {"motion": _stretched(mean), "entropy": signals.entropy[list(places)], "keyframe": keyframe}


def _stretched(difference: np.ndarray) -> np.ndarray:
    low, high = np.percentile(difference, (LOW, HIGH))
    return np.clip((difference - low) / max(high - low, FLOOR), 0.0, 1.0)


def _cut_places(change: np.ndarray, indices: np.ndarray) -> list[int]:
    """Which gaps between thumbnails hold a cut: a change far above its neighbours' and above a floor.

    Over longer gaps a pan changes more, so longer neighbours count for what they would be over this one's length.
    """
    found: list[int] = []
    gaps = np.diff(indices)
    for place in np.flatnonzero(change >= CUT_CHANGE):
        around = slice(max(0, place - CUT_REACH), place + CUT_REACH + 1)
        near = np.delete(change[around] * np.minimum(1.0, gaps[place] / gaps[around]), min(place, CUT_REACH))
        if near.size and change[place] < CUT_RATIO * near.mean():
            continue
        if indices[place + 1] - (indices[found[-1] + 1] if found else 0) >= SCENE_FRAMES:
            found.append(int(place))
        elif found and change[place] > change[found[-1]]:  # of two that are too near the greater change is the cut
            found[-1] = int(place)
    return found


def _entropy(luma: np.ndarray) -> float:
    share = np.bincount(luma.ravel(), minlength=256) / luma.size
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum() / 8)
