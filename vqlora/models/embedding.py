"""One vector a clip and one a text from a video-language model: the last token's state after a prompt to sum it up.

Trained by InfoNCE (arXiv:1807.03748), both ways as in CLIP (arXiv:2103.00020), so that their cosine says which text
tells which clip. Shapes: B rows, D width of the language model. Pretraining and every trial (`vqlora.contrastive`) make
their vectors here.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vqlora.data.example import Message
from vqlora.data.prompts import SUM_UP_CLIP, sum_up
from vqlora.models.family import Family


def clip_batch(
    family: Family, processor: Any, config: Any, times_seconds: Sequence[Sequence[float]], *, size: int
) -> dict[str, Tensor]:
    """Tokens that ask to sum up each clip; the last one's state is its vector."""
    talks = [(Message(role="user", text=SUM_UP_CLIP),)] * len(times_seconds)
    return family.batch(processor, config, times_seconds, talks, size=size, generate=True)


def text_batch(family: Family, processor: Any, config: Any, texts: Sequence[str], *, size: int) -> dict[str, Tensor]:
    """Tokens that ask to sum up each text, without a clip: none of them sees a frame."""
    talks = [(Message(role="user", text=sum_up(text)),) for text in texts]
    batch = family.batch(processor, config, [()] * len(texts), talks, size=size, generate=True)
    return {**batch, "frame_of_token": torch.zeros_like(batch["frame_of_token"])}


def clip_vectors(family: Family, model: Any, batch: dict[str, Tensor], states: Sequence[Tensor]) -> Tensor:
    """Unit vectors [B, D], fp32, of clips with these vision states."""
    return F.normalize(family.embedding(model, batch, states).float(), dim=-1)


def text_vectors(family: Family, model: Any, batch: dict[str, Tensor], any_state: Tensor) -> Tensor:
    """Unit vectors [B, D], fp32, of texts. any_state: a clip's vision states, for their shape alone."""
    # Families with cross-attention want a frame; no token sees this one.
    blank = torch.zeros_like(any_state[:1])
    return clip_vectors(family, model, batch, [blank] * len(batch["input_ids"]))


def info_nce(clips: Tensor, texts: Tensor, scale: Tensor, names: Sequence[Hashable]) -> Tensor:
    """Mean cross-entropy of finding each clip's text and each text's clip among B pairs (nats).

    scale: of the cosines, one over the temperature. names [B]: of the clips; other pairs of one name are neither right
    nor wrong, and left out.
    """
    places: dict[Hashable, int] = {}
    number = torch.tensor([places.setdefault(name, len(places)) for name in names], device=clips.device)
    right = torch.arange(len(names), device=clips.device)
    others = (number[:, None] == number) & (right[:, None] != right)
    logits = (scale * clips @ texts.T).masked_fill(others, -torch.inf)
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


def centred(vectors: Tensor) -> Tensor:
    """Unit vectors [B, D] of what sets each apart from the batch's mean.

    From random weights all last states are nearly the same, and where they are the same InfoNCE has no gradient; of
    centred vectors it has one.
    """
    return F.normalize(vectors - vectors.mean(0), dim=-1)
