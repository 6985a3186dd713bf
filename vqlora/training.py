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
from torch import Tensor, nn

from vqlora.adapters import Adapted
from vqlora.checkpointing import checkpointed
from vqlora.cost import StepProbe
from vqlora.data.example import Example
from vqlora.inputs import Inputs, precision
from vqlora.models.conversation import IGNORED
from vqlora.optimizers import make_optimizer, rate_factors
from vqlora.parts import local_part
from vqlora.recipe import FullFineTune, Schedule
from vqlora.sharding import run_whole, shard


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
        if ranks > 1 and isinstance(self.adapted.method, FullFineTune):
            shard(self.adapted)
        parameters = self.adapted.parameters
        self._is_sharded = any(local_part(p) is not p for p in parameters.values())
        self._parts = {
            name: nn.Parameter(local_part(p.detach())) if self._is_sharded else p for name, p in parameters.items()
        }
        self.optimizer = make_optimizer(self.adapted, self.schedule, seed=self.seed, parts=self._parts)
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
        self.adapted.advance(self.step_number / self.schedule.steps)
        is_measured = self.probe.is_active
        recomputing = checkpointed(self.adapted.model) if self.schedule.checkpointing else nullcontext()
        with nullcontext() if is_measured else self.adapted.loaded.fast(), recomputing, self.probe.step():
            loss = self._backward(batch, fresh=is_measured)
            self._take_gradients()
            self._clip()
            for group, factor in zip(self.optimizer.param_groups, rate_factors(self.adapted), strict=True):
                group["lr"] = factor * learning_rate(self.schedule, self.step_number)
            self.optimizer.step()
            for parameter in (*self._parts.values(), *self.adapted.parameters.values()):
                parameter.grad = None
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

        def forward() -> Tensor:
            states = self.inputs.states(examples, fresh=fresh)
            with precision(loaded.device):
                return loaded.family.loss(loaded.model, tokens, states)

        loss = run_whole(loaded.model, forward)
        penalty = self.adapted.penalty()
        count = (tokens["labels"][:, 1:] != IGNORED).sum()
        if world()[1] == 1:
            (loss + penalty).backward()
            return loss.detach()
        total = count.clone()
        dist.all_reduce(total)
        part = loss * (count / total)
        (part + penalty / world()[1]).backward()
        whole = part.detach().clone()
        dist.all_reduce(whole)
        return whole

    def _take_gradients(self) -> None:
        """All ranks get the sum of their gradients, in one message; FSDP has summed those of parts."""
        if self._is_sharded:
            for name, parameter in self.adapted.parameters.items():
                self._parts[name].grad = None if parameter.grad is None else local_part(parameter.grad)
            return
        if world()[1] == 1:
            return
        gradients = [p.grad for p in self.adapted.parameters.values() if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def _clip(self) -> None:
        """Scales the gradient to at most `clip_norm`; of parts, by the norm of the whole."""
        if not self._is_sharded:
            torch.nn.utils.clip_grad_norm_(list(self.adapted.parameters.values()), self.schedule.clip_norm)
            return
        gradients = [part.grad for part in self._parts.values() if part.grad is not None]
        square = torch.stack([gradient.float().square().sum() for gradient in gradients]).sum()
        dist.all_reduce(square)
        torch._foreach_mul_(gradients, (self.schedule.clip_norm / (square.sqrt() + 1e-6)).clamp(max=1.0))

    def state(self) -> dict[str, Any]:
        """Everything the next step depends on, on the host, as tensors and plain values; with FSDP, of all ranks."""
        optimizer = _map_tensors(self.optimizer.state_dict(), lambda tensor: tensor.detach().cpu().clone())
        if self._is_sharded:
            parts: list[Any] = [None] * world()[1]
            dist.all_gather_object(parts, optimizer)
            optimizer = {"parts": parts}
        return {
            "step": self.step_number,
            "trained": self.adapted.state(),
            "optimizer": optimizer,
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was taken. ValueError if it belongs to another base, method or number of workers."""
        optimizer, (rank, ranks) = state["optimizer"], world()
        parts = optimizer.get("parts", [optimizer])
        if len(parts) != (ranks if self._is_sharded else 1):
            raise ValueError(
                f"the checkpoint is of {len(parts)} sharding worker(s), here are {ranks}; run as many again"
            )
        self.adapted.load_state(state["trained"])
        self.optimizer.load_state_dict(parts[rank if self._is_sharded else 0])
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
