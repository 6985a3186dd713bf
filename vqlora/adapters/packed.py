"""LoRA of many trials on one frozen base: a batch holds rows of every trial, and each trial's rows meet its own A, B.

One product with the frozen weight serves all rows; the trials' low-rank products are one batched product over ranks
padded to the largest. Padding is closed: where A and B are zero their gradients are zero, and AdamW keeps them so. Each
trial has its own rank, alpha, placement, learning rate, decay, clip and step; no number of one enters another's.
Symbols: K trials, R the largest rank of a layer, P values of one trial (padded).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vqlora.optimizers import BETAS, EPSILON

Places = dict[str, tuple[slice, tuple[int, int]]]  # of 'LAYER.lora_A': the values of a trial's row, and their shape


@dataclass(frozen=True)
class Rows:
    """Whose rows a running batch holds: `slots` in the order of their rows; per slot its rows and their frames."""

    slots: tuple[int, ...]
    counts: tuple[int, ...]
    frames: tuple[int, ...]

    def split(self, total: int, *, by_frame: bool) -> tuple[int, ...]:
        """How many of a layer's `total` input tokens belong to each slot; rows, or frames, are of one length."""
        if len(self.slots) == 1:
            return (total,)
        parts = self.frames if by_frame else self.counts
        per_part, rest = divmod(total, sum(parts))
        assert rest == 0, f"{total} tokens do not divide over {sum(parts)} {'frames' if by_frame else 'rows'}"
        return tuple(part * per_part for part in parts)


class PackedLinear(nn.Module):
    """A frozen linear layer and the adapters of all trials on it. A [K, R, in], B [K, out, R], scale [K].

    by_frame: its input is frames laid end to end, not rows of text.
    """

    def __init__(self, base_layer: nn.Module, *, by_frame: bool) -> None:
        super().__init__()
        self.base_layer, self.by_frame = base_layer, by_frame
        self.in_features, self.out_features = int(base_layer.in_features), int(base_layer.out_features)  # type: ignore[arg-type]
        self.a: Tensor | None = None
        self.b: Tensor | None = None
        self.scale: Tensor | None = None
        self.rows: Rows | None = None

    def forward(self, x: Tensor) -> Tensor:
        """The base's product plus each trial's own; x [..., in] with rows sorted by slot."""
        out = self.base_layer(x)
        assert self.rows is not None and self.a is not None and self.b is not None and self.scale is not None
        flat = x.reshape(-1, self.in_features)
        tokens = self.rows.split(len(flat), by_frame=self.by_frame)
        a, b, scale = (_of_slots(tensor, self.rows.slots) for tensor in (self.a, self.b, self.scale))
        if len(set(tokens)) == 1:
            trials = (len(tokens), tokens[0], -1)
            down = torch.bmm(flat.view(trials), a.mT) * scale[:, None, None]
            return torch.baddbmm(out.view(trials), down, b.mT).view(out.shape).to(out.dtype)
        parts = zip(flat.split(tokens), a, b, scale, strict=True)
        low = torch.cat([(part @ own_a.mT * own) @ own_b.mT for part, own_a, own_b, own in parts])
        return (out + low.view(out.shape)).to(out.dtype)

    @property
    def weight(self) -> Any:
        """The frozen weight; some models ask a layer for its type."""
        return self.base_layer.weight


def _of_slots(tensor: Tensor, slots: tuple[int, ...]) -> Tensor:
    return tensor if slots == tuple(range(len(tensor))) else tensor[list(slots)]


@dataclass(kw_only=True, eq=False)
class Slot:
    """One trial's place: rank and scale of its layers by name, and AdamW updates done."""

    ranks: Mapping[str, int]
    scales: Mapping[str, float]
    steps: int = 0


class Stack:
    """The adapters of K trials: weights, gradients and both AdamW moments as one [K, P] buffer each.

    The buffers grow with every trial that finds no free place, so that a lone one pays for itself only.
    """

    def __init__(
        self, model: nn.Module, *, by_frame: Callable[[str], bool], dtype: torch.dtype = torch.float32
    ) -> None:
        self.model, self._by_frame = model, by_frame
        self.device, self.dtype = next(model.parameters()).device, dtype
        self.slots: list[Slot | None] = []
        self.layers: dict[str, PackedLinear] = {}
        self._places: Places = {}
        empty = torch.zeros(0, 0, device=self.device, dtype=dtype)
        self.weights = self.gradients = self.first = self.second = empty

    # ---- membership ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def join(self, slot: Slot, state: Mapping[str, Tensor]) -> int:
        """Gives a trial a place, with these weights ('LAYER.lora_A.weight', ...); its number."""
        if None not in self.slots:
            self.slots.append(None)
        number = self.slots.index(None)
        self._make_room(slot)
        for buffer in (self.weights, self.gradients, self.first, self.second):
            buffer[number] = 0
        self.slots[number] = slot
        self.write(number, state)
        for name, layer in self.layers.items():
            assert layer.scale is not None
            layer.scale[number] = slot.scales.get(name, 0.0)
        return number

    def leave(self, number: int) -> None:
        """Frees a place; layers that nobody adapts any more are the base's own again."""
        self.slots[number] = None
        for name in [name for name in self.layers if not any(name in slot.ranks for slot in self.slots if slot)]:
            self.model.set_submodule(name, self.layers.pop(name).base_layer)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Inside, the base is as if no trial were there."""
        for name, layer in self.layers.items():
            self.model.set_submodule(name, layer.base_layer)
        try:
            yield
        finally:
            for name, layer in self.layers.items():
                self.model.set_submodule(name, layer)

    @contextmanager
    def running(self, rows: Rows) -> Iterator[None]:
        """Around a forward and backward pass over a batch of these rows."""
        for layer in self.layers.values():
            layer.rows = rows
        try:
            yield
        finally:
            for layer in self.layers.values():
                layer.rows = None

    # ---- one trial's tensors ------------------------------------------------------------------------------------

    def views(self, number: int, buffer: Tensor | None = None) -> dict[str, Tensor]:
        """One trial's tensors by name, unpadded, as they lie in the weights or another buffer."""
        slot, buffer = self.slots[number], self.weights if buffer is None else buffer
        assert slot is not None
        return _views(slot, buffer[number], self._places)

    def write(self, number: int, state: Mapping[str, Tensor]) -> None:
        """Takes tensors over as one trial's weights."""
        for name, view in self.views(number).items():
            view.copy_(state[name])

    # ---- steps --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def update(self, number: int, *, rate: float, decay: float, clip: float) -> None:
        """One AdamW step (arXiv:1711.05101) of one trial by its own clipped gradient, which it clears.

        The arithmetic is that of torch's AdamW and clip_grad_norm_.
        """
        slot = self.slots[number]
        assert slot is not None
        slot.steps += 1
        weight, gradient = self.weights[number], self.gradients[number]
        first, second = self.first[number], self.second[number]
        gradient *= (clip / (gradient.norm() + 1e-6)).clamp(max=1.0)
        weight *= 1 - rate * decay
        first.lerp_(gradient, 1 - BETAS[0])
        second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        spread = second.sqrt().div_((1 - BETAS[1] ** slot.steps) ** 0.5).add_(EPSILON)
        weight.addcdiv_(first, spread, value=-rate / (1 - BETAS[0] ** slot.steps))
        gradient.zero_()

    # ---- buffers ------------------------------------------------------------------------------------------------

    def _make_room(self, slot: Slot) -> None:
        """Lays the buffers out anew if they have no place for this trial, or no room for a layer or a rank of it."""
        ranks = {name: layer.a.shape[1] for name, layer in self.layers.items() if layer.a is not None}
        wanted = ranks | {name: max(rank, ranks.get(name, 0)) for name, rank in slot.ranks.items()}
        if wanted == ranks and len(self.weights) == len(self.slots):
            return
        self._lay_out(wanted)

    def _lay_out(self, ranks: Mapping[str, int]) -> None:
        """Nothing changes before all is there in the new layout: it may not fit."""
        places = self._placed(ranks)
        moved = [self._moved(buffer, places) for buffer in (self.weights, self.first, self.second)]
        self._places, (self.weights, self.first, self.second) = places, moved
        self.gradients = torch.zeros_like(self.weights)
        for name in ranks:
            if name not in self.layers:
                self.layers[name] = PackedLinear(self.model.get_submodule(name), by_frame=self._by_frame(name))
                self.model.set_submodule(name, self.layers[name])
        for name, layer in self.layers.items():
            layer.a, layer.b = (self._leaf(f"{name}.{kind}") for kind in ("lora_A", "lora_B"))
            own = [slot.scales.get(name, 0.0) if slot else 0.0 for slot in self.slots]
            layer.scale = torch.tensor(own, device=self.device, dtype=self.dtype)

    def _placed(self, ranks: Mapping[str, int]) -> Places:
        """Where each tensor is to lie in a trial's values."""
        places, end = {}, 0
        for name, rank in ranks.items():
            layer: Any = self.model.get_submodule(name)
            for kind, shape in (("lora_A", (rank, layer.in_features)), ("lora_B", (layer.out_features, rank))):
                start, end = end, end + shape[0] * shape[1]
                places[f"{name}.{kind}"] = (slice(start, end), shape)
        return places

    def _moved(self, buffer: Tensor, places: Places) -> Tensor:
        """What the trials have in a buffer, as a new one with a place for each slot."""
        values = max((place.stop for place, _ in places.values()), default=0)
        moved = torch.zeros(len(self.slots), values, device=self.device, dtype=self.dtype)
        for number, slot in enumerate(self.slots):
            if slot is not None:
                old = _views(slot, buffer[number], self._places)
                for name, view in _views(slot, moved[number], places).items():
                    view.copy_(old[name])
        return moved

    def _leaf(self, name: str) -> Tensor:
        """[K, rows, columns] as it lies in the weights; its gradient is added to where it lies in the gradients."""
        place, shape = self._places[name]
        leaf = self.weights[:, place].unflatten(1, shape).detach().requires_grad_()
        gradient = self.gradients[:, place].unflatten(1, shape)

        def collect(leaf: Tensor) -> None:
            assert leaf.grad is not None
            gradient.add_(leaf.grad)
            leaf.grad = None

        leaf.register_post_accumulate_grad_hook(collect)
        return leaf


def _views(slot: Slot, values: Tensor, places: Places) -> dict[str, Tensor]:
    """A trial's tensors as they lie in its row [P] of a buffer, without padding."""
    out = {}
    for name, rank in slot.ranks.items():
        for kind in ("lora_A", "lora_B"):
            place, shape = places[f"{name}.{kind}"]
            whole = values[place].view(shape)
            out[f"{name}.{kind}.weight"] = whole[:rank] if kind == "lora_A" else whole[:, :rank]
    return out


def slot_of(ranks: Mapping[str, int], method: Any) -> Slot:
    """A LoRA method's place: PEFT's scaling alpha / r, or alpha / sqrt(r) with rsLoRA (arXiv:2312.03732)."""
    scales = {name: method.alpha / (rank**0.5 if method.rslora else rank) for name, rank in ranks.items()}
    return Slot(ranks=ranks, scales=scales)
