"""Training of an adapted base: order of the data, learning rate, steps, and a state that goes on to the bit.

Everything random is a function of the recipe's seed and the step, so a resumed run needs no data-loader state. With
several ranks (`torch.distributed`) each takes its share of a batch and gradients are those of the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vqlora.adapters import Adapted
from vqlora.checkpointing import checkpointed
from vqlora.cost import StepProbe
from vqlora.data.example import Example
from vqlora.inputs import Inputs, precision
from vqlora.models.conversation import IGNORED
from vqlora.optimizers import make_optimizer, rate_factors
from vqlora.recipe import Schedule


def world() -> tuple[int, int]:
    """(rank, number of ranks) of this process."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def learning_rate(schedule: Schedule, step: int) -> float:
    """Of step 0..steps-1: linear warm-up to the peak over `warmup_share` of the steps, then a cosine to zero."""
    warmup = round(schedule.warmup_share * schedule.steps)
    if step < warmup:
        return schedule.learning_rate * (step + 1) / warmup
    share = (step - warmup) / max(1, schedule.steps - warmup)
    return schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def batch_order(count: int, batch_size: int, seed: int, step: int) -> list[tuple[int, float]]:
    """What step `step` sees of `count` examples: (index, a number in [0, 1) that chooses the reference caption).

    Epochs are permutations laid end to end; a batch may span two of them.
    """
    places = range(step * batch_size, (step + 1) * batch_size)
    epochs = {epoch: _epoch(count, seed, epoch) for epoch in {place // count for place in places}}
    return [epochs[place // count][place % count] for place in places]


def _epoch(count: int, seed: int, epoch: int) -> list[tuple[int, float]]:
    # Seeds that are near each other give unrelated streams only after mixing (splitmix64's multiplier).
    generator = torch.Generator().manual_seed(((seed << 20) + epoch) * 0x9E3779B97F4A7C15 % 2**63)
    order = torch.randperm(count, generator=generator).tolist()
    return list(zip(order, torch.rand(count, generator=generator).tolist(), strict=True))


def paired(examples: Sequence[Example], batch: Sequence[tuple[int, float]], language: str) -> list[tuple[Example, int]]:
    """The examples that a batch names, each with the number of the reference it draws."""
    return [(examples[index], int(draw * len(examples[index].references.get(language, ())))) for index, draw in batch]


def evaluation_steps(schedule: Schedule) -> frozenset[int]:
    """Number of steps done at which validation runs: evenly spaced, the last one after the last step."""
    count = min(schedule.evaluations, max(1, schedule.steps))
    return frozenset(round(schedule.steps * number / count) for number in range(1, count + 1))


@dataclass(kw_only=True, eq=False)
class Trainer:
    """Trains what is trainable. `step()` does one step and gives its loss (nats per label token of the whole batch).

    step_number: steps done. probe: measures the first steps of this process, on fresh vision states.
    """

    adapted: Adapted
    inputs: Inputs
    examples: Sequence[Example]
    schedule: Schedule
    seed: int
    probe: StepProbe
    step_number: int = 0
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        ranks = world()[1]
        if self.schedule.batch_size % ranks:
            raise ValueError(f"batch size {self.schedule.batch_size} does not divide over {ranks} workers")
        self.optimizer = make_optimizer(self.adapted, self.schedule, seed=self.seed)
        self.probe.optimizer, self.probe.recomputes = self.optimizer, bool(self.schedule.checkpointing)

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return self.optimizer.param_groups[0]["lr"]

    @property
    def _device(self) -> torch.device:
        return self.adapted.loaded.device

    def step(self) -> float:
        """One optimisation step. The loss is returned as it was before the step."""
        rank, ranks = world()
        batch = batch_order(len(self.examples), self.schedule.batch_size, self.seed, self.step_number)[rank::ranks]
        self.adapted.dropout(True)
        is_measured = self.probe.is_active
        recomputing = checkpointed(self.adapted.model) if self.schedule.checkpointing else nullcontext()
        with nullcontext() if is_measured else self.adapted.loaded.fast(), recomputing, self.probe.step():
            loss = self._backward(batch, fresh=is_measured)
            self._sum_gradients()
            torch.nn.utils.clip_grad_norm_(list(self.adapted.parameters.values()), self.schedule.clip_norm)
            for group, factor in zip(self.optimizer.param_groups, rate_factors(self.adapted), strict=True):
                group["lr"] = factor * learning_rate(self.schedule, self.step_number)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            value = loss.item()
        self.adapted.dropout(False)
        self.step_number += 1
        return value

    def _backward(self, batch: Sequence[tuple[int, float]], *, fresh: bool) -> Tensor:
        """Gradients of this rank's part of the mean over all label tokens of the batch; gives that mean."""
        loaded = self.adapted.loaded
        pairs = paired(self.examples, batch, self.inputs.language)
        examples = [example for example, _ in pairs]
        tokens = self.inputs.tokens(examples, [reference for _, reference in pairs])
        states = self.inputs.states(examples, fresh=fresh)
        with precision(loaded.device):
            loss = loaded.family.loss(loaded.model, tokens, states)
        count = (tokens["labels"][:, 1:] != IGNORED).sum()
        if world()[1] == 1:
            loss.backward()
            return loss.detach()
        total = count.clone()
        dist.all_reduce(total)
        part = loss * (count / total)
        part.backward()
        whole = part.detach().clone()
        dist.all_reduce(whole)
        return whole

    def _sum_gradients(self) -> None:
        """All ranks get the sum of their gradients, in one message."""
        if world()[1] == 1:
            return
        gradients = [p.grad for p in self.adapted.parameters.values() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def state(self) -> dict[str, Any]:
        """Everything the next step depends on, as tensors and plain values on the host."""
        optimizer = self.optimizer.state_dict()
        return {
            "step": self.step_number,
            "trained": self.adapted.state(),
            "optimizer": _map_tensors(optimizer, lambda tensor: tensor.detach().cpu().clone()),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was taken. ValueError if it belongs to another base or method."""
        self.adapted.load_state(state["trained"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step_number = state["step"]
        torch.set_rng_state(state["rng"])
        if state["cuda_rng"] is not None and self._device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"], self._device)


def _map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _map_tensors(item, change) for key, item in value.items()}
    return [_map_tensors(item, change) for item in value] if isinstance(value, list) else value
