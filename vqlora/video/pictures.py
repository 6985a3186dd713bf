"""A clip that is a folder of pictures: its frames in the order of their names, one a second unless fps.txt says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from vqlora.video.video_info import Decoded, DecodeError, VideoInfo, decoded

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
DEFAULT_FPS = 1.0


def picture_files(folder: str | Path) -> list[Path]:
    """The pictures of a folder, sorted by name."""
    return sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES)


def probe_pictures(folder: str | Path) -> VideoInfo:
    """DecodeError for a folder without pictures, pictures of several sizes, or a rate that is none."""
    files = picture_files(folder)
    if not files:
        raise DecodeError(f"{folder}: holds no picture ({', '.join(SUFFIXES)})")
    sizes = {_open(file).size for file in files}
    if len(sizes) > 1:
        raise DecodeError(f"{folder}: pictures of several sizes: {sorted(sizes)}")
    (width, height), fps = sizes.pop(), _fps(Path(folder) / "fps.txt")
    return VideoInfo(
        frames=len(files),
        times_seconds=tuple(place / fps for place in range(len(files))),
        fps=fps,
        width=width,
        height=height,
        codec=files[0].suffix.lstrip(".").lower(),
        container="folder",
        decord_refusal="it reads files, this is a folder of pictures",
    )


def read_pictures(folder: str | Path, indices: Sequence[int], info: VideoInfo) -> Decoded:
    """The pictures of these indices."""
    files = picture_files(folder)
    if len(files) != info.frames:
        raise DecodeError(f"{folder}: holds {len(files)} pictures and had {info.frames}; it changed")
    frames = [np.asarray(_open(files[index]).convert("RGB")) for index in indices]
    return decoded(frames, indices, info, "pillow")


def _open(file: Path) -> Image.Image:
    try:
        with Image.open(file) as picture:
            picture.load()
            return picture
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        raise DecodeError(f"{file}: not a picture that can be read: {error}") from error


def _fps(file: Path) -> float:
    if not file.is_file():
        return DEFAULT_FPS
    try:
        fps = float(file.read_text())
    except ValueError:
        fps = 0.0
    if not 0 < fps < 1000:
        raise DecodeError(f"{file}: holds no rate in pictures a second, as in '2'")
    return fps
