"""Frames by decord: what it reads is compared with what PyAV's probe found (`decode`), where PyAV is installed.

Where it is not, decord's own index is believed and the decoder's name says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from vqlora.video.video_info import Decoded, DecodeError, VideoInfo, check_file, decoded, pyav_version

MAX_TIME_ERROR_SECONDS = 1e-3  # decord keeps times as float32


def read_decord(path: str | Path, indices: Sequence[int], info: VideoInfo) -> Decoded:
    """DecodeError if decord's index of the file differs from the decoded frames (edit lists), or if it fails."""
    decord = _decord()
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        times = reader.get_frame_timestamp(range(len(reader)))[:, 0]
        expected = np.asarray(info.times_seconds)
        if len(times) != len(expected) or np.abs(times - times[0] - expected).max() > MAX_TIME_ERROR_SECONDS:
            raise DecodeError(
                f"{path}: decord's times of {len(times)} frames aren't those of the {info.frames} that decode"
            )
        frames = list(reader.get_batch(list(indices)).asnumpy()) if indices else []
    except (RuntimeError, decord.DECORDError) as error:
        raise DecodeError(f"{path}: decord: {str(error).partition(chr(10))[0]}") from error
    alone = "" if pyav_version() else ", no PyAV"
    return decoded(frames, indices, info, f"decord {version('decord')}{alone}")


def probe_decord(path: str | Path) -> VideoInfo:
    """What decord's index says, with the first and last frame decoded; nothing else is checked."""
    check_file(path)
    decord = _decord()
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        times = reader.get_frame_timestamp(range(len(reader)))[:, 0]
        first, last = reader.get_batch([0, len(reader) - 1]).asnumpy()
    except (RuntimeError, decord.DECORDError) as error:
        raise DecodeError(f"{path}: decord: {str(error).partition(chr(10))[0]}") from error
    assert first.shape == last.shape
    return VideoInfo(
        frames=len(times),
        times_seconds=tuple(float(time - times[0]) for time in times),
        fps=float(reader.get_avg_fps()),
        width=first.shape[1],
        height=first.shape[0],
        codec="as decord reads it",
        container=Path(path).suffix.lstrip("."),
        decord_refusal=None,
    )


@cache
def _decord() -> Any:
    import decord  # lazily: it starts FFmpeg's threads and is not needed where every clip is cached

    decord.logging.set_level(decord.logging.QUIET)
    return decord
