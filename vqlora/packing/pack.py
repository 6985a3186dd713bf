"""Trials that share every step on one base: each runs in a thread of its own as if alone, and meets the others here.

A trial asks for something (a training step, captions, a loss) and waits. When all trials that are there wait, what they
ask for runs at once, their rows side by side (`adapters.packed`). Out of memory halves a group and tries again; only
what does not fit alone is out of memory. An error of one trial is raised in that trial alone.
"""

from __future__ import annotations

from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from threading import Condition
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vqlora.adapters import Adapted, attach
from vqlora.adapters.lora import ranks
from vqlora.adapters.packed import Slot, Stack, slot_of
from vqlora.cost import StepProbe, is_out_of_memory
from vqlora.data.example import Example
from vqlora.inputs import Inputs
from vqlora.memory_cap import free_bytes, usable_bytes
from vqlora.models.bits import dense_bytes, dense_copies, model_bytes, multiply_dense
from vqlora.models.load import Loaded
from vqlora.models.roles import role_of
from vqlora.packing.steps import Pair, Wish, answers, each, losses_of, train
from vqlora.recipe import Lora, Method

T = TypeVar("T")


class Pack:
    """The trials that share one base. `enter` is called in a trial's own thread."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self._base_bytes = model_bytes(loaded.model)  # here, because a trial's probe may attach an adapter meanwhile
        frame_roles = loaded.family.frame_roles
        self.stack = Stack(loaded.model, by_frame=lambda name: role_of(loaded.model_type, name) in frame_roles)
        self._dense: dict[nn.Module, Tensor] | None = None
        self.costs: dict[str, StepProbe] = {}  # of a step, by what it depends on: equal trials are measured once
        self._limits: dict[str | int | None, int] = {}  # trials at once, per kind of wish, since more ran out of memory
        self._turn = Condition()
        self._waiting: list[Wish] = []
        self._present = 0
        self._is_busy = False

    def enter(self, method: Method, *, seed: int) -> Seat:
        """Attaches a trial's adapter; the others wait for it from now on, until it leaves."""
        with self._turn:
            self._present += 1
        seat = Seat(self, method)
        try:
            self.serve(Wish(seat=seat, run=each(partial(self._join, method=method, seed=seed))))
        except BaseException:
            self.leave()
            raise
        return seat

    def leave(self) -> None:
        """The others no longer wait for one of the trials."""
        with self._turn:
            self._present -= 1
            self._turn.notify_all()

    def fast(self) -> AbstractContextManager[None]:
        """Around the trials' common work, whose cost is not measured: weights of 4 bits are dequantised once.

        On a GPU they are kept while they take no more than half of what is free at the first step.
        """
        if self.loaded.device.type == "cpu":
            return self.loaded.fast()
        if self._dense is None:
            self._dense = dense_copies(self.loaded.model, free_bytes(self.loaded.device) / 2)
        return multiply_dense(self._dense)

    def close(self) -> None:
        """Gives the dequantised weights back; packs and seats are a cycle, so Python would keep them for a while."""
        self._dense = None
        if self.loaded.device.type == "cuda":
            torch.cuda.empty_cache()

    def room(self) -> int:
        """How many trials fit on the GPU by the costliest probe so far, beside the dequantised weights; 1 before it."""
        peaks = [probe.peak_bytes for probe in list(self.costs.values()) if probe.peak_bytes]
        if not peaks:
            return 1
        base, own = self._base_bytes, self._dense
        copies = dense_bytes(self.loaded.model) if own is None else sum(weight.nbytes for weight in own.values())
        return fitting(usable_bytes(self.loaded.device) - base - copies, max(peaks) - base)

    def serve(self, wish: Wish) -> Any:
        """Waits until the wish has been served; its result. Raises what went wrong with it alone."""
        with self._turn:
            self._waiting.append(wish)
            while not wish.is_done:
                if self._is_busy or len(self._waiting) < self._present:
                    self._turn.wait()
                    continue
                batch, self._waiting, self._is_busy = self._waiting, [], True
                self._turn.release()
                try:
                    self._serve_all(batch)
                finally:
                    self._turn.acquire()
                    self._is_busy = False
                    for one in batch:
                        one.is_done = True
                    self._turn.notify_all()
        if wish.error is not None:
            raise wish.error
        return wish.result

    def _serve_all(self, batch: Sequence[Wish]) -> None:
        """Wishes of one kind run together, in the order of their places, whoever came first."""
        groups: dict[str | int, list[Wish]] = {}
        for wish in sorted(batch, key=lambda wish: wish.seat.number):
            groups.setdefault(id(wish) if wish.kind is None else wish.kind, []).append(wish)
        for kind, group in groups.items():
            most = self._limits.get(kind, len(group))
            for start in range(0, len(group), most):
                self._serve(group[start : start + most])

    def _serve(self, group: Sequence[Wish]) -> None:
        try:
            for wish, result in zip(group, group[0].run(group), strict=True):
                wish.result = result
            return
        except BaseException as error:
            half = len(group) // 2
            if len(group) > 1:
                parts = [group[:half], group[half:]]
                if is_out_of_memory(error):
                    self._limits[group[0].kind] = half
            elif is_out_of_memory(error) and self._dense:
                parts, self._dense = [group], {}  # again, without the copies
            else:
                group[0].error = error
                return
        if self.loaded.device.type == "cuda":
            torch.cuda.empty_cache()  # outside the handler, whose traceback keeps the failed pass alive
        for part in parts:
            self._serve(part)

    def _join(self, wish: Wish, *, method: Method, seed: int) -> None:
        """The trial's initial weights are those that it has alone."""
        seat = wish.seat
        with self.stack.away():
            wanted = ranks(self.loaded, method) if isinstance(method, Lora) else {}
            alone = attach(self.loaded, method, seed=seed)
            state, seat.found, seat.roles = alone.state(), alone.found(), alone.trained_roles
            alone.remove()
        seat.number = self.stack.join(slot_of(wanted, method), state)


def fitting(free_bytes: float, trial_bytes: float) -> int:
    """Trials that fit beside the base, with a tenth left for what lies between tensors; at least the one probed."""
    return max(1, int(0.9 * free_bytes / max(1.0, trial_bytes)))


class Seat:
    """One trial's place in a pack, and the way it trains and answers there."""

    def __init__(self, pack: Pack, method: Method) -> None:
        self.pack, self.method = pack, method
        self.number: int = -1
        self.found: dict[str, dict[str, Any]] = {}
        self.roles: frozenset[str] = frozenset()
        self.inputs: Inputs  # set once the trial's data are known

    @property
    def stack(self) -> Stack:
        return self.pack.stack

    @property
    def slot(self) -> Slot:
        slot = self.stack.slots[self.number]
        assert slot is not None
        return slot

    def adapted(self) -> PackedAdapted:
        """The trial's trained tensors as they lie in the pack."""
        return PackedAdapted(loaded=self.pack.loaded, method=self.method, parameters=Views(self), seat=self)

    def train(self, pairs: Sequence[Pair], *, rate: float, decay: float, clip: float) -> float:
        """One step on a batch; its loss before the step (mean over its label tokens, nats)."""
        settings = {"rate": rate, "decay": decay, "clip": clip}
        return self._ask(train, "train", pairs, settings)

    def loss(self, pairs: Sequence[Pair]) -> tuple[float, int]:
        """(mean cross-entropy in nats, label tokens)."""
        return self._ask(losses_of, "loss", pairs, {})

    def answer(self, examples: Sequence[Example], *, max_new_tokens: int) -> list[str]:
        """Greedy captions."""
        pairs = [(example, 0) for example in examples]
        return self._ask(answers, f"answer {max_new_tokens}", pairs, {"max_new_tokens": max_new_tokens})

    def alone(self, measure: Callable[[Adapted], T]) -> T:
        """Runs `measure` while the base carries this trial's adapter only, attached by PEFT as when it runs alone."""

        def run(wish: Wish) -> T:
            state = self.adapted().state()
            with self.stack.away():
                adapted = attach(self.pack.loaded, self.method, seed=0)
                try:
                    adapted.load_state(state)
                    return measure(adapted)
                finally:
                    adapted.remove()

        return self.pack.serve(Wish(seat=self, run=each(run)))

    def quietly(self, run: Callable[[], T]) -> T:
        """Runs something while no step is under way and nobody joins."""
        return self.pack.serve(Wish(seat=self, run=each(lambda wish: run())))

    def leave(self) -> None:
        """Gives the place back."""
        try:
            self.pack.serve(Wish(seat=self, run=each(lambda wish: self.stack.leave(self.number))))
        finally:
            self.pack.leave()

    def _ask(self, run: Any, kind: str, pairs: Sequence[Pair], settings: Mapping[str, float]) -> Any:
        return self.pack.serve(Wish(seat=self, run=run, kind=kind, pairs=pairs, settings=settings))


class Views(Mapping[str, Any]):
    """A trial's trained tensors by name; looked up anew each time, since the pack may lay its buffers out anew."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat

    def __getitem__(self, name: str) -> Tensor:
        return self._now()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return 2 * len(self._seat.slot.ranks)

    def items(self) -> ItemsView[str, Tensor]:
        """All of one layout: Mapping's own would look each name up among views made anew."""
        return self._now().items()

    def _now(self) -> dict[str, Tensor]:
        return self._seat.stack.views(self._seat.number)


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedAdapted(Adapted):
    """A trial in a pack as something adapted: its tensors are views into the pack's."""

    seat: Seat

    @property
    def trained_roles(self) -> frozenset[str]:
        return self.seat.roles

    def found(self) -> dict[str, dict[str, Any]]:
        return self.seat.found
