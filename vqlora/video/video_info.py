"""What is known of a video file, frames read from it, and the error of one that gives none.

`decode` fills these with PyAV, `decord_reader` with decord.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from vqlora.lines import one_line


class DecodeError(ValueError):
    """A file that gives no trustworthy frames. The message names the file and the cause, on one line."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """What decoding a file from end to end found.

    times_seconds: presentation time of each frame, rebased so that the first is 0. width, height: pixels, upright.
    decord_refusal: why decord is not asked for this file, None where it is proven equal. restarts: frames from which
    decoding may begin, known where the packets tell (`survey`); first_pts: the first frame's time in the stream's unit.
    """

    frames: int
    times_seconds: tuple[float, ...]
    fps: float
    width: int
    height: int
    codec: str
    container: str
    decord_refusal: str | None
    interlaced: bool = False
    first_pts: int = 0
    restarts: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Frames uint8 [n, height, width, 3], their times [n], and the decoder that gave them, with its version."""

    frames: np.ndarray
    times_seconds: tuple[float, ...]
    decoder: str


@cache
def pyav_version() -> str | None:
    """PyAV's version; None where it is not installed."""
    try:
        return version("av")
    except PackageNotFoundError:
        return None


def check_file(path: str | Path) -> None:
    """DecodeError unless there is a file with something in it."""
    if not Path(path).is_file():  # also keeps addresses from FFmpeg, which would fetch them
        raise DecodeError(f"{path}: no such file")
    if not Path(path).stat().st_size:
        raise DecodeError(f"{path}: the file is empty")


def decoded(frames: list[np.ndarray], indices: Sequence[int], info: VideoInfo, decoder: str) -> Decoded:
    """Frames [height, width, 3] of these indices as one Decoded."""
    stacked = np.stack(frames) if frames else np.zeros((0, info.height, info.width, 3), np.uint8)
    return Decoded(frames=stacked, times_seconds=tuple(info.times_seconds[index] for index in indices), decoder=decoder)
