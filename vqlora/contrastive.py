"""Contrastive training of a language model: a clip and a text become the model's last state after a prompt each.

InfoNCE (`vqlora.models.embedding`) over the batches of all workers (negatives are gathered), with a learnable
temperature as in CLIP (arXiv:2103.00020), at most 100. Every method and bit plan applies: the language model is the one
that captions. Shapes: B pairs on this worker, N pairs of all workers, D width of the language model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vqlora.data.example import Example, Message
from vqlora.data.prompts import SUM_UP_CLIP
from vqlora.inputs import Inputs, precision
from vqlora.models import embedding
from vqlora.models.dual import Dual
from vqlora.models.embedding import info_nce
from vqlora.models.load import Loaded
from vqlora.training import Trainer, paired, world

FIRST_SCALE, MOST_SCALE = 1 / 0.07, 100.0  # CLIP's: the first, and where it is held


def clip_vectors(inputs: Inputs, examples: Sequence[Example], *, fresh: bool = False) -> Tensor:
    """One vector of length 1 per example's clip, [B, D], fp32."""
    asked = [replace(example, messages=(Message(role="user", text=SUM_UP_CLIP),)) for example in examples]
    loaded = inputs.adapted.loaded
    if isinstance(loaded.family, Dual):
        tokens = inputs.tokens(asked, [0] * len(asked))  # checks the frames; a clip's vector has no part of it
        with precision(loaded.device):
            return loaded.family.embedding(loaded.model, tokens, inputs.states(asked, fresh=fresh)).float()
    tokens = inputs.tokens(asked, [0] * len(asked), generate=True)
    with precision(loaded.device):
        return embedding.clip_vectors(loaded.family, loaded.model, tokens, inputs.states(asked, fresh=fresh))


def text_vectors(inputs: Inputs, texts: Sequence[str], any_state: Tensor) -> Tensor:
    """One vector of length 1 per text, [B, D], fp32. any_state: a clip's vision states, for their shape alone."""
    loaded = inputs.adapted.loaded
    if isinstance(loaded.family, Dual):
        return _dual_texts(loaded, texts)
    size = inputs.store.frames.size
    batch = embedding.text_batch(loaded.family, loaded.processor, loaded.model.config, texts, size=size)
    batch = {name: part.to(inputs.device) for name, part in batch.items()}
    with precision(loaded.device):
        return embedding.text_vectors(loaded.family, loaded.model, batch, any_state)


def _dual_texts(loaded: Loaded, texts: Sequence[str]) -> Tensor:
    assert isinstance(loaded.family, Dual)
    batch = loaded.family.text_batch(loaded.processor, loaded.model.config, texts)
    with precision(loaded.device):
        found = loaded.family.text_embedding(
            loaded.model, {name: part.to(loaded.device) for name, part in batch.items()}
        )
    return found.float()


def gathered(vectors: Tensor) -> Tensor:
    """The vectors of all workers in order, [N, D]; only one's own carry a gradient.

    Each worker computes the whole loss; its gradients by their own parts, summed over workers, are those of the loss.
    """
    rank, ranks = world()
    if ranks == 1:
        return vectors
    parts = [torch.empty_like(vectors) for _ in range(ranks)]
    dist.all_gather(parts, vectors.detach().contiguous())
    parts[rank] = vectors
    return torch.cat(parts)


@dataclass(kw_only=True, eq=False)
class ContrastiveTrainer(Trainer):
    """Trains on pairs of clips and captions; `step()` gives the loss of the whole batch. log_scale: learned too."""

    log_scale: nn.Parameter = field(init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.schedule.batch_size < 2:
            raise ValueError(
                f"batch size {self.schedule.batch_size}: contrastive training needs other pairs to tell from"
            )
        if self._is_sharded:
            raise ValueError("retrieval trains a sharded base on no more than one worker; use 1 worker, or an adapter")
        self.log_scale = nn.Parameter(torch.tensor(math.log(FIRST_SCALE), device=self._device))
        self._scale_optimizer = torch.optim.AdamW([self.log_scale], weight_decay=0.0)

    def step(self) -> float:
        """One optimisation step of the adapter and, at the same rate, of the temperature."""
        loss = super().step()
        if world()[1] > 1 and self.log_scale.grad is not None:
            dist.all_reduce(self.log_scale.grad)
        self._scale_optimizer.param_groups[0]["lr"] = self.rate
        self._scale_optimizer.step()
        self._scale_optimizer.zero_grad(set_to_none=True)
        return loss

    def _backward(self, batch: Sequence[tuple[int, float]], *, fresh: bool) -> Tensor:
        pairs = paired(self.examples, batch, self.inputs.language)
        examples = [example for example, _ in pairs]
        captions = [example.references[self.inputs.language][number] for example, number in pairs]
        clips = clip_vectors(self.inputs, examples, fresh=fresh)
        texts = text_vectors(self.inputs, captions, self.inputs.states(examples[:1])[0])
        loss = info_nce(gathered(clips), gathered(texts), self._scale(), self._all_names(examples))
        loss.backward()
        return loss.detach()

    def _scale(self) -> Tensor:
        """Every worker holds the whole loss, so each gives its share of the temperature's gradient."""
        share = self.log_scale.detach() + (self.log_scale - self.log_scale.detach()) / world()[1]
        return share.exp().clamp(max=MOST_SCALE)

    def _all_names(self, examples: Sequence[Example]) -> list[str]:
        names = [example.clips[0].path for example in examples]
        if world()[1] == 1:
            return names
        parts: list[Any] = [None] * world()[1]
        dist.all_gather_object(parts, names)
        return [name for part in parts for name in part]

    def state(self) -> dict[str, Any]:
        own = {
            "log_scale": self.log_scale.detach().cpu().clone(),
            "scale_optimizer": self._scale_optimizer.state_dict(),
        }
        return {**super().state(), **own}

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        with torch.no_grad():
            self.log_scale.copy_(state["log_scale"])
        self._scale_optimizer.load_state_dict(state["scale_optimizer"])
