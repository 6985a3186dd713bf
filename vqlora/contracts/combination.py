"""The matrix of conformance: families x methods x bit plans, each combination checked alike or refused with a reason.

A new family joins by its tiny base in `vqlora.models.sizes`, a new method by a row of CASES, a new plan by a row of
PLANS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from vqlora.adapters import Adapted, attach, check_method
from vqlora.checkpointing import checkpointed
from vqlora.contracts.family import AGREES, generation_gap
from vqlora.contracts.footage import Footage, footage
from vqlora.models.bits import bits_by_role, tensors_of
from vqlora.models.load import load, model_type_of
from vqlora.optimizers import make_optimizer, rate_factors
from vqlora.recipe import Bits, Bottleneck, FullFineTune, Ia3, Lora, Method, Prefix, Schedule, TemporalLora, ZeroShot

STEPS = 5
AGREES_INT8 = 1e-2


@dataclass(frozen=True)
class Case:
    """A method of the matrix and the learning rate at which its loss must fall within five steps."""

    method: Method
    rate: float = 0.0


CASES: dict[str, Case] = {
    "zero-shot": Case(ZeroShot()),
    "full, text": Case(FullFineTune(roles=("text",)), 1e-3),
    "full, all": Case(FullFineTune(roles=("text", "vision", "cross_modal")), 1e-3),
    "projector": Case(FullFineTune(roles=("cross_modal",)), 1e-2),
    "LoRA, text": Case(Lora(rank={"text": 4}), 1e-2),
    "LoRA, vision": Case(Lora(rank={"vision": 4}), 1e-2),
    "LoRA, cross-modal": Case(Lora(rank={"cross_modal": 4}), 1e-2),
    "LoRA, ranks 4 2 1": Case(Lora(rank={"text": 4, "vision": 2, "cross_modal": 1}), 1e-2),
    "DoRA": Case(Lora(rank={"text": 4}, variant="dora"), 1e-2),
    "LoRA+": Case(Lora(rank={"text": 4}, rate_ratio=16.0), 1e-3),
    "PiSSA": Case(Lora(rank={"text": 4}, init="pissa"), 1e-3),
    "EVA": Case(Lora(rank={"text": 4}, init="eva"), 1e-2),
    "LoftQ": Case(Lora(rank={"text": 4}, init="loftq"), 1e-3),
    "temporal LoRA": Case(TemporalLora(rank={"text": 4}), 1e-2),
    "temporal, all roles": Case(TemporalLora(rank={"text": 4, "vision": 2, "cross_modal": 2}), 1e-2),
    "temporal gate": Case(TemporalLora(rank={"text": 4}, mode="gate"), 1e-2),
    "temporal, mixer": Case(TemporalLora(rank={"text": 4}, mixer="time", width=8), 1e-2),
    "prefix": Case(Prefix(tokens=4), 1e-2),
    "bottleneck": Case(Bottleneck(width={"text": 8}), 1e-2),
    "IA3": Case(Ia3(roles=("text",)), 1e-1),
}
PLANS: dict[str, Bits] = {
    **{name: Bits.preset(name) for name in ("all16", "all8", "all4", "v8t4", "v16t4", "v4t8")},
    "fp4": Bits(plan={"text": 4, "vision": 4}, scheme4="fp4"),
    "nf4, single": Bits(plan={"text": 4, "vision": 4}, double_quant=False),
    "attn 8, mlp 4": Bits(plan={"text.attn": 8, "text.mlp": 4, "vision.attn": 8, "vision.mlp": 4}),
}


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a combination gave. refused: the reason, and nothing else was done.

    losses: before each of the steps and after the last. Gaps: of logits, token by token against one pass; of gradients,
    with checkpointing against without (loss equal); None where there is nothing to compare.
    """

    refused: str | None = None
    losses: tuple[float, ...] = ()
    trained: int = 0
    generation_gap: float | None = None
    checkpointing_gap: float | None = None


def refusal(base: str, method: Method, bits: Bits) -> str | None:
    """Why this combination cannot be, as far as is known without loading anything; None if it can.

    A random base counts as the checkpoint that `examine` makes of it for methods that read one.
    """
    model_type = model_type_of(base)
    try:
        bits_by_role(bits, model_type)
        check_method(method, bits, model_type=model_type, base="a checkpoint")
    except ValueError as error:
        return str(error)
    return None


def examine(base: str, case: Case, bits: Bits) -> Found:
    """Runs one combination on two clips; AssertionError, naming it, where it breaks a promise of the matrix.

    A method that reads the weights of a checkpoint gets a random base as one.
    """
    if isinstance(case.method, Lora) and case.method.init == "loftq" and base.startswith("random:"):
        with TemporaryDirectory() as folder:
            save_base(base, folder)
            return examine(folder, case, bits)
    reason = refusal(base, case.method, bits)
    if reason is not None:
        return Found(refused=reason)
    try:
        seen, adapted = _attached(base, case, bits)
    except ValueError as error:
        return Found(refused=str(error))
    before = _values(seen.loaded.model, adapted)
    losses = _trained(seen, adapted, case) if adapted.parameters else (seen.loss().item(),)
    name = f"{base}, {case.method}, {bits.plan}"
    assert not adapted.parameters or min(losses[1:]) < losses[0], f"{name}: the loss does not fall: {losses}"
    moved = [key for key, value in _values(seen.loaded.model, adapted).items() if not torch.equal(value, before[key])]
    assert not moved, f"{name}: {moved[:3]} moved and should not"
    gap = None if "caption" in seen.loaded.family.cannot else generation_gap(seen)
    limit = AGREES_INT8 if 8 in bits.plan.values() else AGREES
    assert gap is None or gap < limit, f"{name}: token by token the logits differ by {gap:.1e}"
    checkpointing_gap = _checkpointing_gap(seen, adapted, name) if adapted.parameters else None
    if adapted.parameters:
        _check_saved(seen, adapted, case, bits, name)
    return Found(
        losses=losses,
        trained=sum(parameter.numel() for parameter in adapted.parameters.values()),
        generation_gap=gap,
        checkpointing_gap=checkpointing_gap,
    )


def save_base(base: str, folder: str) -> None:
    """The base in a folder, as save_pretrained writes it: under the names that its family's checkpoints have."""
    loaded = load(base, Bits(plan={}), "cpu")
    loaded.model.save_pretrained(folder)
    loaded.processor.save_pretrained(folder)


def pairs(bases: Sequence[str], cases: Sequence[str], plans: Sequence[str]) -> list[tuple[str, str, str]]:
    """Few combinations in which every two of a base, a method and a plan meet: greedy, the same every time.

    They meet where they work together; only two that never do meet in a combination that is refused.
    """
    rows = list(product(bases, cases, plans))
    works = [row for row in rows if refusal(row[0], CASES[row[1]].method, PLANS[row[2]]) is None]
    chosen: list[tuple[str, str, str]] = []
    met: set[tuple[int, str, str]] = set()
    for some in (works, rows):
        missing = {pair for row in some for pair in _pairs_of(row)} - met
        while missing:
            best = max(some, key=lambda row: sum(pair in missing for pair in _pairs_of(row)))
            chosen.append(best)
            missing -= set(_pairs_of(best))
            met |= set(_pairs_of(best))
    return chosen


def _pairs_of(row: tuple[str, str, str]) -> tuple[tuple[int, str, str], ...]:
    family, case, plan = row
    return (0, family, case), (1, family, plan), (2, case, plan)


def _attached(base: str, case: Case, bits: Bits) -> tuple[Footage, Adapted]:
    seen = footage(load(base, bits, "cpu"))

    @torch.no_grad()
    def run() -> None:
        seen.loss()

    adapted = attach(seen.loaded, case.method, seed=0, run=run)
    return replace(seen, adapted=adapted), adapted


def _trained(seen: Footage, adapted: Adapted, case: Case) -> tuple[float, ...]:
    """The loss before every step and after the last one."""
    optimizer = make_optimizer(adapted, Schedule(steps=STEPS, learning_rate=case.rate), seed=0)
    for group, factor in zip(optimizer.param_groups, rate_factors(adapted), strict=True):
        group["lr"] = case.rate * factor
    losses = []
    for _ in range(STEPS):
        loss = _loss(seen, adapted)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    with torch.no_grad():
        return (*losses, _loss(seen, adapted).item())


def _loss(seen: Footage, adapted: Adapted) -> Tensor:
    return seen.loss(trains_vision="vision" in adapted.trained_roles)


def _values(model: Any, adapted: Adapted) -> dict[str, Tensor]:
    """Copies of all that the model keeps and that is not trained, quantised values and constants included."""
    trained = {id(parameter) for parameter in adapted.parameters.values()}
    return {
        f"{name} {number}": tensor.detach().clone()
        for name, module in model.named_modules()
        for number, tensor in enumerate(tensors_of(module))
        if id(tensor) not in trained
    }


def _checkpointing_gap(seen: Footage, adapted: Adapted, name: str) -> float:
    """Largest relative difference of gradients; the losses must be equal."""
    gradients, losses = [], []
    for recomputes in (False, True):
        if recomputes:
            with checkpointed(seen.loaded.model):
                loss = _loss(seen, adapted)
                loss.backward()
        else:
            loss = _loss(seen, adapted)
            loss.backward()
        losses.append(loss.item())
        gradients.append({key: p.grad.clone() for key, p in adapted.parameters.items() if p.grad is not None})
        for parameter in adapted.parameters.values():
            parameter.grad = None
    assert losses[0] == losses[1], f"{name}: the loss is {losses[0]}, with checkpointing {losses[1]}"
    assert gradients[0].keys() == gradients[1].keys(), f"{name}: checkpointing loses gradients"
    scale = max(value.abs().max() for value in gradients[0].values())
    gap = max((gradients[1][key] - value).abs().max() / scale for key, value in gradients[0].items()).item()
    assert gap < 1e-5, f"{name}: checkpointing changes gradients by {gap:.1e}"
    return gap


@torch.no_grad()
def _check_saved(seen: Footage, adapted: Adapted, case: Case, bits: Bits, name: str) -> None:
    """What is saved and loaded onto a base of its own is the same to the bit, and so is its loss."""
    content, loss = adapted.to_bytes(), seen.loss()
    other, again = _attached(seen.loaded.base, replace(case), bits)
    again.load_bytes(content)
    assert again.to_bytes() == content, f"{name}: the adapter changes when it is saved and loaded"
    assert torch.equal(other.loss(), loss), f"{name}: loaded, it gives {other.loss()}, not {loss}"
