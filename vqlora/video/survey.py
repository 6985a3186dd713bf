"""A file's frames from its packets, decoding only the first one, where that is proven to be enough.

Proven in tests/test_survey.py. It is for progressive H.264 in MP4 without an edit list that hides frames: each packet
is one frame, with a time of its own, and decoding may start at every IDR picture. Everything else is decoded from end
to end (`decode`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqlora.video.h264 import IDR, SPS, is_progressive, unit_types
from vqlora.video.video_info import DecodeError, VideoInfo

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

FORMATS = ("yuv420p", "yuvj420p")  # those in which decord's pixels are PyAV's; 10 bit comes out up to 47 levels apart


def survey(
    path: str | Path, container: InputContainer, stream: VideoStream, *, is_read_next: bool = False
) -> VideoInfo | None:
    """None where the packets don't tell. DecodeError for a file that is cut short or marked as damaged.

    The container is left at its end. is_read_next: no frame is decoded here, so width and height are those before
    rotation, and whoever reads the frames sees whether they are where the packets say.
    """
    context, base = stream.codec_context, stream.time_base
    is_plain = (
        context.name == "h264" and "mp4" in container.format.name.split(",") and len(container.streams.video) == 1
    )
    if base is None or not is_plain or not is_progressive(context.extradata or b""):
        return None
    packets = _Packets(path, context.extradata or b"", wants_frame=not is_read_next)
    for packet in container.demux(stream):
        if packet.size and not packets.take(packet):
            return None
    pts, first = sorted(packets.pts), packets.first
    if not packets.keys or packets.keys[0] != pts[0] or len(set(pts)) < len(pts) or context.pix_fmt not in FORMATS:
        return None
    if not is_read_next and (first is None or first.pts != pts[0]):
        return None
    width, height = context.width, context.height
    if first is not None and first.rotation % 180:
        width, height = height, width
    held = float((max(packets.ends) - pts[0]) * base)
    fps = float(stream.average_rate or 0) or len(pts) / held
    if stream.frames > len(pts):
        raise DecodeError(f"{path}: cut short: {stream.frames} frames by its header, {len(pts)} are there")
    claimed = float((stream.duration or 0) * base)
    if held < 0.95 * claimed - 2 / fps:
        raise DecodeError(
            f"{path}: cut short: {claimed:.2f} s by its header, {len(pts)} frames in {held:.2f} s are there"
        )
    place = {value: index for index, value in enumerate(pts)}
    return VideoInfo(
        frames=len(pts),
        times_seconds=tuple(float((value - pts[0]) * base) for value in pts),
        fps=fps,
        width=width,
        height=height,
        codec=context.name,
        container="mp4",
        decord_refusal=None,
        first_pts=pts[0],
        restarts=tuple(sorted(place[value] for value in packets.keys)),
    )


class _Packets:
    """What the packets of a file say. pts, ends: of each in the stream's time base. keys: pts of the restarts."""

    def __init__(self, path: str | Path, extradata: bytes, *, wants_frame: bool) -> None:
        self.path, self.extradata, self.wants_frame = path, extradata, wants_frame
        self.pts: list[int] = []
        self.ends: list[int] = []
        self.keys: list[int] = []
        self.first: VideoFrame | None = None

    def take(self, packet: Any) -> bool:
        """False where the packet shows that the file is not a plain one."""
        if packet.is_corrupt:
            raise DecodeError(f"{self.path}: cut short: its packet {len(self.pts)} is not whole")
        if packet.pts is None or packet.is_discard:
            return False
        if packet.is_keyframe:
            types = unit_types(bytes(packet), self.extradata)
            if IDR not in types or SPS in types:
                return False
            self.keys.append(packet.pts)
        self.pts.append(packet.pts)
        self.ends.append(packet.pts + (packet.duration or 0))
        if self.wants_frame and self.first is None:
            self.first = next(iter(packet.decode()), None)
        return True
