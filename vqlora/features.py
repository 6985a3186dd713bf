"""Features of frames for samplers that look at them: pooled vision states at the bits of training and at 16.

The quantised ones are the very tower's that the fine-tune uses; those at 16 bits come from the same base with that
tower at 16. Kept on disk by `vqlora.video.selections`, so both towers are asked once for a clip.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vqlora.inputs import precision
from vqlora.models.bits import bits_by_role
from vqlora.models.load import Loaded, load
from vqlora.models.roles import roles_of_base
from vqlora.recipe import Bits
from vqlora.states import states_folder
from vqlora.video.sight import Arrays

BATCH = 64  # frames at once


@dataclass(eq=False)
class TowerFeatures:
    """The tower of a base at its bits; `vqlora.video.selections.Tower`."""

    loaded: Loaded

    @cached_property
    def _reference(self) -> Loaded:
        loaded = self.loaded
        by_role = bits_by_role(loaded.bits, loaded.model_type)
        if by_role["vision"] == 16:
            return loaded
        plan = {role: 16 if role == "vision" else by_role[role] for role in roles_of_base(loaded.model_type)}
        bits: Bits = replace(loaded.bits, plan=plan)
        return load(loaded.base, bits, str(loaded.device))

    def features(self, frames: np.ndarray, query: str | None) -> Arrays:
        """Means over tokens: 'quantised' and 'full' [n, width] of frames uint8 [n, size, size, 3]; 'relevance' [n].

        relevance: cosine of projected frame and mean word embedding of the query. ValueError for a base whose frames
        aren't projected into the space of its words.
        """
        states = _states(self.loaded, frames)
        full = states if self._reference is self.loaded else _states(self._reference, frames)
        out = {"quantised": _pooled(states), "full": _pooled(full)}
        return out if query is None else {**out, "relevance": self._relevance(states, query)}

    @torch.no_grad()
    def _relevance(self, states: Tensor, query: str) -> np.ndarray:
        model = self.loaded.model
        if not hasattr(model.model, "projector"):
            raise ValueError(
                f"the sampler 'query' compares frames with words, which a {self.loaded.model_type} base keeps in "
                "different spaces; use a base with a projector, or the sampler 'quant_logdet'"
            )
        words = self.loaded.processor.tokenizer(query, return_tensors="pt")["input_ids"].to(self.loaded.device)
        with precision(self.loaded.device):
            seen = model.model.projector(states.flatten(0, 1)).unflatten(0, states.shape[:2]).mean(1)
            asked = model.get_input_embeddings()(words[0]).mean(0)
        return torch.cosine_similarity(seen.float(), asked.float().unsqueeze(0)).cpu().numpy()


def tower_key(loaded: Loaded) -> str:
    """Names everything that the features depend on: base, the tower's bits, versions and device."""
    return states_folder(Path(), loaded).name


@torch.no_grad()
def _states(loaded: Loaded, frames: np.ndarray) -> Tensor:
    """Vision states [n, tokens, width]."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    with loaded.fast(), precision(loaded.device):
        parts = [
            loaded.family.encode_frames(loaded.model, loaded.processor, part.to(loaded.device))
            for part in pixels.split(BATCH)
        ]
    return torch.cat(parts)


def _pooled(states: Tensor) -> np.ndarray:
    return states.float().mean(1).cpu().numpy()
