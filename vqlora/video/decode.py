"""Frames of video files: exactly those asked for, upright, with true timestamps, or a DecodeError.

PyAV is the reference. `probe` counts frames from packets where that is proven to be enough (`survey`), else it decodes
the file from end to end, so counts and times are never a header's. Frames are read from the restart before each of
them, and a damaged one among those decoded is an error. decord conceals damage: it serves by name, or where PyAV is
missing, and only where it is proven to give the same pixels (tests/test_decode.py): progressive 8-bit H.264 in MP4 that
restarts at every key frame. torchcodec serves by name, where it imports. Which frames to ask for: `samplers`. Caching:
`frames`. In processes that can be killed: `killable`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vqlora.video.decord_reader import probe_decord, read_decord
from vqlora.video.h264 import IDR, unit_types
from vqlora.video.pictures import probe_pictures, read_pictures
from vqlora.video.survey import FORMATS, survey
from vqlora.video.torchcodec_reader import read_torchcodec
from vqlora.video.video_info import Decoded, DecodeError, VideoInfo, check_file, decoded, pyav_version

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Decoder = Literal["auto", "pyav", "decord", "torchcodec"]
DECODERS: tuple[Decoder, ...] = ("auto", "pyav", "decord", "torchcodec")
# A file is what it holds, not what it is called: FFmpeg would follow a playlist called clip.mp4 to other files.
CONTAINERS = ("mov", "avi", "matroska", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg")
ONLY_THIS_FILE = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
AV_TIME_BASE = 1_000_000  # FFmpeg's unit of a container's length, per second


@cache
def decoder_versions() -> str:
    """Names and versions of both decoders, for cache keys."""
    return f"pyav {pyav_version() or 'absent'} decord {version('decord')}"


def probe(path: str | Path) -> VideoInfo:
    """Counts a file's frames and their times: from its packets where they tell, else by decoding all of it.

    DecodeError if it is missing, damaged, cut short, not a video or longer by its header.
    """
    if Path(path).is_dir():
        return probe_pictures(path)
    if pyav_version() is None:
        return probe_decord(path)
    with opened(path) as (container, stream):
        found = survey(path, container, stream)
    return found or decode_all(path)


def decode_all(path: str | Path) -> VideoInfo:
    """What decoding a file from end to end finds; damage anywhere in it is a DecodeError."""
    with opened(path) as (container, stream):
        scan = _Scan(path, stream)
        for packet in container.demux(stream):
            scan.see_packet(packet)
            for frame in packet.decode():
                scan.see_frame(frame)
        return scan.info(container)


def read_frames(
    path: str | Path, indices: Sequence[int], decoder: Decoder = "auto", info: VideoInfo | None = None
) -> Decoded:
    """The frames of these indices, in this order. `info`: what `probe(path)` gave, to spare a second pass.

    'auto' is PyAV where it is installed, else decord. DecodeError for an index the file does not hold or a frame that
    is damaged, and for 'decord' where it is refused or its own index differs from the decoded frames.
    """
    if decoder not in DECODERS:
        raise ValueError(f"decoder {decoder!r} is unknown; use one of {DECODERS}")
    info = info or probe(path)
    wrong = [index for index in indices if not 0 <= index < info.frames]
    if wrong:
        raise DecodeError(f"{path}: frame {wrong[0]} was asked for; the file holds 0 to {info.frames - 1}")
    if Path(path).is_dir():
        return read_pictures(path, indices, info)
    if decoder == "pyav" or (decoder == "auto" and pyav_version()):
        return _read_pyav(path, indices, info)
    if decoder == "torchcodec":
        return read_torchcodec(path, indices, info)
    if info.decord_refusal:
        raise DecodeError(f"{path}: decord is refused: {info.decord_refusal}; use the decoder 'pyav'")
    return read_decord(path, indices, info)


def read_clip(path: str | Path, choose: Callable[[VideoInfo], Sequence[int]]) -> tuple[VideoInfo, Decoded]:
    """What a file holds, and the frames that `choose` takes from it, with one opening where packets tell."""
    if not Path(path).is_dir() and pyav_version():
        with opened(path) as (container, stream):
            info = survey(path, container, stream, is_read_next=True)
            if info is not None:
                indices = choose(info)
                pictures = _pictures(path, container, stream, indices, info)
                if pictures:
                    info = replace(info, height=pictures[0].shape[0], width=pictures[0].shape[1])
                    return info, decoded(pictures, indices, info, f"pyav {pyav_version()}")
    info = probe(path)
    return info, read_frames(path, choose(info), info=replace(info, restarts=()))


@contextmanager
def opened(path: str | Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its best video stream; whatever FFmpeg complains about inside becomes a DecodeError."""
    check_file(path)
    import av  # lazily: decord alone will do where frames are only read
    from av.video.stream import VideoStream

    try:
        with av.open(str(path), metadata_errors="ignore", options=dict(ONLY_THIS_FILE)) as container:
            stream = container.streams.best("video")
            if not isinstance(stream, VideoStream):
                raise DecodeError(f"{path}: has no video stream")
            if stream.codec_context is None:
                raise DecodeError(f"{path}: its video stream is in no codec that PyAV decodes")
            stream.codec_context.thread_count = 1  # parallel over clips, not within one
            yield container, stream
    except av.ArgumentError as error:  # what FFmpeg says of a format that is not whitelisted
        raise DecodeError(f"{path}: a picture, a text or a list, or no video in {', '.join(CONTAINERS)}") from error
    except av.FFmpegError as error:
        raise DecodeError(f"{path}: {error.strerror}") from error


class _Scan:
    """Gathers what packets and frames say about one file."""

    def __init__(self, path: str | Path, stream: VideoStream) -> None:
        self.path, self.stream = path, stream
        self.pts: list[int | None] = []
        self.ends: list[int] = []
        self.shapes: set[tuple[int, int]] = set()
        self.interlaced = self.soft_key_frame = False

    def see_packet(self, packet: Any) -> None:
        if packet.is_keyframe and self.stream.codec_context.name == "h264":
            self.soft_key_frame |= IDR not in unit_types(bytes(packet), self.stream.codec_context.extradata or b"")

    def see_frame(self, frame: VideoFrame) -> None:
        if frame.is_corrupt:
            raise DecodeError(f"{self.path}: frame {len(self.pts)} is damaged")
        self.pts.append(frame.pts)
        if frame.pts is not None:
            self.ends.append(frame.pts + (frame.duration or 0))
        turned = frame.rotation % 180 != 0
        self.shapes.add((frame.height, frame.width) if turned else (frame.width, frame.height))
        self.interlaced |= bool(frame.interlaced_frame)

    def info(self, container: InputContainer) -> VideoInfo:
        count = len(self.pts)
        if not count:
            raise DecodeError(f"{self.path}: holds no frame that decodes")
        if len(self.shapes) > 1:
            raise DecodeError(f"{self.path}: the frame size changes within the file: {sorted(self.shapes)}")
        times, held = self._times()
        fps = float(self.stream.average_rate or 0) or count / held
        claimed = _claimed_seconds(container, self.stream, fps)
        if claimed is not None and held < 0.95 * claimed - 2 / fps:
            raise DecodeError(
                f"{self.path}: cut short: {claimed:.2f} s by its header, {count} frames in {held:.2f} s decode"
            )
        width, height = next(iter(self.shapes))
        name = container.format.name
        return VideoInfo(
            frames=count,
            times_seconds=times,
            fps=fps,
            width=width,
            height=height,
            codec=self.stream.codec_context.name,
            container="mp4" if "mp4" in name.split(",") else name.split(",")[0],
            decord_refusal=self._decord_refusal(container),
            interlaced=self.interlaced,
        )

    def _times(self) -> tuple[tuple[float, ...], float]:
        """Times from 0, and the seconds from the first frame's start to the last one's end.

        Decoders give frames in presentation order, so sorting changes only AVI, which stores decoding times.
        """
        base = self.stream.time_base
        known = sorted(pts for pts in self.pts if pts is not None)
        if len(known) < len(self.pts) or base is None:
            rate = float(self.stream.average_rate or 0)
            if not rate:
                raise DecodeError(f"{self.path}: has neither timestamps nor a frame rate")
            return tuple(index / rate for index in range(len(self.pts))), len(self.pts) / rate
        last = max(*self.ends, known[-1] + 1)
        return tuple(float((pts - known[0]) * base) for pts in known), float((last - known[0]) * base)

    def _decord_refusal(self, container: InputContainer) -> str | None:
        context, name = self.stream.codec_context, container.format.name
        if name == "avi":
            return "AVI stores no presentation times, and decord returned other frames than those asked for"
        if context.name != "h264" or "mp4" not in name.split(","):
            return f"it is proven for H.264 in MP4 only, this is {context.name} in {name}"
        if len(container.streams.video) > 1:
            return "there are several video streams, and it may choose another one"
        if context.pix_fmt not in FORMATS:
            return f"it converts the pixel format {context.pix_fmt} differently"
        if self.interlaced:
            return "it converts interlaced frames differently"
        if self.soft_key_frame:
            return "it seeks to key frames that don't restart the picture (intra refresh, open GOP)"
        return None


def _claimed_seconds(container: InputContainer, stream: VideoStream, fps: float) -> float | None:
    """The length the file states of its video; None where it states none.

    MP4: of the track, edit list included. Else the header's frame count (AVI's length is only a guess from the file
    size), else the container's length if no other stream may account for it.
    """
    if "mp4" in container.format.name.split(",") and stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if stream.frames:
        return stream.frames / fps
    if container.duration and len(container.streams) == 1:
        return (container.duration - (container.start_time or 0)) / AV_TIME_BASE
    return None


def _read_pyav(path: str | Path, indices: Sequence[int], info: VideoInfo) -> Decoded:
    with opened(path) as (container, stream):
        pictures = _pictures(path, container, stream, indices, info)
    if pictures is None:
        return _read_pyav(path, indices, replace(info, restarts=()))
    return decoded(pictures, indices, info, f"pyav {pyav_version()}")


def _pictures(
    path: str | Path, container: InputContainer, stream: VideoStream, indices: Sequence[int], info: VideoInfo
) -> list[np.ndarray] | None:
    """Frames [height, width, 3] of these indices; None where seeking leads elsewhere than the packets said."""
    from av.video.reformatter import VideoReformatter

    wanted = sorted(set(indices))
    found: dict[int, np.ndarray] = {}
    converter = VideoReformatter()  # one for all: a frame's own would be set up anew each time
    try:
        for number, frame in _numbered(container, stream, wanted, info):
            if frame.is_corrupt:
                raise DecodeError(f"{path}: frame {number} is damaged")
            if number in wanted:
                picture = converter.reformat(frame, format="rgb24").to_ndarray()
                found[number] = np.rot90(picture, frame.rotation // 90 % 4)
            if len(found) == len(wanted):
                break
    except LookupError:
        return None
    if len(found) < len(wanted):
        raise DecodeError(f"{path}: {len(wanted) - len(found)} of the frames {wanted} don't decode")
    return [found[index] for index in indices]


def _numbered(
    container: InputContainer, stream: VideoStream, wanted: Sequence[int], info: VideoInfo
) -> Iterator[tuple[int, VideoFrame]]:
    """Frames with their numbers: from the first on, or from the last restart before each of the wanted (sorted).

    LookupError where seeking leads to another frame than the one known to be there.
    """
    if not info.restarts or stream.time_base is None:
        yield from enumerate(container.decode(stream)) if wanted else ()
        return
    pts = [info.first_pts + round(time / stream.time_base) for time in info.times_seconds]
    number_of = {value: number for number, value in enumerate(pts)}
    frames: Iterator[VideoFrame] = iter(())
    last = -2  # not yet at any frame
    for target in wanted:
        start = info.restarts[bisect_right(info.restarts, target) - 1]
        if start > last + 1 or last < 0:
            container.seek(pts[start], stream=stream)
            frames, last = container.decode(stream), start - 1
        while last < target:
            frame = next(frames, None)
            if frame is None or frame.pts is None or number_of.get(frame.pts) != last + 1:
                raise LookupError(f"another frame than {last + 1} came")
            last += 1
            yield last, frame
