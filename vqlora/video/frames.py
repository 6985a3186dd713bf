"""Clips as the model sees them: sampled, resized, kept on disk. Each clip is decoded once per machine,
in a process that can be killed (`killable`).

A cache entry is one NumPy file with a row per frame (index, time, decoder, pixels), memory-mapped when read. It is
written beside its place and renamed into it, so readers see a whole entry or none, whoever else writes.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vqlora.data.example import Clip, Example
from vqlora.data.videos import file_name
from vqlora.recipe import Frames
from vqlora.video.cache import key_of, write_whole
from vqlora.video.decode import DecodeError, VideoInfo, decoder_versions, read_frames
from vqlora.video.killable import call
from vqlora.video.seen import local, seen
from vqlora.video.selections import Selections, Tower
from vqlora.video.sight import Sight
from vqlora.video.signals import scores_of

FORMAT = 1  # of the entries; a change of it leaves old ones unread


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """What is known of a clip's frames: times in seconds from the clip's start [n], indices in the file [n], decoder.

    digest: of the file's content, the indices, the size and the decoders' versions.
    """

    times_seconds: tuple[float, ...]
    indices: tuple[int, ...]
    decoder: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class ClipFrames(Stamp):
    """The frames themselves, uint8 [n, size, size, 3]."""

    frames: np.ndarray


class FrameStore:
    """The frames of clips under one `Frames` setting, from `cache_dir` where they are there, else decoded into it.

    selections: which frames, for samplers of features with a base's tower.
    """

    def __init__(
        self, cache_dir: Path, frames: Frames, *, tower_key: str | None = None, tower: Tower | None = None
    ) -> None:
        self.cache_dir, self.frames = cache_dir, frames
        self.selections = Selections(cache_dir, frames, tower_key, tower)
        self._scores: dict[tuple[Clip, str | None], dict[str, np.ndarray]] = {}
        self._stamps: dict[tuple[Clip, str | None], Stamp] = {}

    def get(self, clip: Clip, query: str | None = None) -> ClipFrames:
        """query: what is asked of the clip. DecodeError, naming the file and the cause, if it gives no frames."""
        digest, info = seen(self.cache_dir, clip.path)
        return self._at(clip, self._chosen(clip, query, digest, info), digest, info)

    def stamp(self, clip: Clip, query: str | None = None) -> Stamp:
        """As `get`, from memory once the clip was read: a step asks for those of its whole batch."""
        if (clip, query) not in self._stamps:
            found = self.get(clip, query)
            self._stamps[clip, query] = Stamp(**{one.name: getattr(found, one.name) for one in fields(Stamp)})
        return self._stamps[clip, query]

    def at(self, clip: Clip, indices: Sequence[int]) -> ClipFrames:
        """Frames by their indices in the file, whatever the sampler; DecodeError as above."""
        return self._at(clip, indices, *seen(self.cache_dir, clip.path))

    def _at(self, clip: Clip, indices: Sequence[int], digest: str, info: VideoInfo) -> ClipFrames:
        key = key_of([FORMAT, digest, list(indices), self.frames.size, decoder_versions()])
        entry = self.cache_dir / "frames" / key[:2] / f"{key}.npy"
        rows = _load(entry, self._row_type())
        if rows is None:
            write_whole(entry, lambda file: np.save(file, self._decode(clip, indices, info)))
            rows = _load(entry, self._row_type())
            assert rows is not None, f"{entry} was written and does not read back"
        start = clip.start_seconds or 0.0
        return ClipFrames(
            frames=rows["pixels"],
            times_seconds=tuple(float(time) - start for time in rows["seconds"]),
            indices=tuple(int(index) for index in rows["index"]),
            decoder=bytes(rows["decoder"][0]).decode(),
            digest=key,
        )

    def scores(self, clip: Clip, query: str | None = None) -> dict[str, np.ndarray]:
        """'motion', 'entropy' and 'keyframe' of each chosen frame, in [0, 1]: [n], see `signals.scores_of`."""
        if (clip, query) not in self._scores:
            digest, info = seen(self.cache_dir, clip.path)
            indices = self._chosen(clip, query, digest, info)
            inside, stretch = _stretch(clip, info)
            with local(self.cache_dir, clip.path) as path:
                sight = Sight(path=path, file=info, info=stretch, inside=inside, run=call)
                signals = self.selections.signals(sight, digest)
            self._scores[clip, query] = scores_of(signals, [inside.index(index) for index in indices])
        return self._scores[clip, query]

    def _chosen(self, clip: Clip, query: str | None, digest: str, info: VideoInfo) -> tuple[int, ...]:
        inside, stretch = _stretch(clip, info)

        def pixels(indices: Sequence[int]) -> np.ndarray:
            return self._decode(clip, indices, info)["pixels"]

        # The address of a clip in a bucket will do for samplers that need neither packets nor pictures.
        place = nullcontext(clip.path) if self.frames.sampler in ("uniform", "random", "fps") else None
        with place or local(self.cache_dir, clip.path) as path:
            sight = Sight(path=path, file=info, info=stretch, inside=inside, run=call)
            return self.selections.choose(sight, digest, pixels=pixels, query=query).indices

    def _decode(self, clip: Clip, indices: Sequence[int], info: VideoInfo) -> np.ndarray:
        with local(self.cache_dir, clip.path) as path:
            decoded = call(read_frames, path, indices, "auto", info)
        rows = np.zeros(len(indices), self._row_type())
        rows["index"], rows["seconds"], rows["decoder"] = indices, decoded.times_seconds, decoded.decoder
        rows["pixels"] = np.stack([resize(frame, self.frames.size) for frame in decoded.frames])
        return rows

    def _row_type(self) -> np.dtype[Any]:
        size = self.frames.size
        return np.dtype([("index", "<i8"), ("seconds", "<f8"), ("decoder", "S32"), ("pixels", "u1", (size, size, 3))])


@dataclass(frozen=True, kw_only=True)
class Readable:
    """Examples whose clips all give frames, and those that don't, each {'id', 'reason'}."""

    examples: tuple[Example, ...]
    skipped: tuple[dict[str, str], ...]


class TooManySkipped(ValueError):
    """More clips can't be read than `max_skipped_share` allows. The message names them."""


def readable(store: FrameStore, examples: Sequence[Example], *, max_skipped_share: float) -> Readable:
    """Decodes every clip into the store and keeps the examples that can be read; TooManySkipped past the share.

    An example that occurs more than once (a weighted mixture) counts once in `skipped` and in the share. They are
    read in an order of this process's own, so that workers that start together leave each other's clips alone.
    """
    distinct = {example.id: example for example in examples}
    names = random.Random().sample(list(distinct), len(distinct))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reasons = dict(zip(names, pool.map(lambda name: _reason(store, distinct[name]), names), strict=True))
    skipped = tuple({"id": name, "reason": reason} for name in distinct if (reason := reasons[name]) is not None)
    if len(skipped) > max_skipped_share * len(reasons):
        named = "; ".join(f"{row['id']} ({row['reason']})" for row in skipped[:10])
        more = f"; and {len(skipped) - 10} more" if len(skipped) > 10 else ""
        raise TooManySkipped(
            f"{len(skipped)} of {len(reasons)} examples can't be read, over the share {max_skipped_share:g} allowed: "
            f"{named}{more}. Mend or remove them, or raise max_skipped_share"
        )
    return Readable(examples=tuple(e for e in examples if reasons[e.id] is None), skipped=skipped)


def clips_digest(cache_dir: Path, examples: Iterable[Example]) -> str:
    """SHA-256 over names and contents of the examples' video files, unreadable ones as such; first 16 hex digits."""
    digests: dict[str, str] = {}
    for clip in (clip for example in examples for clip in example.clips):
        try:
            digests[clip.path] = digests.get(clip.path) or seen(cache_dir, clip.path)[0]
        except DecodeError:
            digests[clip.path] = "unreadable"
    return key_of(sorted([file_name(path), digest] for path, digest in digests.items()))[:16]


def resize(frame: np.ndarray, size: int) -> np.ndarray:
    """uint8 [h, w, 3] to [size, size, 3]: bilinear with antialiasing in Pillow's integer arithmetic, bit-stable."""
    if frame.shape[:2] == (size, size):
        return frame
    return np.asarray(Image.fromarray(np.ascontiguousarray(frame)).resize((size, size), Image.Resampling.BILINEAR))


def _reason(store: FrameStore, example: Example) -> str | None:
    try:
        for clip in example.clips:
            store.get(clip, example.question)
    except DecodeError as error:
        return str(error)
    return None


def _stretch(clip: Clip, info: VideoInfo) -> tuple[Sequence[int], VideoInfo]:
    """Indices of the frames inside the clip's stretch, and the info of those alone."""
    if clip.start_seconds is None and clip.end_seconds is None:
        return range(info.frames), info
    start, end = clip.start_seconds or 0.0, float("inf") if clip.end_seconds is None else clip.end_seconds
    inside = [index for index, time in enumerate(info.times_seconds) if start <= time < end]
    if not inside:
        last = info.times_seconds[-1]
        raise DecodeError(f"{clip.path}: no frame from {start} s to {end} s; the last one is at {last:.3f} s")
    return inside, replace(info, frames=len(inside), times_seconds=tuple(info.times_seconds[i] for i in inside))


def _load(entry: Path, row_type: np.dtype[Any]) -> np.ndarray | None:
    """The entry, memory-mapped copy-on-write (torch wants writable memory); None if missing or cut short."""
    try:
        rows = np.load(entry, mmap_mode="c")
    except (OSError, EOFError, ValueError):
        return None
    return rows if rows.dtype == row_type and len(rows) else None
