"""Frames that keep most information through a quantised vision tower.

Quantisation is treated as noise on a frame's features: rho is its power over that of what sets the frame apart from
the clip's mean. With x the centred unit features at the tower's bits and s = sqrt(1 / (rho + 1e-3)), the frames that
maximise log det of L_S, L = I + diag(s) (1 + x x^T) / 2 diag(s), tell most about the clip through their noise. The 1
makes opposite ways from the mean, such as two shots, different content; x x^T alone would take them for the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["quantised", "flat", "full"]
NOISE_FLOOR = 1e-3
STILL = 1e-3  # share of the mean feature's norm below which a frame's difference from the mean is no difference
LEAST_GAIN = float(np.log(2.001))  # nats; seeing the same again halves its noise at best and tells nothing new
NOISE_WEIGHT, DROPPED_ABOVE = 0.5, 95  # of the fidelity filter; percentile


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """Pooled features of candidate frames: places in the clip [n], at the tower's bits and at 16 bits, each [n, width].

    relevance [n]: how well each fits a question; None where none was asked.
    """

    indices: np.ndarray
    quantised: np.ndarray
    full: np.ndarray
    relevance: np.ndarray | None = None

    @property
    def noise(self) -> np.ndarray:
        """rho [n], noise over signal of each frame under quantisation; 0 at 16 bits."""
        signal = _apart(self.full)
        return ((self.full - self.quantised) ** 2).sum(1) / (signal + STILL**2 * (self.full.mean(0) ** 2).sum() + 1e-12)


def most_information(features: Features, budget: int, kind: Kind = "quantised") -> list[int]:
    """Places among the candidates, greedily (1 - 1/e of the best, Chen et al. 2018); fewer where nothing is new.

    kind: 'quantised' as above; controls are 'flat' (the same noise for every frame) and 'full' (16-bit features).
    """
    x = _unit(features.full if kind == "full" else features.quantised)
    rho = features.noise
    rho = np.full_like(rho, rho.mean()) if kind == "flat" else np.zeros_like(rho) if kind == "full" else rho
    if (x**2).sum(1).max() < 0.25:  # every frame is nearer to the mean than STILL
        return []
    scale = np.sqrt(1 / (rho + NOISE_FLOOR))
    kernel = np.eye(len(x)) + scale[:, None] * (1 + x @ x.T) / 2 * scale
    return greedy(kernel, budget, least_gain=LEAST_GAIN)


def greedy(kernel: np.ndarray, budget: int, *, least_gain: float = 0.0) -> list[int]:
    """The set that greedily maximises log det of its part of `kernel` [n, n]: incremental Cholesky, O(n budget^2).

    It ends early where the best of the others adds less than `least_gain` nats.
    """
    left = kernel.diagonal().copy()
    rows = np.zeros((0, len(kernel)))
    taken: list[int] = []
    while len(taken) < min(budget, len(kernel)):
        left[taken] = -np.inf
        best = int(np.argmax(left))
        if np.log(left[best]) < least_gain:
            break
        row = (kernel[best] - rows[:, best] @ rows) / np.sqrt(left[best])
        rows = np.vstack([rows, row])
        left = left - row**2
        taken.append(best)
    return taken


def faithful(base: np.ndarray, noise: np.ndarray, scene_of: np.ndarray) -> np.ndarray:
    """A density >= 0: base - weight x z-score of the noise; zero for the noisiest frames of scenes that have others."""
    deviation = noise.std()
    score = base - NOISE_WEIGHT * ((noise - noise.mean()) / deviation if deviation > 0 else 0.0)
    score = score - score.min()
    if deviation > 0:
        for place in np.flatnonzero(noise > np.percentile(noise, DROPPED_ABOVE)):
            if ((scene_of == scene_of[place]) & (noise < noise[place])).any():
                score[place] = 0.0
    return score


def _apart(features: np.ndarray) -> np.ndarray:
    """Squared distance of each row from the mean row."""
    return ((features - features.mean(0)) ** 2).sum(1)


def _unit(features: np.ndarray) -> np.ndarray:
    """Centred rows of length 1; rows that hardly differ from the mean stay near 0."""
    length = np.sqrt(_apart(features)) + STILL * np.sqrt((features.mean(0) ** 2).sum()) + 1e-12
    return (features - features.mean(0)) / length[:, None]
