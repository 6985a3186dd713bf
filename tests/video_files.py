"""Small video files for tests, written with PyAV: 112 x 112 at 8 frames a second unless asked otherwise."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

IDENTITY = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
TURNS = {  # rotation in degrees -> the display matrix of a 112 x 80 track (ISO/IEC 14496-12, 'tkhd')
    90: struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 80 << 16, 0, 1 << 30),
    180: struct.pack(">9i", -1 << 16, 0, 0, 0, -1 << 16, 0, 112 << 16, 80 << 16, 1 << 30),
    270: struct.pack(">9i", 0, -1 << 16, 0, 1 << 16, 0, 0, 0, 112 << 16, 1 << 30),
}


def pictures(count: int, width: int = 112, height: int = 112) -> list[np.ndarray]:
    """Gradients that move and change colour, so that any two frames differ everywhere."""
    y, x = np.mgrid[0:height, 0:width]
    return [
        np.stack([(2 * x + 5 * i) % 256, (2 * y + 3 * i) % 256, np.full_like(x, 6 * i % 256)], axis=-1).astype(np.uint8)
        for i in range(count)
    ]


def write_video(
    path: Path,
    *,
    codec: str = "libx264",
    count: int = 40,
    size: tuple[int, int] = (112, 112),
    pixels: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    mux: Mapping[str, str] | None = None,
    times_ms: Sequence[int] | None = None,
) -> Path:
    """One file of `pictures`; the extension names the container. times_ms: presentation times, else 8 a second."""
    with as_scheduled(), av.open(str(path), "w", options=dict(mux or {})) as container:
        stream = container.add_stream(codec, rate=8, options={"threads": "1", **(options or {})})
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, picture in enumerate(pictures(count, *size)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times_ms is not None:
                frame.pts, frame.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@contextmanager
def as_scheduled() -> Iterator[None]:
    """Leaves this thread's scheduling as it was: SVT-AV1 run by root makes it real-time, which starves all others."""
    policy, share = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, share)


def patch(path: Path, old: bytes, new: bytes, after: bytes) -> None:
    """Replaces the first `old` behind `after` in a file by `new` of the same length."""
    raw = path.read_bytes()
    place = raw.index(old, raw.index(after))
    assert len(old) == len(new)
    path.write_bytes(raw[:place] + new + raw[place + len(old) :])


def cut(path: Path, share: float) -> Path:
    """Keeps the first share of a file's bytes, beside it."""
    raw = path.read_bytes()
    short = path.with_name(f"cut-{path.name}")
    short.write_bytes(raw[: int(len(raw) * share)])
    return short
