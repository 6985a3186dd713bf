"""Which frame each token of a layer's input belongs to, and that frame's score.

Set from outside before a pass (`see`), read by adapted layers in it. It stays until the next pass, so that gradient
checkpointing, which runs layers again in the backward pass, finds it unchanged. A layer whose input has another shape
than the pass was announced with, such as a token that is being generated, sees text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vqlora.adapters.adapted import Shown
from vqlora.methods import TemporalLora

Layout = Literal["tokens", "frames", "padded"]
IDEFICS_CROSS = "model.gated_cross_attn_layers."


def layout_of(model_type: str, name: str) -> Layout:
    """Order of the rows of a layer's input: tokens of a text, all frames end to end, or padded to the longest clip.

    ValueError for a family whose order is not known here: guessing would give frames other frames' ranks.
    """
    if model_type == "video_llama_3":
        return "frames" if name.startswith(("model.vision_model", "model.projector")) else "tokens"
    if model_type == "idefics":
        if name.startswith("model.vision_model"):
            return "frames"
        is_key = name.startswith(IDEFICS_CROSS) and name.endswith(("cross_attn.k_proj", "cross_attn.v_proj"))
        return "padded" if is_key or name.startswith("model.perceiver_resampler") else "tokens"
    raise ValueError(
        f"temporal adapters need to know where a {model_type} base keeps the tokens of each frame, and they don't; use "
        "Lora, or add the family to vqlora.adapters.watch.layout_of"
    )


def scores_of(shown: Shown, method: TemporalLora) -> Tensor:
    """The score that each frame of a clip is treated by, [frames]; another one under a control."""
    parts = [weight * np.asarray(shown.scores[name]) for name, weight in sorted(method.score.items())]
    own = np.sum(parts, axis=0)
    rng = np.random.default_rng(shown.number)
    match method.control:
        case "shuffled":
            own = rng.permutation(own)
        case "random":
            own = rng.random(len(own))
        case "still":
            own = np.full(len(own), 0.5)
    return torch.from_numpy(own.astype(np.float32))


@dataclass(eq=False)
class Watch:
    """The frames of the pass under way. scores, before: of all clips' frames end to end [F], and of the frame before.

    follows: 1 for a frame that another of its clip is before [F]. passes: how many were announced so far.
    places: per layout the place of each row's frame in these, + 1; 0 is text.
    """

    placeholders: frozenset[int]
    scores: Tensor = field(default_factory=lambda: torch.zeros(0))
    before: Tensor = field(default_factory=lambda: torch.zeros(0))
    follows: Tensor = field(default_factory=lambda: torch.zeros(0))
    counts: tuple[int, ...] = ()
    passes: int = 0
    places: dict[Layout, Tensor] = field(default_factory=dict)

    def see(self, scores: Sequence[Tensor], tokens: Mapping[str, Tensor] | None, device: torch.device) -> None:
        """scores: [frames] of each clip. tokens: the batch, with `input_ids` and `frame_of_token` [B, T]."""
        self.counts, self.passes = tuple(len(one) for one in scores), self.passes + 1
        self.scores = torch.cat(list(scores)).to(device)
        self.before = torch.cat([torch.cat([one[:1], one[:-1]]) for one in scores]).to(device)
        self.follows = torch.cat([(torch.arange(len(one)) > 0).float() for one in scores]).to(device)
        numbers = torch.arange(1, len(self.scores) + 1, device=device)
        padded = pad_sequence(list(numbers.split(self.counts)), batch_first=True)
        self.places = {"frames": numbers, "padded": padded.flatten()}
        if tokens is not None:
            ids, frame = tokens["input_ids"], tokens["frame_of_token"]
            is_frame = torch.isin(ids, torch.tensor(sorted(self.placeholders), device=ids.device)) & (frame > 0)
            own = padded.gather(1, (frame - 1).clamp(0, padded.shape[1] - 1))
            self.places["tokens"] = torch.where(is_frame, own, 0)

    def rows(self, layout: Layout, shape: torch.Size) -> Tensor | None:
        """The place + 1 of each row of an input [*shape, width]; None where all of them are text."""
        places = self.places.get(layout)
        if places is None:
            return None
        if layout == "tokens":
            return places if places.shape == shape else None
        each, rest = divmod(shape.numel(), len(places))
        return None if rest or not each else places.repeat_interleave(each).view(shape)
