"""Cheap passes over a video file: packets without decoding, thumbnails of decoded frames, motion vectors.

Each gives arrays with a row per frame of the file, in the order in which frames are shown. What they mean is
`signals`; frames for a model come from `decode`, which never skips anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vqlora.video.decode import opened
from vqlora.video.video_info import DecodeError, VideoInfo

SIDE, CHROMA_SIDE = 64, 32  # values a side of a thumbnail's planes
PLANAR = ("yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p", "gray")
MOST_AVERAGED = 4  # pixels along a row that are averaged into one value
STEADY_FPS = 16.0  # from here on frames that nothing refers to (B-frames) are not decoded for thumbnails


@dataclass(frozen=True, kw_only=True, eq=False)
class Packets:
    """What the container says of each frame: its size in bytes [frames], whether decoding may start there [frames]."""

    sizes: np.ndarray
    keys: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Thumbnails:
    """Planes uint8 of the frames `indices` [n] of a file: luma [n, 64, 64], chroma [n, 2, 32, 32], grey 128 if none."""

    indices: np.ndarray
    luma: np.ndarray
    chroma: np.ndarray


def packets(path: str | Path, info: VideoInfo) -> Packets:
    """Reads the container only. DecodeError where it does not hold a packet with a time for each frame."""
    with opened(path) as (container, stream):
        rows = sorted(
            (packet.pts, packet.size, packet.is_keyframe)
            for packet in container.demux(stream)
            if packet.size and packet.pts is not None
        )
    if len(rows) != info.frames:
        raise DecodeError(
            f"{path}: {len(rows)} packets with a time for {info.frames} frames; use a sampler that decodes"
        )
    return Packets(sizes=np.array([row[1] for row in rows], np.int64), keys=np.array([row[2] for row in rows], bool))


def thumbnails(path: str | Path, info: VideoInfo) -> Thumbnails:
    """One decoding pass without in-loop filters, which a thumbnail does not show.

    At 16 frames a second and more, B-frames are skipped where the container tells when every frame is shown.
    """
    if info.fps >= STEADY_FPS and (steady := _thumbnails(path, info, skip=True)) is not None:
        return steady
    found = _thumbnails(path, info, skip=False)
    if found is None or len(found.indices) != info.frames:
        raise DecodeError(f"{path}: a second pass does not give the {info.frames} frames of the first")
    return found


def vector_lengths(path: str | Path, info: VideoInfo) -> np.ndarray:
    """Mean length of each frame's motion vectors over the picture's diagonal, [frames]; NaN where it has none."""
    from av.codec.context import Flags2  # lazily, as in `decode`

    diagonal = float(np.hypot(info.width, info.height))
    lengths: list[float] = []
    with opened(path) as (container, stream):
        stream.codec_context.flags2 |= Flags2.export_mvs
        for frame in container.decode(stream):
            side = frame.side_data.get("MOTION_VECTORS")
            if side is None:
                lengths.append(np.nan)
                continue
            table = side.to_ndarray()
            scale = np.maximum(table["motion_scale"], 1)
            lengths.append(float(np.hypot(table["motion_x"] / scale, table["motion_y"] / scale).mean()) / diagonal)
    if len(lengths) != info.frames:
        raise DecodeError(f"{path}: {len(lengths)} frames in this pass, {info.frames} in the first")
    return np.array(lengths)


def _thumbnails(path: str | Path, info: VideoInfo, *, skip: bool) -> Thumbnails | None:
    """None where frames were to be skipped and their places cannot be told."""
    shown: list[int | None] = []
    pts: list[int | None] = []
    planes: list[tuple[np.ndarray, np.ndarray]] = []
    with opened(path) as (container, stream):
        stream.codec_context.options = {"skip_loop_filter": "all"}
        if skip:
            stream.codec_context.skip_frame = "BIDIR"
        for packet in container.demux(stream):
            if packet.size:
                shown.append(packet.pts)
            for frame in packet.decode():
                pts.append(frame.pts)
                planes.append(_planes(frame))
    if not planes:
        return None
    indices = np.arange(len(planes))
    if skip:
        if None in shown or None in pts or len(shown) != info.frames:
            return None
        indices = np.searchsorted(np.sort(np.array(shown)), np.array(pts))
        if len(np.unique(indices)) < len(indices):  # two frames of one time
            return None
    luma, chroma = (np.stack(plane) for plane in zip(*planes, strict=True))
    return Thumbnails(indices=indices, luma=luma, chroma=chroma)


def _planes(frame: Any) -> tuple[np.ndarray, np.ndarray]:
    """Thumbnails of a frame's luma and chroma; from its planes as they lie if they are 8 bit, else converted."""
    if frame.format.name not in PLANAR:
        frame = frame.reformat(format="yuv420p")
    luma = _shrunk(frame.planes[0], SIDE)
    if len(frame.planes) < 3:
        return luma, np.full((2, CHROMA_SIDE, CHROMA_SIDE), 128, np.uint8)
    return luma, np.stack([_shrunk(plane, CHROMA_SIDE) for plane in frame.planes[1:3]])


def _shrunk(plane: Any, side: int) -> np.ndarray:
    """[side, side]: every n-th row, averaged along it, so that grain does not look like motion; edges left out."""
    rows, columns = plane.height // side, plane.width // side
    pixels = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
    if not rows or not columns:  # a picture smaller than a thumbnail: nearest pixels
        return pixels[np.ix_(np.arange(side) * plane.height // side, np.arange(side) * plane.width // side)]
    taken = pixels[rows // 2 : rows * side : rows, : columns * side]
    columns_used = range(0, columns, -(-columns // MOST_AVERAGED))
    total = np.zeros((side, side), np.uint16)
    for column in columns_used:  # slices are many times faster than a sum over a short axis
        total += taken[:, column::columns]
    return (total // len(columns_used)).astype(np.uint8)
