"""What a sampler may look at of one clip; each part is made when it is first asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vqlora.video.logdet import Features
from vqlora.video.passes import Packets, packets, thumbnails, vector_lengths
from vqlora.video.signals import Signals, signals_of
from vqlora.video.video_info import DecodeError, VideoInfo

Arrays = Mapping[str, np.ndarray]
CANDIDATES_PER_SECOND, LEAST_CANDIDATES, MOST_CANDIDATES = 2.0, 32, 256


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """Arrays by name, and the seconds that it took to make them, whenever that was."""

    arrays: Arrays
    seconds: float


def made(make: Callable[[], Arrays]) -> Made:
    """Makes arrays now."""
    began = time.perf_counter()
    arrays = make()
    return Made(arrays=arrays, seconds=time.perf_counter() - began)


@dataclass(kw_only=True, eq=False)
class Sight:
    """A clip: the frames `inside` of a file, of which `info` tells; places count from 0 within the clip.

    seed: of its content. keep: gives the arrays of that name, made or remembered; of the whole file, not the stretch.
    run: calls a pass over the file, in a process that can be killed where the file may be anybody's (`killable.call`).
    tower: features of candidate frames (indices in the file) for samplers that need them, see `vqlora.features`.
    seconds: that what was asked for took to make.
    """

    path: str | Path
    file: VideoInfo
    info: VideoInfo
    inside: Sequence[int]
    seed: int = 0
    keep: Callable[[str, Callable[[], Arrays]], Made] = lambda name, make: made(make)
    run: Callable[..., Any] = lambda function, *arguments: function(*arguments)
    tower: Callable[[Sequence[int]], Made] | None = None
    seconds: float = field(default=0.0, init=False)

    @classmethod
    def of_file(cls, path: str | Path, info: VideoInfo) -> Sight:
        """A whole file."""
        return cls(path=path, file=info, info=info, inside=range(info.frames))

    def packets(self) -> Packets:
        """DecodeError where the container does not tell."""
        found = self._kept("packets", lambda: vars(self.run(packets, self.path, self.file)))
        return Packets(sizes=found["sizes"][self._places], keys=found["keys"][self._places])

    def signals(self) -> Signals:
        """Motion, entropy and cuts of the clip's frames."""
        found = self._kept("signals", lambda: self.run(signals_through, self.path, self.file))
        return Signals(**found).inside(self.inside)

    def vectors(self) -> np.ndarray:
        """Mean motion-vector length of each frame, NaN where it has none."""
        found = self._kept("vectors", lambda: {"lengths": self.run(vector_lengths, self.path, self.file)})
        return found["lengths"][self._places]

    def features(self, budget: int) -> Features:
        """Of candidates for `budget` frames; their indices are places in the clip. ValueError without a tower."""
        if self.tower is None:
            raise ValueError(
                "this sampler looks at the features of a base's vision tower; use it in a recipe, which names a base, "
                "or take a sampler that needs the file alone, such as 'entropy'"
            )
        places = candidates(self.info, budget)
        found = self.tower([self.inside[place] for place in places])
        self.seconds += found.seconds
        return Features(indices=np.array(places), **found.arrays)

    @property
    def _places(self) -> np.ndarray:
        return np.asarray(self.inside)

    def _kept(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        found = self.keep(name, make)
        self.seconds += found.seconds
        return found.arrays


def signals_through(path: str | Path, info: VideoInfo) -> Arrays:
    """The arrays of a whole file's `Signals`, in one decoding pass."""
    try:
        sizes = packets(path, info).sizes
    except DecodeError:
        sizes = None
    return vars(signals_of(thumbnails(path, info), info.frames, sizes))


def candidates(info: VideoInfo, budget: int) -> list[int]:
    """Places of the frames that samplers of features choose from: two a second and twice the budget, 32 to 256."""
    wanted = max(LEAST_CANDIDATES, 2 * budget, round(CANDIDATES_PER_SECOND * info.times_seconds[-1]))
    count = min(info.frames, wanted, MOST_CANDIDATES)
    return [(2 * place + 1) * info.frames // (2 * count) for place in range(count)]
