"""What trials of one process share: data, decoded frames, bases, vision states of frozen towers."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

import torch

from vqlora.data.example import Example
from vqlora.data.sets import Splits, default_cache, open_data
from vqlora.features import TowerFeatures, tower_key
from vqlora.models.load import Loaded, load
from vqlora.recipe import TOWER_SAMPLERS, Frames, Recipe, to_json
from vqlora.states import StateMemory, states_folder
from vqlora.video.frames import FrameStore, Readable, clips_digest, readable

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """A data set whose examples have all been decoded once; `skipped` says which had to be left out.

    digest: of the annotations, see `Splits`; clips_digest: of the video files.
    """

    digest: str
    clips_digest: str
    splits: Mapping[str, tuple[Example, ...]]
    skipped: tuple[Mapping[str, str], ...]
    store: FrameStore


KEPT_TOWERS = 4  # whose vision states are remembered


class Warm:
    """Shared things by what they depend on. A trial gives the same result to the bit with it as without (on a CPU)."""

    def __init__(self) -> None:
        self._lock = RLock()  # trials of a pack are threads of one process
        self._splits: dict[str, Splits] = {}
        self._data: dict[tuple[Any, ...], Data] = {}
        self._bases: dict[tuple[str, str, str], Loaded] = {}
        self._states: dict[Path, StateMemory] = {}

    def data(self, recipe: Recipe, device: str = "cpu") -> Data:
        """The recipe's data, every clip decoded. ValueError past `max_skipped_share`.

        device: where the base's tower runs if the sampler looks at its features.
        """
        needs_tower = recipe.frames.sampler in TOWER_SAMPLERS
        key = (recipe.data, recipe.frames, recipe.max_skipped_share, _base_key(recipe, device) if needs_tower else None)
        with self._lock:
            if key not in self._data:
                if recipe.data not in self._splits:
                    self._splits[recipe.data] = open_data(recipe.data)
                loaded = self.base(recipe, device) if needs_tower else None
                self._data[key] = _decoded(self._splits[recipe.data], recipe, loaded)
            return self._data[key]

    def base(self, recipe: Recipe, device: str) -> Loaded:
        """The recipe's base, loaded once; a method that changes it gets its own."""
        key, is_changed = _base_key(recipe, device), recipe.method.changes_base
        if key in self._bases and not is_changed:
            return self._bases[key]
        if torch.device(device).type == "cuda":  # a second base would take memory from the trial
            self.forget_bases()
        loaded = load(recipe.base, recipe.bits, device)
        if not is_changed:
            self._bases[key] = loaded
        return loaded

    def forget_bases(self) -> None:
        self._bases.clear()
        gc.collect()  # a pack and its seats refer to each other, and to the base
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def states(self, loaded: Loaded) -> StateMemory:
        """Vision states under this base and its bits; from memory those of the least recent bases are dropped."""
        key = states_folder(default_cache(), loaded)
        with self._lock:
            self._states[key] = self._states.pop(key, None) or StateMemory(key)
            for old in list(self._states)[:-KEPT_TOWERS]:
                del self._states[old]
            return self._states[key]


def _decoded(splits: Splits, recipe: Recipe, loaded: Loaded | None) -> Data:
    store = frame_store(recipe.frames, loaded)
    parts: dict[str, Readable] = {
        split: readable(store, getattr(splits, split), max_skipped_share=recipe.max_skipped_share)
        for split in ("train", "val", "test")
    }
    store.selections.tower = None  # every clip's frames are chosen; the base may go
    LOG.info(
        "sampler %s: %.1f %% of the frames filled in", recipe.frames.sampler, 100 * store.selections.fallback_rate()
    )
    return Data(
        digest=splits.digest,
        clips_digest=clips_digest(default_cache(), (*splits.train, *splits.val, *splits.test)),
        splits={split: part.examples for split, part in parts.items()},
        skipped=tuple(row for part in parts.values() for row in part.skipped),
        store=store,
    )


def frame_store(frames: Frames, loaded: Loaded | None) -> FrameStore:
    """The store of a machine's cache; `loaded` for samplers that look at a base's features."""
    if frames.sampler not in TOWER_SAMPLERS or loaded is None:
        return FrameStore(default_cache(), frames)
    return FrameStore(default_cache(), frames, tower_key=tower_key(loaded), tower=TowerFeatures(loaded))


def _base_key(recipe: Recipe, device: str) -> tuple[str, str, str]:
    return recipe.base, json.dumps(to_json(recipe.bits), sort_keys=True), device
