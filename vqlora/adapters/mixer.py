"""What frames say to each other: a small mixer over time after the projector, and a memory of merged frames.

The mixer is a bottleneck with a depthwise convolution and attention over the frames of one clip at the same place in
the picture, behind a gate that starts at zero. The memory merges neighbours that are most alike, as MovieChat does
(arXiv:2307.16449), whole frames at a time, so that a merged frame has a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqlora.adapters.watch import Watch
from vqlora.methods import TemporalLora
from vqlora.models.load import Loaded

MIXED = {"video_llama_3": "model.projector", "idefics": "model.perceiver_resampler"}  # whose output is mixed
WIDTH, HEADS, KERNEL = 64, 4, 3


class TemporalMixer(nn.Module):
    """x [frames, tokens, width] of all clips end to end to the same shape; a clip of one frame stays as it is.

    kind: 'time'; as controls 'frame', in which each frame is a clip of its own, and 'shuffled', in which a clip's
    frames are mixed in another order than theirs.
    """

    def __init__(self, width: int, inner: int, kind: str, device: torch.device) -> None:
        super().__init__()
        made = {"device": device, "dtype": torch.float32}
        self.kind = kind
        self.norm, self.down = nn.LayerNorm(width, **made), nn.Linear(width, inner, bias=False, **made)
        self.near = nn.Conv1d(inner, inner, KERNEL, padding=KERNEL // 2, groups=inner, **made)
        self.far = nn.MultiheadAttention(inner, HEADS, batch_first=True, **made)
        self.up = nn.Linear(inner, width, bias=False, **made)
        self.gate = nn.Parameter(torch.zeros((), **made))

    def forward(self, x: Tensor, counts: tuple[int, ...]) -> Tensor:
        """counts: frames of each clip."""
        places, home = self._places(counts)
        low = self.down(self.norm(x.to(self.norm.weight.dtype)))
        is_pad = (places < 0).to(x.device)
        padded = low[places.clamp(min=0).to(x.device)] * ~is_pad[..., None, None]  # [clips, frames, tokens, inner]
        mixed = self._mixed(padded, is_pad).flatten(0, 1)[home.to(x.device)]
        several = torch.tensor([count > 1 for count in counts for _ in range(count)]).to(x.device)
        return x + (torch.tanh(self.gate) * self.up(mixed) * several[:, None, None]).to(x.dtype)

    def _places(self, counts: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Which frame stands where of what is mixed [clips, longest], -1 for none, and where each frame is there [F].

        Made of numbers, not tensors: a plan runs this on tensors without values.
        """
        starts = np.cumsum((0, *counts))
        clips = [start + self._order(count) for start, count in zip(starts[:-1], counts, strict=True)]
        if self.kind == "frame":
            clips = [clip[place : place + 1] for clip in clips for place in range(len(clip))]
        places = np.full((len(clips), max(map(len, clips))), -1)
        for row, clip in zip(places, clips, strict=True):
            row[: len(clip)] = clip
        home = np.empty(sum(counts), dtype=np.int64)
        home[places[places >= 0]] = np.flatnonzero(places >= 0)
        return torch.from_numpy(places), torch.from_numpy(home)

    def _mixed(self, low: Tensor, is_pad: Tensor) -> Tensor:
        count, frames, tokens, inner = low.shape
        rows = low.transpose(1, 2).flatten(0, 1)  # [clips x tokens, frames, inner]
        rows = rows + self.near(rows.mT).mT
        timed = rows + _waves(frames, inner, low.device).to(rows.dtype)
        mask = is_pad.repeat_interleave(tokens, 0)
        rows = rows + self.far(timed, timed, timed, key_padding_mask=mask, need_weights=False)[0]
        return rows.view(count, tokens, frames, inner).transpose(1, 2)

    def _order(self, count: int) -> np.ndarray:
        return np.arange(count) if self.kind != "shuffled" else np.random.default_rng(count).permutation(count)


def add_mixer(loaded: Loaded, method: TemporalLora, watch: Watch, *, seed: int) -> Callable[[], None]:
    """Puts a mixer after the projector of a base; gives what takes it off again."""
    assert method.mixer is not None
    module: Any = loaded.model.get_submodule(MIXED[loaded.model_type])
    with torch.random.fork_rng(devices=[loaded.device] if loaded.device.type == "cuda" else []):
        torch.manual_seed(seed)
        width = _width(loaded)
        module.temporal_mixer = TemporalMixer(width, method.width or WIDTH, method.mixer, loaded.device)

    def mix(module: Any, inputs: Any, output: Tensor) -> Tensor:
        """Projector [frames x tokens, width] or resampler [clips x longest, tokens, width], padded clips left out."""
        frames = sum(watch.counts)
        if not frames:
            return output
        flat = output if output.dim() == 3 else output.view(frames, -1, output.shape[-1])
        if len(flat) == frames:
            return module.temporal_mixer(flat, watch.counts).view_as(output)
        real = watch.places["padded"] > 0
        mixed = flat.clone()
        mixed[real] = module.temporal_mixer(flat[real], watch.counts)
        return mixed

    handle = module.register_forward_hook(mix)

    def remove() -> None:
        handle.remove()
        del module.temporal_mixer

    return remove


def neighbours(states: Tensor, slots: int) -> list[range]:
    """Frames [frames, tokens, width] in `slots` groups of neighbours, the most alike merged first.

    Alike: the cosine of the groups' mean frames, over all tokens.
    """
    groups = [range(place, place + 1) for place in range(len(states))]
    flat = states.float().flatten(1)
    while len(groups) > slots:
        means = torch.stack([flat[group.start : group.stop].mean(0) for group in groups])
        place = int(F.cosine_similarity(means[:-1], means[1:]).argmax())
        groups[place : place + 2] = [range(groups[place].start, groups[place + 1].stop)]
    return groups


def _width(loaded: Loaded) -> int:
    config = loaded.model.config
    return int(config.vision_config.embed_dim if loaded.model_type == "idefics" else config.text_config.hidden_size)


def _waves(frames: int, width: int, device: torch.device) -> Tensor:
    """Sines and cosines of the frame's number [frames, width] (arXiv:1706.03762): any number of frames."""
    place = torch.arange(frames, device=device, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(1000.0) / width))
    return torch.cat([torch.sin(place * rate), torch.cos(place * rate)], 1)[:, :width]
