"""InstructBLIP on video (arXiv:2305.06500), the Q-Former line of the first Video-LLaMA (arXiv:2306.02858).

For each frame a Q-Former reads the question and asks the tower's states; its answers stand before the text as pads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vqlora.models.family import check_size, normalised
from vqlora.models.pads import Pads

if TYPE_CHECKING:
    from vqlora.data.example import Message


@dataclass(frozen=True, kw_only=True, eq=False)
class InstructBlipVideo(Pads):
    """The question that the Q-Former reads is the conversation's first turn."""

    def tokens_per_state(self, processor: Any, model_config: Any, size: int) -> int:
        check_size(self, size, model_config.vision_config.image_size)
        return model_config.num_query_tokens

    def batch(
        self,
        processor: Any,
        model_config: Any,
        times_seconds: Sequence[Sequence[float]],
        conversations: Sequence[Sequence[Message]],
        *,
        size: int,
        generate: bool = False,
    ) -> dict[str, Tensor]:
        """As every family's, and the questions, qformer_input_ids and qformer_attention_mask [B, Q]."""
        out = super().batch(processor, model_config, times_seconds, conversations, size=size, generate=generate)
        asked = [conversation[0].text for conversation in conversations]
        questions = processor.qformer_tokenizer(asked, padding=True, padding_side="right", return_tensors="pt")
        return out | {
            "qformer_input_ids": questions["input_ids"],
            "qformer_attention_mask": questions["attention_mask"],
        }

    def encode_frames(self, model: Any, processor: Any, frames: Tensor) -> Tensor:
        pixels = normalised(processor.video_processor, frames).to(model.dtype)
        return model.vision_model(pixel_values=pixels).last_hidden_state

    def frame_tokens(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        whole = torch.cat(list(states)).to(model.dtype)
        queries = model.query_tokens.expand(len(whole), -1, -1)
        rows = [row for row, state in enumerate(states) for _ in state]
        read = batch["qformer_attention_mask"][rows]
        answers = model.qformer(
            input_ids=batch["qformer_input_ids"][rows],
            attention_mask=torch.cat([torch.ones_like(queries[..., 0], dtype=read.dtype), read], dim=1),
            query_embeds=queries,
            encoder_hidden_states=whole,
        ).last_hidden_state[:, : queries.shape[1]]
        return model.language_projection(answers).flatten(0, 1)
