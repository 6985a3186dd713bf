"""The Qwen-VL line: pads in the text, and positions in time, height and width (M-RoPE, arXiv:2409.12191).

Positions are computed here, from the frames' true times, and passed on: the classes assume evenly spaced frames, and
they keep an offset from one call to the next that belongs to another batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vqlora.models.pads import EQUAL_FRAMES, Pads

if TYPE_CHECKING:
    from vqlora.data.example import Message


@dataclass(frozen=True, kw_only=True, eq=False)
class Rotary(Pads):
    """Qwen2-VL. A state is two neighbouring frames; one position in time for each state, whatever its time."""

    def frames_per_state(self, model_config: Any) -> int:
        return model_config.vision_config.temporal_patch_size

    def tokens_per_state(self, processor: Any, model_config: Any, size: int) -> int:
        vision = model_config.vision_config
        unit = vision.patch_size * vision.spatial_merge_size
        if size % unit:
            raise ValueError(
                f"frame size {size} is no multiple of {unit} (patch {vision.patch_size} x merge "
                f"{vision.spatial_merge_size})"
            )
        return (size // unit) ** 2

    def state_times(self, model_config: Any, times_seconds: Sequence[float]) -> list[tuple[float, float]]:
        """First and last time of the frames in each state."""
        group = self.frames_per_state(model_config)
        parts = [times_seconds[start : start + group] for start in range(0, len(times_seconds), group)]
        return [(part[0], part[-1]) for part in parts]

    def places(self, processor: Any, model_config: Any, size: int, times_seconds: Sequence[float]) -> list[str]:
        return super().places(processor, model_config, size, self.state_times(model_config, times_seconds))  # type: ignore[arg-type]

    def steps(self, model_config: Any, times_seconds: Sequence[float]) -> list[int]:
        """The position in time of each state, counted from the first one's."""
        return list(range(len(self.state_times(model_config, times_seconds))))

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
        """As every family's, and position_ids [B, 3, T]."""
        out = super().batch(processor, model_config, times_seconds, conversations, size=size, generate=generate)
        out["position_ids"] = torch.zeros(len(times_seconds), 3, out["input_ids"].shape[1], dtype=torch.long)
        side = int(self.tokens_per_state(processor, model_config, size) ** 0.5)
        pads = out["input_ids"] == getattr(model_config, self.pad_field)
        for row, times in enumerate(times_seconds):
            real = out["attention_mask"][row].bool()
            positions = mrope(pads[row][real].tolist(), self.steps(model_config, times), side)
            out["position_ids"][row][:, real] = positions
        return out

    def encode_frames(self, model: Any, processor: Any, frames: Tensor) -> Tensor:
        return self.run_tower(model.model.visual, processor, frames)

    def run_tower(self, tower: Any, processor: Any, frames: Tensor) -> Tensor:
        """Patches before the merger, [states, patches, width]; the four that become one token are neighbours."""
        states, side = self.grid(tower, frames)
        tower.config._attn_implementation = EQUAL_FRAMES if self.is_even(tower, side) else "sdpa"
        pixels = processor.video_processor([frames], do_resize=False, do_sample_frames=False, return_tensors="pt")
        grid = torch.tensor([[states, side, side]], device=frames.device)
        out = tower(pixels["pixel_values_videos"].to(tower.dtype), grid_thw=grid)
        return out.last_hidden_state.view(states, side * side, -1)

    def is_even(self, tower: Any, side: int) -> bool:
        """Whether all stretches within which the tower attends are equally long."""
        return True

    @staticmethod
    def grid(tower: Any, frames: Tensor) -> tuple[int, int]:
        """(states, patches along a side) of frames [n, 3, size, size]."""
        return len(frames) // tower.config.temporal_patch_size, frames.shape[-1] // tower.config.patch_size

    def project(self, model: Any, states: Tensor) -> Tensor:
        return model.model.visual.merger(states.flatten(0, 1)).unflatten(0, (len(states), -1))

    def language_inputs(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> dict[str, Any]:
        return {
            "inputs_embeds": self.embed(model, batch, states),
            "attention_mask": batch["attention_mask"],
            "position_ids": batch["position_ids"].transpose(0, 1),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class TimedRotary(Rotary):
    """Qwen2.5-VL (arXiv:2502.13923): positions in time follow the clock; the tower attends within windows."""

    def rate(self, model_config: Any) -> float:
        """Positions in a second."""
        return model_config.vision_config.tokens_per_second

    def steps(self, model_config: Any, times_seconds: Sequence[float]) -> list[int]:
        starts = [start for start, _ in self.state_times(model_config, times_seconds)]
        # Rounded first: a time such as 1.5 s arrives as 1.4999999.
        return [int(round((start - starts[0]) * self.rate(model_config), 4)) for start in starts]

    @staticmethod
    def window(tower: Any) -> int:
        """Merged patches along the side of a window."""
        config = tower.config
        return config.window_size // config.spatial_merge_size // config.patch_size

    def is_even(self, tower: Any, side: int) -> bool:
        return side // tower.config.spatial_merge_size % self.window(tower) == 0

    def run_tower(self, tower: Any, processor: Any, frames: Tensor) -> Tensor:
        by_window = super().run_tower(tower, processor, frames)
        unit = tower.config.spatial_merge_size**2
        _, side = self.grid(tower, frames)
        places = window_places(side // tower.config.spatial_merge_size, self.window(tower)).to(frames.device)
        return by_window.unflatten(1, (-1, unit))[:, places].flatten(1, 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class StackedRotary(Rotary):
    """Qwen3-VL (arXiv:2511.21631): times in the text, and features of inner layers added deep in the language model.

    A state holds the last layer's patches and, beside them, those of the inner layers.
    """

    def places(self, processor: Any, model_config: Any, size: int, times_seconds: Sequence[float]) -> list[str]:
        pads = super().places(processor, model_config, size, times_seconds)
        spans = self.state_times(model_config, times_seconds)
        start, end = processor.vision_start_token, processor.vision_end_token
        return [f"<{(a + b) / 2:.1f} seconds>{start}{pad}{end}" for (a, b), pad in zip(spans, pads, strict=True)]

    def steps(self, model_config: Any, times_seconds: Sequence[float]) -> list[int]:
        return [0] * len(self.state_times(model_config, times_seconds))  # each state is an image of its own

    def run_tower(self, tower: Any, processor: Any, frames: Tensor) -> Tensor:
        inner: list[Tensor] = []
        layers = [tower.blocks[index] for index in tower.config.deepstack_visual_indexes]
        handles = [layer.register_forward_hook(lambda *call: inner.append(call[-1])) for layer in layers]
        try:
            last = super().run_tower(tower, processor, frames)
        finally:
            for handle in handles:
                handle.remove()
        return torch.cat([last, *(part.view_as(last) for part in inner)], dim=-1)

    def project(self, model: Any, states: Tensor) -> Tensor:
        return super().project(model, states[..., : model.config.vision_config.hidden_size])

    def language_inputs(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> dict[str, Any]:
        plain = super().language_inputs(model, batch, states)
        is_pad = batch["input_ids"] == getattr(model.config, self.pad_field)
        if not is_pad.any():  # a text alone
            return plain
        tower, whole = model.model.visual, torch.cat(list(states))
        _, *inner = whole.flatten(0, 1).split(tower.config.hidden_size, dim=-1)
        return plain | {
            "visual_pos_masks": is_pad,
            "deepstack_visual_embeds": [
                merger(part.contiguous()) for merger, part in zip(tower.deepstack_merger_list, inner, strict=True)
            ],
        }


def mrope(is_pad: Sequence[bool], steps: Sequence[int], side: int) -> Tensor:
    """Positions [3, T] in time, height and width of one row: text counts on, a state is a square of side x side.

    What follows a modality begins after its largest position (arXiv:2409.12191, section 2.1).
    """
    rows, columns = (axis.flatten() for axis in torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"))
    parts: list[Tensor] = []
    start = state = 0
    for pads, run in groupby(is_pad):
        count = len(list(run))
        if not pads:
            part = torch.arange(count).expand(3, -1)
        else:
            times = steps[state : state + count // side**2]
            state += len(times)
            part = torch.cat([torch.stack([torch.full_like(rows, t - times[0]), rows, columns]) for t in times], dim=1)
        parts.append(part + start)
        start = int(parts[-1].max()) + 1
    return torch.cat(parts, dim=1)


def window_places(side: int, window: int) -> Tensor:
    """Where each of side x side places of a frame stands after the tower has ordered them window by window."""
    index = torch.arange(side)
    windows = -(-side // window)
    row, column = torch.meshgrid(index, index, indexing="ij")
    key = ((row // window * windows + column // window) * window + row % window) * window + column % window
    return key.flatten().argsort().argsort()
