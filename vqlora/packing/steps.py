"""What runs at once for the trials of a pack that ask for the same: one pass over all their rows, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vqlora.adapters.packed import Rows
from vqlora.data.example import Example
from vqlora.inputs import Inputs, joint_tokens, precision

if TYPE_CHECKING:
    from vqlora.packing.pack import Seat

Pair = tuple[Example, int]  # an example and the reference that it is asked with


@dataclass(kw_only=True, eq=False)
class Wish:
    """What one trial asks for. run: serves a group of wishes of one kind, and gives a result for each.

    kind: None for a wish that is served by itself.
    """

    seat: Seat
    run: Callable[[Sequence[Wish]], Sequence[Any]]
    kind: str | None = None
    pairs: Sequence[Pair] = ()
    settings: Mapping[str, float] = field(default_factory=dict)
    result: Any = None
    error: BaseException | None = None
    is_done: bool = False


def each(run: Callable[[Wish], Any]) -> Callable[[Sequence[Wish]], list[Any]]:
    return lambda wishes: [run(wish) for wish in wishes]


def train(wishes: Sequence[Wish]) -> list[float]:
    """One step of each. The sum of their losses has each one's own gradient: no row of one meets another's adapter."""
    stack = wishes[0].seat.stack
    try:
        losses = _forward(wishes)[0]
        losses.sum().backward()
    except BaseException:
        for wish in wishes:
            stack.gradients[wish.seat.number] = 0
        raise
    for wish in wishes:
        stack.update(wish.seat.number, **wish.settings)
    return losses.tolist()


@torch.no_grad()
def losses_of(wishes: Sequence[Wish]) -> list[tuple[float, int]]:
    losses, counts = _forward(wishes)
    return list(zip(losses.tolist(), counts.long().tolist(), strict=True))


def _forward(wishes: Sequence[Wish]) -> tuple[Tensor, Tensor]:
    """Per wish: the mean loss over its label tokens, and how many they are."""
    loaded = wishes[0].seat.pack.loaded
    tokens = joint_tokens([_part(wish) for wish in wishes])
    states = _states(wishes)
    with _running(wishes, states), precision(loaded.device):
        losses, rows = loaded.family.token_losses(loaded.model, tokens, states)
    owners = torch.tensor([place for place, wish in enumerate(wishes) for _ in wish.pairs], device=losses.device)[rows]
    counts = torch.bincount(owners, minlength=len(wishes)).to(losses.dtype)
    return torch.zeros_like(counts).index_add(0, owners, losses) / counts, counts


@torch.no_grad()
def answers(wishes: Sequence[Wish]) -> list[list[str]]:
    loaded = wishes[0].seat.pack.loaded
    tokens = joint_tokens([_part(wish) for wish in wishes], generate=True)
    states = _states(wishes)
    with _running(wishes, states), precision(loaded.device):
        texts = loaded.family.generate(
            loaded.model, loaded.processor, tokens, states, max_new_tokens=int(wishes[0].settings["max_new_tokens"])
        )
    rest = iter(texts)
    return [[next(rest) for _ in wish.pairs] for wish in wishes]


def _part(wish: Wish) -> tuple[Inputs, list[Example], list[int]]:
    return wish.seat.inputs, [example for example, _ in wish.pairs], [reference for _, reference in wish.pairs]


def _states(wishes: Sequence[Wish]) -> list[Tensor]:
    """Vision states of all examples; the tower runs for one trial at a time."""
    out: list[Tensor] = []
    for wish in wishes:
        rows = Rows(slots=(wish.seat.number,), counts=(1,), frames=(1,))
        with wish.seat.stack.running(rows), wish.seat.pack.fast():
            out += wish.seat.inputs.states([example for example, _ in wish.pairs])
    return out


@contextmanager
def _running(wishes: Sequence[Wish], states: Sequence[Tensor]) -> Iterator[None]:
    counts = tuple(len(wish.pairs) for wish in wishes)
    lengths = iter(len(state) for state in states)
    frames = tuple(sum(next(lengths) for _ in range(count)) for count in counts)
    rows = Rows(slots=tuple(wish.seat.number for wish in wishes), counts=counts, frames=frames)
    with wishes[0].seat.stack.running(rows), wishes[0].seat.pack.fast():
        yield
