"""Frames by torchcodec, where it imports: its wheels lack FFmpeg, and those on PyPI want CUDA's libraries as well.

It decodes by frame numbers of its own scan of the file, so times are compared with what PyAV found before any is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from vqlora.video.video_info import Decoded, DecodeError, VideoInfo, decoded

MAX_TIME_ERROR_SECONDS = 1e-3


@cache
def torchcodec_problem() -> str | None:
    """Why torchcodec cannot be used here; None where it can."""
    try:
        import_module("torchcodec.decoders")
    except (ImportError, OSError, RuntimeError) as error:
        return f"torchcodec does not import ({str(error).partition(chr(10))[0][:200]})"
    return None


def read_torchcodec(path: str | Path, indices: Sequence[int], info: VideoInfo) -> Decoded:
    """DecodeError if it does not import, fails, or counts or times the frames differently."""
    if problem := torchcodec_problem():
        raise DecodeError(f"{path}: {problem}; use the decoder 'pyav'")
    if info.interlaced:
        raise DecodeError(f"{path}: torchcodec converts interlaced frames differently; use the decoder 'pyav'")
    torchcodec: Any = import_module("torchcodec")
    try:
        decoder = torchcodec.decoders.VideoDecoder(str(path), num_ffmpeg_threads=1, dimension_order="NHWC")
        if len(decoder) != info.frames:
            raise DecodeError(f"{path}: torchcodec counts {len(decoder)} frames, {info.frames} decode")
        got = decoder.get_frames_at(list(indices)) if indices else None
    except (RuntimeError, ValueError, IndexError) as error:
        if isinstance(error, DecodeError):
            raise
        raise DecodeError(f"{path}: torchcodec: {str(error).partition(chr(10))[0]}") from error
    frames = [] if got is None else list(got.data.numpy())
    if got is not None:
        first = decoder.get_frame_at(0).pts_seconds
        expected = np.array([info.times_seconds[index] for index in indices])
        if np.abs(got.pts_seconds.numpy() - first - expected).max() > MAX_TIME_ERROR_SECONDS:
            raise DecodeError(f"{path}: torchcodec's times aren't those of the frames that decode")
    return decoded(frames, indices, info, f"torchcodec {torchcodec.__version__}")
