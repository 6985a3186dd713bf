"""Examples as a model takes them: token batches and vision states, kept while nothing that makes them is trained."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from vqlora.adapters import Adapted
from vqlora.data.example import Example, Message
from vqlora.states import StateMemory
from vqlora.video.frames import ClipFrames, FrameStore


def precision(device: torch.device) -> AbstractContextManager[object]:
    """bf16 arithmetic around fp32 trained weights on a GPU; a CPU computes in fp32."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """Model inputs of examples for one adapted base.

    A frozen, unadapted vision tower runs clip by clip, so a state is the same to the bit whether it comes from memory
    or is computed afresh, alone or in a batch. A trained tower runs on the whole batch, with gradients.
    """

    adapted: Adapted
    store: FrameStore
    memory: StateMemory
    language: str

    @property
    def device(self) -> torch.device:
        return self.adapted.loaded.device

    @property
    def is_vision_frozen(self) -> bool:
        return "vision" not in self.adapted.trained_roles

    def tokens(
        self, examples: Sequence[Example], references: Sequence[int], *, generate: bool = False
    ) -> dict[str, Tensor]:
        """`Family.batch` of the examples on the device; the assistant's last turn is the reference of that number."""
        return joint_tokens([(self, examples, references)], generate=generate)

    def states(self, examples: Sequence[Example], *, fresh: bool = False) -> list[Tensor]:
        """Vision states [frames, tokens, width] of each example's clip; `fresh` computes what memory has too."""
        if not self.is_vision_frozen:
            return self._run_tower([self.frames(example) for example in examples])
        return [self._state(example, fresh) for example in examples]

    def frames(self, example: Example) -> ClipFrames:
        """The example's decoded frames. ValueError unless it has exactly one clip."""
        if len(example.clips) != 1:
            raise ValueError(f"example {example.id} has {len(example.clips)} clips; the families here take one")
        return self.store.get(example.clips[0], example.question)

    def _state(self, example: Example, fresh: bool) -> Tensor:
        frames = self.frames(example)
        kept = None if fresh else self.memory.get(frames.digest)
        if kept is not None:
            return kept.to(self.device)
        with torch.no_grad():
            state = self._run_tower([frames])[0]
        self.memory.keep(frames.digest, state)
        return state

    def _run_tower(self, clips: Sequence[ClipFrames]) -> list[Tensor]:
        loaded = self.adapted.loaded
        with precision(self.device):
            return loaded.family.vision_states(loaded.model, loaded.processor, clips)

    def conversation(self, example: Example, reference: int) -> tuple[Message, ...]:
        """The example's turns in the trial's language."""
        return example.conversation(self.language, reference)


def joint_tokens(
    parts: Sequence[tuple[Inputs, Sequence[Example], Sequence[int]]], *, generate: bool = False
) -> dict[str, Tensor]:
    """One batch of the examples of several trials on one base, in order; their frames are of one size."""
    first = parts[0][0]
    loaded = first.adapted.loaded
    batch = loaded.family.batch(
        loaded.processor,
        loaded.model.config,
        [inputs.frames(example).times_seconds for inputs, examples, _ in parts for example in examples],
        [
            inputs.conversation(*pair)
            for inputs, examples, references in parts
            for pair in zip(examples, references, strict=True)
        ],
        size=first.store.frames.size,
        generate=generate,
    )
    if not generate:  # padding is on the right, where a causal model's tokens never look: fused attention needs no mask
        batch["attention_mask"] = torch.ones_like(batch["attention_mask"])
    return {name: tensor.to(first.device) for name, tensor in batch.items()}
