"""Examples as a model takes them: token batches and vision states, kept while nothing that makes them is trained."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vqlora.adapters import Adapted
from vqlora.adapters.adapted import Shown
from vqlora.adapters.mixer import neighbours
from vqlora.data.example import Clip, Example, Message
from vqlora.states import StateMemory
from vqlora.video.frames import ClipFrames, FrameStore, Stamp


def precision(device: torch.device) -> AbstractContextManager[object]:
    """bf16 arithmetic around fp32 trained weights on a GPU; a CPU computes in fp32."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """Model inputs of examples for one adapted base.

    A frozen, unadapted vision tower runs clip by clip, so a state is the same to the bit whether it comes from memory
    or is computed afresh, alone or in a batch. A trained tower runs on the whole batch, with gradients.
    merged: which frames an adapter's memory merges, by the digest of the clip's frames and the number of slots.
    """

    adapted: Adapted
    store: FrameStore
    memory: StateMemory
    language: str
    merged: dict[tuple[str, int], list[range]] = field(default_factory=dict)

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
        tokens = joint_tokens([(self, examples, references)], generate=generate)
        self._announce(examples, tokens)
        return tokens

    def states(self, examples: Sequence[Example], *, fresh: bool = False) -> list[Tensor]:
        """Vision states [frames, tokens, width] of each example's clip; `fresh` computes what memory has too."""
        if not self.is_vision_frozen:
            self._announce(examples, None)
            return self._run_tower([self.frames(example) for example in examples])
        states = self._moved([self._state(example, fresh) for example in examples])
        return [self._merged(state, self._slots(example)) for state, example in zip(states, examples, strict=True)]

    def times(self, example: Example) -> tuple[float, ...]:
        """Seconds at which the frames that the model sees are shown; of merged ones the mean."""
        times = self.stamp(example).times_seconds
        slots = self._slots(example)
        return times if slots is None else tuple(float(np.mean([times[place] for place in slot])) for slot in slots)

    def frames(self, example: Example) -> ClipFrames:
        """The example's decoded frames. ValueError unless it has exactly one clip."""
        return self.store.get(_only_clip(example), example.question)

    def stamp(self, example: Example) -> Stamp:
        """What is known of these, without reading them again."""
        return self.store.stamp(_only_clip(example), example.question)

    def _slots(self, example: Example) -> list[range] | None:
        """Which frames the adapter's memory merges; None without one."""
        slots = getattr(self.adapted.method, "memory", None)
        if slots is None:
            return None
        key = self.stamp(example).digest, slots
        if key not in self.merged:
            self.merged[key] = neighbours(self._state(example, fresh=False), slots)
        return self.merged[key]

    @staticmethod
    def _merged(state: Tensor, slots: list[range] | None) -> Tensor:
        return state if slots is None else torch.stack([state[slot.start : slot.stop].mean(0) for slot in slots])

    def _announce(self, examples: Sequence[Example], tokens: dict[str, Tensor] | None) -> None:
        """Tells adapters that follow the frames what the next pass shows."""
        if self.adapted.follows_frames:
            self.adapted.see([self._shown(example) for example in examples], tokens)

    def _shown(self, example: Example) -> Shown:
        scores = self.store.scores(example.clips[0], example.question)
        slots = self._slots(example)
        if slots is not None:
            scores = {
                name: np.array([own[slot.start : slot.stop].mean() for slot in slots]) for name, own in scores.items()
            }
        return Shown(scores=scores, number=int(self.stamp(example).digest[:8], 16))

    def _moved(self, states: Sequence[Tensor]) -> list[Tensor]:
        """The same on the device; those on the host in one copy, as a GPU waits for each."""
        host = [state for state in states if state.device.type != self.device.type]
        if not host:
            return list(states)
        moved = torch.cat([state.flatten() for state in host]).to(self.device).split([one.numel() for one in host])
        parts = iter(part.view(state.shape) for part, state in zip(moved, host, strict=True))
        return [state if state.device.type == self.device.type else next(parts) for state in states]

    def _state(self, example: Example, fresh: bool) -> Tensor:
        """On the host where memory has it, on the device where it was computed now."""
        digest = self.stamp(example).digest
        kept = None if fresh else self.memory.get(digest)
        if kept is not None:
            return kept
        with torch.no_grad():
            state = self._run_tower([self.frames(example)])[0]
        self.memory.keep(digest, state)
        return state

    def _run_tower(self, clips: Sequence[ClipFrames]) -> list[Tensor]:
        loaded = self.adapted.loaded
        with precision(self.device):
            return loaded.family.vision_states(loaded.model, loaded.processor, clips)

    def conversation(self, example: Example, reference: int) -> tuple[Message, ...]:
        """The example's turns in the trial's language."""
        return example.conversation(self.language, reference)


def _only_clip(example: Example) -> Clip:
    if len(example.clips) != 1:
        raise ValueError(f"example {example.id} has {len(example.clips)} clips; the families here take one")
    return example.clips[0]


def joint_tokens(
    parts: Sequence[tuple[Inputs, Sequence[Example], Sequence[int]]], *, generate: bool = False
) -> dict[str, Tensor]:
    """One batch of the examples of several trials on one base, in order; their frames are of one size."""
    first = parts[0][0]
    loaded = first.adapted.loaded
    batch = loaded.family.batch(
        loaded.processor,
        loaded.model.config,
        [inputs.times(example) for inputs, examples, _ in parts for example in examples],
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
