"""One vector a clip and one a text from a video-language model: the last token's state after a prompt to sum up.

Contrastively trained (InfoNCE, arXiv:1807.03748, both ways as in CLIP, arXiv:2103.00020), their cosine says which text
tells which clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vqlora.data.example import Message
from vqlora.data.shapes_tasks import CLIP_PROMPT, text_prompt
from vqlora.models.families import Family

TEMPERATURE = 0.05


def clip_batch(
    family: Family, processor: Any, config: Any, times_seconds: Sequence[Sequence[float]], *, size: int
) -> dict[str, Tensor]:
    """Tokens that ask to sum up each clip; the last one's state is its vector."""
    talks = [(Message(role="user", text=CLIP_PROMPT),)] * len(times_seconds)
    return family.batch(processor, config, times_seconds, talks, size=size, generate=True)


def text_batch(family: Family, processor: Any, config: Any, texts: Sequence[str], *, size: int) -> dict[str, Tensor]:
    """Tokens that ask to sum up each text, without a clip: none of them sees a frame."""
    talks = [(Message(role="user", text=text_prompt(text)),) for text in texts]
    batch = family.batch(processor, config, [()] * len(texts), talks, size=size, generate=True)
    return {**batch, "frame_of_token": torch.zeros_like(batch["frame_of_token"])}


def clip_vectors(family: Family, model: Any, batch: dict[str, Tensor], states: Sequence[Tensor]) -> Tensor:
    """Unit vectors [B, D] of clips with these vision states."""
    return F.normalize(family.hidden(model, batch, states)[:, -1].float(), dim=-1)


def text_vectors(family: Family, model: Any, processor: Any, batch: dict[str, Tensor], *, size: int) -> Tensor:
    """Unit vectors [B, D] of texts. A black frame stands where the model's code wants one; no token sees it."""
    ids = batch["input_ids"]
    with torch.no_grad():
        blank = torch.zeros(1, 3, size, size, dtype=torch.uint8, device=ids.device)
        state = family.encode_frames(model, processor, blank)
    return clip_vectors(family, model, batch, [state] * len(ids))


def contrastive_loss(clips: Tensor, texts: Tensor) -> Tensor:
    """InfoNCE of matching rows against all others, mean of both directions (nats)."""
    logits = clips @ texts.T / TEMPERATURE
    own = torch.arange(len(clips), device=clips.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def centred(vectors: Tensor) -> Tensor:
    """Unit vectors [B, D] of what sets each apart from the batch's mean.

    From random weights all last states are nearly the same, and where they are the same InfoNCE has no gradient; of
    centred vectors it has one.
    """
    return F.normalize(vectors - vectors.mean(0), dim=-1)
