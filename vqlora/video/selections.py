"""Which frames of which clip were chosen, remembered: chosen once on a machine, with what the choice took.

Signals of a file and features of its frames are kept beside, so that another budget or sampler costs no second pass.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np

from vqlora.recipe import Frames
from vqlora.video.cache import key_of, write_whole
from vqlora.video.decode import decoder_versions
from vqlora.video.samplers import select
from vqlora.video.sight import Arrays, Made, Sight, made
from vqlora.video.signals import Signals

FORMAT = 1  # of the entries; a change of it leaves old ones unread


class Tower(Protocol):
    """A base's vision tower, for samplers that look at features."""

    def features(self, frames: np.ndarray, query: str | None) -> Arrays:
        """'quantised' and 'full' [n, width] of frames uint8 [n, size, size, 3]; 'relevance' [n] with a query."""
        ...


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Indices in the file, how many were filled in, and the seconds of CPU and device that choosing them took."""

    indices: tuple[int, ...]
    filled: int
    seconds: float


@dataclass(eq=False)
class Selections:
    """Choices under one `Frames` setting.

    tower_key: what features depend on, None for a sampler that needs none. tower: asked only for what is not on disk,
    and may be taken away once every clip's frames are chosen.
    """

    cache_dir: Path
    frames: Frames
    tower_key: str | None = None
    tower: Tower | None = None
    known: dict[str, Chosen] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)  # one clip's features at a time: the tower is one model

    def choose(
        self,
        sight: Sight,
        digest: str,
        *,
        pixels: Callable[[Sequence[int]], np.ndarray],
        query: str | None = None,
    ) -> Chosen:
        """The frames of a clip in a file of this content digest. pixels: decodes frames of the file."""
        tower = self.tower_key
        query = query if self.frames.sampler == "query" else None
        asked = {"budget": self.frames.budget, "sampler": self.frames.sampler, "fps": self.frames.fps}
        stretch = [sight.inside[0], sight.inside[-1]]
        key = key_of([FORMAT, digest, stretch, asked, self.frames.size if tower else None, tower, query])
        if key not in self.known:
            entry = self.cache_dir / "selected" / key[:2] / f"{key}.json"
            self.known[key] = _read(entry) or self._choose(sight, digest, pixels, query, entry)
        return self.known[key]

    def signals(self, sight: Sight, digest: str) -> Signals:
        """Motion, entropy and cuts of a clip's frames."""
        sight.keep = lambda name, make: self._kept([digest, name], make)
        return sight.signals()

    def fallback_rate(self) -> float:
        """The share of frames that no sampler chose."""
        total = sum(len(chosen.indices) for chosen in self.known.values())
        return sum(chosen.filled for chosen in self.known.values()) / total if total else 0.0

    def seconds(self) -> float:
        """That choosing the frames of all clips took, whenever it was done."""
        return sum(chosen.seconds for chosen in self.known.values())

    def _choose(
        self,
        sight: Sight,
        digest: str,
        pixels: Callable[[Sequence[int]], np.ndarray],
        query: str | None,
        entry: Path,
    ) -> Chosen:
        sight.seed = int(digest[:16], 16)
        sight.keep = lambda name, make: self._kept([digest, name], make)
        if (tower := self.tower) is not None:
            size = self.frames.size

            def features(indices: Sequence[int]) -> Made:
                parts = [digest, list(indices), size, self.tower_key, query]
                with self._lock:
                    return self._kept(parts, lambda: tower.features(pixels(indices), query))

            sight.tower = features
        selection = select(self.frames, sight)
        indices = tuple(int(sight.inside[place]) for place in selection.indices)
        chosen = Chosen(indices=indices, filled=selection.filled, seconds=sight.seconds)
        if self.frames.sampler != "uniform":  # arithmetic is quicker than a file
            write_whole(entry, lambda file: file.write(json.dumps(asdict(chosen)).encode()))
        return chosen

    def _kept(self, parts: list[Any], make: Callable[[], Arrays]) -> Made:
        key = key_of([FORMAT, decoder_versions(), *parts])
        entry = self.cache_dir / "signals" / key[:2] / f"{key}.npz"
        try:
            with np.load(entry) as found:
                arrays = dict(found)
            return Made(seconds=float(arrays.pop("made_seconds")), arrays=arrays)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            fresh = made(make)
            content = io.BytesIO()
            arrays: dict[str, Any] = {**fresh.arrays, "made_seconds": np.array(fresh.seconds)}
            np.savez(content, **arrays)
            write_whole(entry, lambda file: file.write(content.getvalue()))
            return fresh


def _read(entry: Path) -> Chosen | None:
    try:
        plain = json.loads(entry.read_bytes())
        return Chosen(indices=tuple(plain["indices"]), filled=plain["filled"], seconds=plain["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
