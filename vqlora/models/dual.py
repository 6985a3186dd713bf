"""Dual encoders for retrieval: a clip and a text become one vector each, and a batch's pairs are told from the rest.

A frame's states are the tower's tokens with the pooled one before them; what projects and integrates them is
cross_modal. `embedding` gives the clips' vectors, `text_embedding` the texts'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vqlora.models.family import Family, check_size, normalised

if TYPE_CHECKING:
    from vqlora.data.example import Message

NO_TEXT = "it has no language model that writes; it retrieves (its `embedding` and `text_embedding`)"


@dataclass(frozen=True, kw_only=True, eq=False)
class Dual(Family):
    """CLIP (arXiv:2103.00020), frames averaged after normalising them (CLIP4Clip's meanP, arXiv:2104.08860)."""

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
        """input_ids and attention_mask [B, T] of the texts that the clips are to be found by: the last turns."""
        if generate:
            self.check_can("caption")
        check_size(self, size, model_config.vision_config.image_size)
        for times in times_seconds:
            self.check_frames(model_config, len(times))
        texts = [conversation[-1].text for conversation in conversations]
        return self.text_batch(processor, model_config, texts)

    def check_frames(self, model_config: Any, count: int) -> None:
        """ValueError unless the family can see this number of frames."""

    def text_batch(self, processor: Any, model_config: Any, texts: Sequence[str]) -> dict[str, Tensor]:
        """Tokens of texts, cut where the text tower ends."""
        longest = model_config.text_config.max_position_embeddings
        start, end = processor.tokenizer.bos_token, processor.tokenizer.eos_token
        own = processor.tokenizer(list(texts), add_special_tokens=False).input_ids
        first, last = (processor.tokenizer.convert_tokens_to_ids(token) for token in (start or end, end))
        rows = [[first, *ids[: longest - 2], last] for ids in own]
        length = max(map(len, rows))
        pad = processor.tokenizer.pad_token_id
        ids = torch.tensor([row + [pad] * (length - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
        return {"input_ids": ids, "attention_mask": mask}

    def encode_frames(self, model: Any, processor: Any, frames: Tensor) -> Tensor:
        pixels = normalised(processor.image_processor, frames).to(model.dtype)
        out = model.vision_model(pixel_values=pixels)
        return torch.cat([out.pooler_output.unsqueeze(1), out.last_hidden_state], dim=1)

    def project(self, model: Any, states: Tensor) -> Tensor:
        """Pooled frames [n, width] as vectors of the shared space [n, D]."""
        return model.visual_projection(states)

    def embedding(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        """One vector of length 1 per clip, [B, D]."""
        frames = self.project(model, torch.cat([state[:, 0] for state in states]).to(model.dtype))
        clips = F.normalize(frames, dim=-1).split([len(state) for state in states])
        return F.normalize(torch.stack([clip.mean(0) for clip in clips]), dim=-1)

    def text_embedding(self, model: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """One vector of length 1 per text, [B, D]."""
        out = model.text_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        return F.normalize(model.text_projection(out.pooler_output), dim=-1)

    def similarities(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        """Scaled similarity of every clip with every text, [clips, texts]."""
        return self.embedding(model, batch, states) @ self.text_embedding(model, batch).T * model.logit_scale.exp()

    def loss(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        """Mean cross-entropy of finding each clip's text and each text's clip within the batch (nats)."""
        found = self.similarities(model, batch, states).float()
        right = torch.arange(len(found), device=found.device)
        return (F.cross_entropy(found, right) + F.cross_entropy(found.T, right)) / 2

    def token_losses(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        raise ValueError(f"{self.name} has no loss per token: its loss is of a whole batch; train it alone")

    def generate(
        self, model: Any, processor: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor], *, max_new_tokens: int
    ) -> list[str]:
        self.check_can("caption")
        raise AssertionError(f"the row of {self.name} must say why it cannot caption")


@dataclass(frozen=True, kw_only=True, eq=False)
class Siglip(Dual):
    """SigLIP (arXiv:2303.15343): every pair of a batch is judged for itself; texts are padded to one length."""

    def text_batch(self, processor: Any, model_config: Any, texts: Sequence[str]) -> dict[str, Tensor]:
        out = super().text_batch(processor, model_config, texts)
        # The text tower reads its last place, and was trained on texts padded to its full length without a mask.
        missing = model_config.text_config.max_position_embeddings - out["input_ids"].shape[1]
        ids = F.pad(out["input_ids"][:, 1:], (0, missing + 1), value=processor.tokenizer.pad_token_id)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def project(self, model: Any, states: Tensor) -> Tensor:
        return states

    def text_embedding(self, model: Any, batch: Mapping[str, Tensor]) -> Tensor:
        return F.normalize(model.text_model(input_ids=batch["input_ids"]).pooler_output, dim=-1)

    def similarities(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        return super().similarities(model, batch, states) + model.logit_bias

    def loss(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        """Binary cross-entropy over all pairs, per clip (nats)."""
        found = self.similarities(model, batch, states).float()
        signs = 2 * torch.eye(len(found), device=found.device) - 1
        return -F.logsigmoid(signs * found).sum() / len(found)


@dataclass(frozen=True, kw_only=True, eq=False)
class XClip(Dual):
    """X-CLIP (arXiv:2208.02816): frames exchange messages inside the tower, and a text is read in view of the clip."""

    def check_frames(self, model_config: Any, count: int) -> None:
        wanted = model_config.vision_config.num_frames
        if count != wanted:
            raise ValueError(
                f"{count} frames do not fit: this {self.name} base sees {wanted}; use Frames(budget={wanted})"
            )

    def embedding(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        frames = self.project(model, torch.stack([state[:, 0] for state in states]).to(model.dtype))
        return F.normalize(model.mit(frames).pooler_output, dim=-1)

    def similarities(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        clips = self.embedding(model, batch, states)
        out = model.text_model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        texts = model.text_projection(out.pooler_output).unsqueeze(0).expand(len(clips), -1, -1)
        patches = model.prompts_visual_layernorm(torch.stack(list(states))[:, :, 2:].to(model.dtype))
        seen = (patches @ model.prompts_visual_projection).mean(1)
        texts = F.normalize(texts + model.prompts_generator(texts, seen), dim=-1)
        return torch.einsum("bd,bkd->bk", clips, texts) * model.logit_scale.exp()
