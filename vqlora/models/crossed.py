"""Families whose language model looks at frames by cross-attention (Flamingo, arXiv:2204.14198).

Text after the frames attends to all of them; the tokens of a frame's own place, 'Time 1.0s:<image>', attend to that
frame and so carry its order. The families' processors are for images: theirs would hide all frames but the last
(Idefics), or leave them without order (Mllama).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vqlora.models.family import Family, check_size, normalised, positions_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Crossed(Family):
    """What both have: who may see which frame."""

    crosses: bool = True

    @staticmethod
    def padded(batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """States of all clips [B, N, tokens, width] and who may see them [B, T, N]; N = most frames of a row."""
        counts = [len(state) for state in states]
        most = max(counts)
        padded = torch.stack([F.pad(state, (0, 0, 0, 0, 0, most - len(state))) for state in states])
        number = torch.arange(1, most + 1, device=padded.device)
        frame = batch["frame_of_token"].unsqueeze(-1)
        real = number <= torch.tensor(counts, device=padded.device).view(-1, 1, 1)
        return padded, (((frame == number) | (frame == -1)) & real).long()


@dataclass(frozen=True, kw_only=True, eq=False)
class Idefics(Crossed):
    """IDEFICS: perceiver resampler and gated cross-attention between the layers."""

    def places(self, processor: Any, model_config: Any, size: int, times_seconds: Sequence[float]) -> list[str]:
        fence = "<fake_token_around_image>"
        fence = fence if fence in processor.tokenizer.get_added_vocab() else ""
        texts = [f"Time {time:.1f}s:{fence}<image>" for time in times_seconds]
        return [*texts[:-1], texts[-1] + fence]

    def encode_frames(self, model: Any, processor: Any, frames: Tensor) -> Tensor:
        pixels = normalised(processor.image_processor, frames)
        return model.model.vision_model(pixel_values=pixels.to(model.dtype)).last_hidden_state

    def language_inputs(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> dict[str, Any]:
        padded, sees = self.padded(batch, states)
        images = {"image_encoder_embeddings": padded}
        if model.config.use_resampler:
            latents = model.model.perceiver_resampler(padded.flatten(0, 1).to(model.dtype))
            images = {"perceiver_embeddings": latents.unflatten(0, padded.shape[:2])}
        return {
            "input_ids": batch["input_ids"],
            "attention_mask": batch["attention_mask"],
            "image_attention_mask": sees,
            **images,
        }

    def next_inputs(self, model: Any, inputs: Mapping[str, Any], tokens: Tensor) -> dict[str, Any]:
        attention = inputs["attention_mask"]
        return {
            **inputs,
            "input_ids": tokens.unsqueeze(1),
            "attention_mask": torch.cat([attention, torch.ones_like(attention[:, :1])], dim=1),
            "image_attention_mask": inputs["image_attention_mask"][:, -1:],
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Mllama(Crossed):
    """Llama 3.2 Vision (arXiv:2407.21783): every fifth layer of the language model attends to the tower's states.

    A frame is one tile; the tower is given the three empty tiles that its learned embeddings ask for, hidden.
    """

    def places(self, processor: Any, model_config: Any, size: int, times_seconds: Sequence[float]) -> list[str]:
        check_size(self, size, model_config.vision_config.image_size)
        layers, wanted = model_config.text_config.cross_attention_layers, model_config.text_config.num_hidden_layers
        if list(layers) != list(range(3, wanted, 5)):
            raise ValueError(
                f"this {self.name} base attends to frames in layers {list(layers)}; its roles are known for every "
                f"fifth layer from 3 (vqlora.models.families), so write a row of your own for it"
            )
        return [f"Time {time:.1f}s:{processor.image_token}" for time in times_seconds]

    def encode_frames(self, model: Any, processor: Any, frames: Tensor) -> Tensor:
        vision = model.config.vision_config
        pixels = normalised(processor.image_processor, frames).to(model.dtype)
        tiles = F.pad(pixels.unsqueeze(1), (0, 0, 0, 0, 0, 0, 0, vision.max_num_tiles - 1)).unsqueeze(1)
        real = torch.zeros(len(frames), 1, vision.max_num_tiles, dtype=torch.long, device=frames.device)
        real[..., 0] = 1
        one_by_one = torch.full(
            (len(frames), 1), vision.supported_aspect_ratios.index([1, 1]) + 1, device=frames.device
        )
        states = model.model.vision_model(tiles, one_by_one, real).last_hidden_state
        return states[:, 0, 0]

    def language_inputs(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> dict[str, Any]:
        padded, sees = self.padded(batch, states)
        return {
            "inputs_embeds": model.get_input_embeddings()(batch["input_ids"]),
            "attention_mask": batch["attention_mask"],
            "position_ids": positions_of(batch["attention_mask"]),
            "cross_attention_states": model.model.multi_modal_projector(padded.to(model.dtype)).flatten(1, 2),
            "cross_attention_mask": sees.unsqueeze(-1),
        }

    def next_inputs(self, model: Any, inputs: Mapping[str, Any], tokens: Tensor) -> dict[str, Any]:
        """The keys and values of the frames are in the cache."""
        following = super().next_inputs(model, inputs, tokens)
        return {**following, "cross_attention_mask": inputs["cross_attention_mask"][:, -1:]}
