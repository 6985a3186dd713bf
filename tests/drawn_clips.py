"""Clips drawn for a purpose: still ones, and ones with a cut at a known place."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def still(count: int) -> np.ndarray:
    """The same picture `count` times."""
    return np.repeat(_room(0)[None], count, axis=0)


def two_shots(count: int, *, cut: int, moving: bool = True) -> np.ndarray:
    """One room and, from the frame `cut` on, another; a square moves through both."""
    pictures = np.stack([_room(0) if index < cut else _room(1) for index in range(count)])
    for index in range(count if moving else 0):
        left = 2 * index % 80
        pictures[index, 50:66, left : left + 16] = (250, 240, 90)
    return pictures


def write_pictures(path: Path, pictures: np.ndarray, *, rate: int = 8) -> Path:
    """uint8 [n, height, width, 3] as H.264 with B-frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18", "threads": "1"})
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def _room(number: int) -> np.ndarray:
    y, x = np.mgrid[0:112, 0:112]
    shade = (x + y) // 2 if number == 0 else 200 - x
    return np.stack([shade + 20, shade // (number + 1), 90 * number + y], axis=-1).clip(0, 255).astype(np.uint8)
