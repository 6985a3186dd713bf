"""Frames of video files: exactly those asked for, upright, with true timestamps, or a DecodeError.

PyAV is the reference: `probe` decodes a file once from end to end, so counts and times are those of decoded frames and
never a header's. decord reads the frames where it is proven to give the same ones (tests/test_decode.py): progressive
8-bit H.264 in MP4 that restarts at every key frame. Where PyAV is not installed decord's own index is believed, and the
decoder's name says so. Which frames to ask for: `samplers`. Caching: `frames`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vqlora.video.decord_reader import probe_decord, read_decord
from vqlora.video.video_info import Decoded, DecodeError, VideoInfo, check_file, decoded, pyav_version

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Decoder = Literal["auto", "pyav", "decord"]
DECODERS: tuple[Decoder, ...] = ("auto", "pyav", "decord")
DECORD_FORMATS = ("yuv420p", "yuvj420p")  # 10 bit comes out up to 47 levels apart
AV_TIME_BASE = 1_000_000  # FFmpeg's unit of a container's length, per second
H264_IDR = 5  # type of the units after which nothing earlier is needed (ITU-T H.264, table 7-1)


@cache
def decoder_versions() -> str:
    """Names and versions of both decoders, for cache keys."""
    return f"pyav {pyav_version() or 'absent'} decord {version('decord')}"


def probe(path: str | Path) -> VideoInfo:
    """Decodes the whole file. DecodeError if it is missing, damaged, cut short, not a video or longer by its header."""
    if pyav_version() is None:
        return probe_decord(path)
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

    'auto' is decord where it is proven equal, else PyAV. DecodeError for an index the file does not hold, and for
    'decord' where it is refused or its own index differs from the decoded frames.
    """
    if decoder not in DECODERS:
        raise ValueError(f"decoder {decoder!r} is unknown; use one of {DECODERS}")
    info = info or probe(path)
    wrong = [index for index in indices if not 0 <= index < info.frames]
    if wrong:
        raise DecodeError(f"{path}: frame {wrong[0]} was asked for; the file holds 0 to {info.frames - 1}")
    if decoder == "pyav" or (decoder == "auto" and info.decord_refusal):
        return _read_pyav(path, indices, info)
    if info.decord_refusal:
        raise DecodeError(f"{path}: decord is refused: {info.decord_refusal}; use the decoder 'pyav'")
    try:
        return read_decord(path, indices, info)
    except DecodeError:
        if decoder == "decord":
            raise
        return _read_pyav(path, indices, info)


@contextmanager
def opened(path: str | Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its best video stream; whatever FFmpeg complains about inside becomes a DecodeError."""
    check_file(path)
    import av  # lazily: decord alone will do where frames are only read
    from av.video.stream import VideoStream

    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            name = container.format.name
            if name.endswith("_pipe") or name in ("image2", "tty"):
                raise DecodeError(f"{path}: a still picture or a text ({name}), not a video")
            stream = container.streams.best("video")
            if not isinstance(stream, VideoStream):
                raise DecodeError(f"{path}: has no video stream")
            if stream.codec_context is None:
                raise DecodeError(f"{path}: its video stream is in no codec that PyAV decodes")
            stream.codec_context.thread_count = 1  # parallel over clips, not within one
            yield container, stream
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
            self.soft_key_frame |= not _restarts(bytes(packet), self.stream.codec_context.extradata or b"")

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
        if context.pix_fmt not in DECORD_FORMATS:
            return f"it converts the pixel format {context.pix_fmt} differently"
        if self.interlaced:
            return "it converts interlaced frames differently"
        if self.soft_key_frame:
            return "it seeks to key frames that don't restart the picture (intra refresh, open GOP)"
        return None


def _restarts(packet: bytes, extradata: bytes) -> bool:
    """Whether an H.264 packet in MP4's form (length before each unit, ISO/IEC 14496-15) holds an IDR picture."""
    if len(extradata) < 5 or extradata[0] != 1:
        return False
    width = (extradata[4] & 3) + 1
    place = 0
    while place + width < len(packet):
        size = int.from_bytes(packet[place : place + width])
        if packet[place + width] & 0x1F == H264_IDR:
            return True
        place += width + size
    return False


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
    """Decodes from the first frame to the last one wanted: without seeking nothing can be missed."""
    wanted = set(indices)
    pictures: dict[int, np.ndarray] = {}
    if wanted:
        with opened(path) as (container, stream):
            for index, frame in enumerate(container.decode(stream)):
                if index in wanted:
                    pictures[index] = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90 % 4)
                if len(pictures) == len(wanted):
                    break
    frames = [pictures[index] for index in indices]
    return decoded(frames, indices, info, f"pyav {pyav_version()}")
