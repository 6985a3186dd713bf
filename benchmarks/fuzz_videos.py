"""Hostile videos: real files with changed bytes and boxes, bombs, files that are no videos, things that are no files.

Each goes the product's way: `readable` decodes it in a worker that can be killed and counts it where it gives nothing.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from fuzz_mutate import FIELDS, TEXTS, changed_bytes
from PIL import Image

from vqlora.data.example import Clip, Example
from vqlora.recipe import Frames
from vqlora.video.frames import FrameStore, readable

FORMS = {  # file: codec, options
    "a.mp4": ("libx264", {"g": "4"}),
    "b.mp4": ("libx264", {"bf": "2", "movflags": "faststart"}),
    "c.mp4": ("mpeg4", {}),
    "d.mov": ("mjpeg", {}),
    "e.avi": ("mpeg4", {}),
    "f.mkv": ("libx264", {}),
    "g.webm": ("libvpx", {"deadline": "realtime"}),
    "h.ts": ("mpeg2video", {}),
    "i.mpg": ("mpeg1video", {}),
    "j.flv": ("flv", {}),
    "k.wmv": ("wmv2", {}),
    "l.mp4": ("libx265", {"x265-params": "log-level=none"}),
}
NO_VIDEOS = (
    b"", b"\0" * 4096, b"hello\n", b"#!/bin/sh\ntouch /tmp/fuzz\n", b"<html><script>1</script></html>",
    b"%PDF-1.7\n", b"PK\x03\x04" + b"\0" * 40, b"\x7fELF" + b"\0" * 60, b"RIFF\xff\xff\xff\xffAVI LIST",
    b"\x1aE\xdf\xa3" + b"\xff" * 30,
    b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n/etc/passwd\n#EXT-X-ENDLIST\n",
    b"ffconcat version 1.0\nfile a.mp4\n",
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 1 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    b'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>http://127.0.0.1:1/</BaseURL></MPD>',
    b"YUV4MPEG2 W60000 H60000 F25:1 C420\nFRAME\n", b"GIF89a\xff\xff\xff\xff\x00\x00\x00",
    b"[Script Info]\n", b"WEBVTT\n\n",
)  # fmt: skip
BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"moof", b"traf")
SAMPLERS = ("uniform", "uniform", "fps", "keyframe", "codec", "vectors", "motion", "entropy", "scene")


class Videos:
    """Reads one hostile clip for each seed; 'accepted' where it still gives frames, else 'skipped'."""

    name = "videos"

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.said = scratch, ""
        self.whole = [self._write(name, *how) for name, how in FORMS.items()]
        self.bombs = [self._bomb("black.mp4", 8192, 24), self._bomb("long.mp4", 16, 20_000)]
        self.folder = scratch / "folder"
        self.folder.mkdir()
        for number in range(4):
            Image.fromarray(np.full((32, 32, 3), 60 * number, np.uint8)).save(self.folder / f"{number}.png")

    def one(self, rng: random.Random) -> str:
        """Makes the input and reads it."""
        makers: tuple[Callable[[random.Random], Path], ...] = (
            *(self._changed,) * 5, *(self._boxes,) * 6, self._cut, self._spliced, self._no_video, self._sized,
            self._sized, self._no_file, self._pictures, self._huge,
        )  # fmt: skip
        path = rng.choice(makers)(rng)
        try:
            return self._read(path, rng)
        finally:
            if re.fullmatch(r"[xnp]\d+(\.\w+)?", path.name):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)

    def _read(self, path: Path, rng: random.Random) -> str:
        ends = rng.choice((None, None, None, 0.2, 1e9))
        frames = Frames(budget=rng.choice((1, 2, 8)), size=28, sampler=rng.choice(SAMPLERS))
        example = Example(id="hostile", clips=(Clip(path=str(path), end_seconds=ends),), references={"en": ("a",)})
        found = readable(FrameStore(self.scratch / "cache", frames), [example], max_skipped_share=1)
        for row in found.skipped:
            assert row["id"] == "hostile" and row["reason"].isprintable(), row
        self.said = found.skipped[0]["reason"] if found.skipped else ""
        return "skipped" if found.skipped else "accepted"

    def _write(self, name: str, codec: str, options: dict[str, str]) -> Path:
        path = self.scratch / name
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=25, options={"threads": "1", **options})
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for number in range(8):
                picture = np.full((48, 64, 3), 30 * number, np.uint8)
                picture[number : number + 9, 5 * number : 5 * number + 9] = (250, 20, 99)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
        return path

    def _bomb(self, name: str, side: int, count: int) -> Path:
        """A small file of many or of large frames."""
        path = self.scratch / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"threads": "1", "preset": "ultrafast"})
            stream.width = stream.height = side
            stream.pix_fmt = "yuv420p"
            frame = av.VideoFrame.from_ndarray(np.zeros((side * 3 // 2, side), np.uint8), format="yuv420p")
            for number in range(count):
                frame.pts = number
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    def _put(self, content: bytes, like: Path, rng: random.Random) -> Path:
        """Under a name of its own, so that nothing is answered from what was known of another."""
        path = self.scratch / f"x{rng.randrange(10**12)}{like.suffix}"
        path.write_bytes(content)
        return path

    def _changed(self, rng: random.Random) -> Path:
        like = rng.choice(self.whole)
        return self._put(changed_bytes(rng, like.read_bytes()), like, rng)

    def _cut(self, rng: random.Random) -> Path:
        like = rng.choice(self.whole)
        raw = like.read_bytes()
        return self._put(raw[: rng.randrange(len(raw))], like, rng)

    def _spliced(self, rng: random.Random) -> Path:
        one, other = rng.choice(self.whole), rng.choice(self.whole)
        first, second = one.read_bytes(), other.read_bytes()
        return self._put(first[: rng.randrange(len(first))] + second[rng.randrange(len(second)) :], one, rng)

    def _no_video(self, rng: random.Random) -> Path:
        content = rng.choice((*NO_VIDEOS, rng.randbytes(500)))
        return self._put(content, Path(f"x{rng.choice(('.mp4', '.avi', '.m3u8', '.txt', '.ts'))}"), rng)

    def _boxes(self, rng: random.Random) -> Path:
        """An MP4 with a number in a box changed, a box left out or doubled, or a size that lies."""
        like = rng.choice([path for path in self.whole if path.suffix in (".mp4", ".mov")])
        raw = bytearray(like.read_bytes())
        boxes = list(_boxes(bytes(raw), 0, len(raw)))
        for _ in range(rng.randint(1, 3)):
            start, size, kind = rng.choice(boxes)
            what = rng.randrange(8)
            if what == 0:
                raw[start : start + 4] = rng.choice(FIELDS).to_bytes(4)
            elif what == 1:
                raw[start + 4 : start + 8] = b"free"
            elif what == 2 and kind in (b"stsz", b"stts", b"stsc", b"stco", b"stss", b"ctts", b"elst"):
                raw[start + 8 : start + size] = bytes(size - 8)
            elif size > 12:
                place = start + 8 + rng.randrange(0, size - 11)
                raw[place : place + 4] = rng.choice((*FIELDS, rng.randrange(2**32))).to_bytes(4)
        return self._put(bytes(raw), like, rng)

    def _sized(self, rng: random.Random) -> Path:
        """Width and height that lie, where containers and codecs keep them."""
        like = rng.choice(self.whole)
        raw, side = like.read_bytes(), rng.choice((0, 1, 7, 4096, 16_383, 65_500, 65_535))
        wide = struct.pack(">HH", 64, 48)
        lies = {
            wide: struct.pack(">HH", side, side),  # MP4's sample entry
            struct.pack(">HH", 48, 64): struct.pack(">HH", side, side),  # JPEG's frame header
            struct.pack("<HH", 64, 48): struct.pack("<HH", side & 0x3FFF, side & 0x3FFF),  # VP8's key frame
            struct.pack("<ii", 64, 48): struct.pack("<ii", side, side),  # AVI's and WMV's bitmap header
            struct.pack(">II", 64 << 16, 48 << 16): struct.pack(">II", side << 16, side << 16),  # the track's header
            bytes([0xB0, 64, 0xBA, 48]): bytes([0xB0, 255, 0xBA, 255]),  # Matroska's
            b"\x04\x00\x30": ((side & 0xFFF) << 12 | side & 0xFFF).to_bytes(3),  # MPEG-2's sequence
        }
        for old, new in lies.items():
            if len(old) == len(new) and rng.random() < 0.9:
                raw = raw.replace(old, new)
        return self._put(raw, like, rng)

    def _huge(self, rng: random.Random) -> Path:
        """Terabytes of holes behind a video, thousands of copies of one, or a bomb."""
        kind = rng.randrange(12)
        if kind == 0:
            return rng.choice(self.bombs)
        like = rng.choice(self.whole)
        if kind == 1:
            return self._put(like.read_bytes() * 300, like, rng)
        path = self._put(like.read_bytes(), like, rng)
        if kind == 2:
            os.truncate(path, 2**40)
        return path

    def _no_file(self, rng: random.Random) -> Path:
        """Links in a circle, devices, pipes, folders, and names that can be none."""
        path, kind = self.scratch / f"n{rng.randrange(10**12)}.mp4", rng.randrange(8)
        if kind == 0:
            path.symlink_to(path)
        elif kind == 1:
            path.symlink_to(rng.choice(("/dev/zero", "/dev/stdin", "/proc/self/mem", "/etc/passwd", "/none")))
        elif kind == 2:
            os.mkfifo(path)
        elif kind == 3:
            path.mkdir()
        else:
            return self.scratch / rng.choice(TEXTS)
        return path

    def _pictures(self, rng: random.Random) -> Path:
        folder = self.scratch / f"p{rng.randrange(10**12)}"
        folder.mkdir()
        for file in self.folder.iterdir():
            raw = file.read_bytes()
            (folder / file.name).write_bytes(changed_bytes(rng, raw) if rng.random() < 0.3 else raw)
        kind = rng.randrange(5)
        if kind == 0:
            (folder / "fps.txt").write_text(rng.choice(TEXTS), errors="ignore")
        elif kind == 1:
            header = struct.pack(">II", *rng.choice(((50_000, 50_000), (13_000, 13_000), (0, 0)))) + b"\x08\x02\0\0\0"
            raw = (folder / "1.png").read_bytes()
            checked = b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
            (folder / "1.png").write_bytes(raw[:12] + checked + raw[33:])
        elif kind == 2:
            (folder / "9.png").symlink_to(rng.choice(("/etc/passwd", "/dev/zero", "9.png")))
        return folder


def _boxes(raw: bytes, start: int, end: int) -> Iterator[tuple[int, int, bytes]]:
    """(place, size, kind) of every box of an MP4 file."""
    while start + 8 <= end:
        size, kind = int.from_bytes(raw[start : start + 4]), raw[start + 4 : start + 8]
        if size < 8 or start + size > end:
            return
        yield start, size, kind
        if kind in BOXES:
            yield from _boxes(raw, start + 8, start + size)
        start += size
