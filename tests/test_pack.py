"""Trials that share their steps: nobody's result depends on a neighbour."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from trials import BASES, WARM, Kept, recipe

from vqlora.adapters.packed import Rows, Slot, Stack
from vqlora.finetune import Outcome, finetune
from vqlora.packing import together as together_module
from vqlora.packing.keys import packs
from vqlora.packing.pack import Pack, fitting
from vqlora.packing.steps import Wish
from vqlora.packing.together import finetune_together
from vqlora.recipe import Bits, Frames, FullFineTune, Lora, Recipe, Schedule, ZeroShot
from vqlora.record import Status

WIDE, NARROW = 12, 8


def lora(rank: dict[str, int], *, seed: int = 0, rate: float = 3e-3, base: str = BASES[0], **changes: Any) -> Recipe:
    schedule = Schedule(steps=6, batch_size=2, learning_rate=rate, evaluations=2)
    return recipe(base, method=Lora(rank=rank), seed=seed, schedule=schedule, **changes)


MIXED = (
    lora({"text": 4}),
    lora({"text": 2, "cross_modal": 8}, seed=1, rate=1e-2),
    lora({"cross_modal": 3}, seed=2, frames=Frames(budget=3, size=56)),
    replace(lora({"vision": 4, "text": 1}, seed=3), schedule=Schedule(steps=5, batch_size=3, learning_rate=1e-3)),
)


def run_together(recipes: Sequence[Recipe], progress: Sequence[Kept] | None = None) -> list[Outcome]:
    pack = Pack(WARM.base(recipes[0], "cpu"))
    keepers = progress or [Kept() for _ in recipes]
    with ThreadPoolExecutor(len(recipes)) as threads:
        waiting = [
            threads.submit(finetune_together, one, lambda _: pack, WARM, kept)
            for one, kept in zip(recipes, keepers, strict=True)
        ]
        return [one.result() for one in waiting]


def tensors(outcome: Outcome) -> dict[str, Tensor]:
    assert outcome.adapter_state is not None
    return safetensors.torch.load(outcome.adapter_state)


def distance(one: Outcome, other: Outcome) -> float:
    """The worst tensor's relative difference, in the norm."""
    ours, theirs = tensors(one), tensors(other)
    assert set(ours) == set(theirs)
    return max(float((ours[name] - theirs[name]).norm() / theirs[name].norm().clamp(min=1e-9)) for name in theirs)


@pytest.mark.parametrize("bits", ["all16", "all4"])
def test_a_mix_of_ranks_placements_budgets_batches_and_rates_gives_what_each_gives_alone(bits: str) -> None:
    recipes = [replace(one, bits=Bits.preset(bits)) for one in MIXED]
    for one, outcome in zip(recipes, run_together(recipes), strict=True):
        alone = finetune(one, device="cpu", warm=WARM)
        assert outcome.status is alone.status is Status.DONE
        assert distance(outcome, alone) < 1e-3  # AdamW turns the rounding of a gradient near zero into a step
        assert [row["caption"] for row in outcome.examples] == [row["caption"] for row in alone.examples]
        assert outcome.metrics["test"]["loss"] == pytest.approx(alone.metrics["test"]["loss"], rel=1e-4)
        assert outcome.model == alone.model
        assert outcome.cost.train_flops == alone.cost.train_flops
        assert outcome.cost.trainable_params == alone.cost.trainable_params


def test_idefics_packs_too() -> None:
    recipes = [lora({"text": 4}, base=BASES[1]), lora({"cross_modal": 2}, base=BASES[1], seed=1)]
    for one, outcome in zip(recipes, run_together(recipes), strict=True):
        assert distance(outcome, finetune(one, device="cpu", warm=WARM)) < 1e-3


def test_what_a_trial_gives_does_not_depend_on_who_came_first() -> None:
    forward, backward = run_together(MIXED), run_together(MIXED[::-1])[::-1]
    assert max(distance(*pair) for pair in zip(forward, backward, strict=True)) < 1e-3


def test_the_base_is_the_same_module_for_module_when_all_have_left() -> None:
    model = WARM.base(MIXED[0], "cpu").model
    before = {name: id(module) for name, module in model.named_modules()}
    run_together(MIXED)
    assert {name: id(module) for name, module in model.named_modules()} == before


def test_a_trial_goes_on_alone_from_a_state_of_a_pack_and_in_a_pack_from_a_state_of_its_own() -> None:
    one, whole = MIXED[0], finetune(MIXED[0], device="cpu", warm=WARM)
    kept = [Kept(), Kept()]
    run_together(MIXED[:2], kept)
    half = kept[0].state
    assert half is not None and half["step"] == one.schedule.steps
    early = Kept(break_after=4)
    with pytest.raises(KeyboardInterrupt):
        finetune(one, device="cpu", progress=early, warm=WARM)
    assert early.state is not None and early.state["step"] == 3
    resumed = run_together(MIXED[:2], [Kept(state=early.state), Kept()])[0]
    assert distance(resumed, whole) < 1e-3
    in_pack = Kept(break_after=4)
    with ThreadPoolExecutor(1) as threads, pytest.raises(KeyboardInterrupt):
        pack = Pack(WARM.base(one, "cpu"))
        threads.submit(finetune_together, one, lambda _: pack, WARM, in_pack).result()
    assert in_pack.state is not None and in_pack.state["step"] == 3
    assert distance(finetune(one, device="cpu", progress=Kept(state=in_pack.state), warm=WARM), whole) < 1e-3


def test_an_error_of_one_trial_is_its_own() -> None:
    alone = [finetune(one, device="cpu", warm=WARM) for one in MIXED[:2]]
    broken = replace(MIXED[1], seed=99)

    class Torn(Kept):
        def report(self, row: dict[str, Any]) -> None:
            if len(self.rows) == 2:
                raise ZeroDivisionError("a bug of this trial")
            super().report(row)

    pack = Pack(WARM.base(broken, "cpu"))
    with ThreadPoolExecutor(3) as threads:
        bad = threads.submit(finetune_together, broken, lambda _: pack, WARM, Torn())
        good = [threads.submit(finetune_together, one, lambda _: pack, WARM, Kept()) for one in MIXED[:2]]
        with pytest.raises(ZeroDivisionError):
            bad.result()
        assert all(distance(one.result(), own) < 1e-3 for one, own in zip(good, alone, strict=True))


def test_out_of_memory_halves_the_pack_and_only_what_does_not_fit_alone_is_out_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import vqlora.packing.steps as steps_module

    forward, sizes = steps_module._forward, []

    def small_device(wishes: Sequence[Wish]) -> Any:
        rows = sum(len(wish.pairs) for wish in wishes)
        sizes.append(rows)
        if rows > 4:
            raise torch.OutOfMemoryError(f"{rows} rows")
        return forward(wishes)

    monkeypatch.setattr(steps_module, "_forward", small_device)
    monkeypatch.setattr(together_module.PackedTrial, "_evaluate", lambda self, split: None)
    monkeypatch.setattr(together_module.PackedTrial, "_validate", lambda self, step: None)
    large = replace(MIXED[0], schedule=Schedule(steps=3, batch_size=5, learning_rate=1e-3))
    outcomes = run_together([*MIXED[:3], large])
    assert [outcome.status for outcome in outcomes] == [Status.DONE] * 3 + [Status.OUT_OF_MEMORY]
    assert max(sizes) > 4


# ---- the packed layer by itself, in fp64 -------------------------------------------------------------------------


def stack_of(ranks: Sequence[int]) -> tuple[Stack, nn.Module]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(NARROW, WIDE), nn.Tanh(), nn.Linear(WIDE, NARROW)).double().requires_grad_(False)
    stack = Stack(model, by_frame=lambda name: False, dtype=torch.float64)
    for place, rank in enumerate(ranks):
        names = ("0", "2") if place != 1 else ("2",)  # the second trial leaves the first layer alone
        slot = Slot(ranks=dict.fromkeys(names, rank), scales=dict.fromkeys(names, 0.5 * (place + 1)))
        shapes = {"0": (NARROW, WIDE), "2": (WIDE, NARROW)}
        state = {}
        for name in names:
            state[f"{name}.lora_A.weight"] = torch.randn(rank, shapes[name][0]).double()
            state[f"{name}.lora_B.weight"] = torch.randn(shapes[name][1], rank).double()
        assert stack.join(slot, state) == place
    return stack, model


def train(stack: Stack, model: nn.Module, slots: Sequence[int], *, steps: int, poison: int | None = None) -> None:
    for step in range(steps):
        torch.manual_seed(step)
        inputs = torch.randn(len(stack.slots), 3, 5, NARROW, dtype=torch.float64)
        rows = Rows(slots=tuple(slots), counts=(3,) * len(slots), frames=(3,) * len(slots))
        with stack.running(rows):
            out = model(inputs[list(slots)].flatten(0, 1)).unflatten(0, (len(slots), 3))
        losses = (out - 1).square().flatten(1).mean(1)
        if poison is not None and step == 2:
            losses = losses * torch.tensor([float("nan") if slot == poison else 1.0 for slot in slots])
        losses.sum().backward()
        for slot in slots:
            stack.update(slot, rate=1e-2 * (slot + 1), decay=0.1, clip=0.5 + slot)


def test_a_stack_holds_as_many_places_as_trials_and_gives_a_free_one_away_again() -> None:
    stack, _ = stack_of((4,))
    alone = stack.weights.numel()
    stack, _ = stack_of((4, 4, 4))
    assert (len(stack.weights), stack.weights.numel()) == (3, 3 * alone)
    state = {name: view.clone() for name, view in stack.views(2).items()}
    moved = stack.slots[1]
    assert moved is not None
    stack.leave(1)
    assert stack.join(moved, {name: torch.ones_like(view) for name, view in state.items() if name[0] == "2"}) == 1
    assert len(stack.weights) == 3
    assert all(torch.equal(view, state[name]) for name, view in stack.views(2).items())


def test_a_trial_that_finds_no_room_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stack, model = stack_of((2, 1))
    large, _ = stack_of((2, 1, 4))
    third, wanted = large.slots[2], {name: view.clone() for name, view in large.views(2).items()}
    assert third is not None

    def full(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room")

    with monkeypatch.context() as patched, pytest.raises(torch.OutOfMemoryError):
        patched.setattr(Stack, "_moved", full)
        stack.join(third, wanted)
    train(stack, model, (0, 1), steps=3)
    assert stack.join(third, wanted) == 2
    alone, alone_model = stack_of((2, 1))
    train(alone, alone_model, (0, 1), steps=3)
    for place in (0, 1):
        near = zip(stack.views(place).values(), alone.views(place).values(), strict=True)
        assert all(torch.allclose(own, other, rtol=1e-12) for own, other in near)
    assert all(torch.equal(view, wanted[name]) for name, view in stack.views(2).items())


def test_in_fp64_twenty_steps_side_by_side_are_those_of_each_alone() -> None:
    stack, model = stack_of((1, 2, 4, 3))
    train(stack, model, (0, 1, 2, 3), steps=20)
    for place in range(4):
        own, own_model = stack_of((1, 2, 4, 3))
        train(own, own_model, (place,), steps=20)
        for name, view in stack.views(place).items():
            assert float((view - own.views(place)[name]).norm() / view.norm()) < 1e-10


def test_a_trial_that_is_not_a_number_leaves_the_others_as_they_are_to_the_bit() -> None:
    (clean, clean_model), (sick, sick_model) = stack_of((2, 2, 4)), stack_of((2, 2, 4))
    train(clean, clean_model, (0, 1, 2), steps=6)
    train(sick, sick_model, (0, 1, 2), steps=6, poison=1)
    assert not torch.isfinite(sick.weights[1]).all()
    assert torch.equal(clean.weights[0], sick.weights[0]) and torch.equal(clean.weights[2], sick.weights[2])


def test_padding_stays_zero_and_no_gradient_reaches_another_trial() -> None:
    stack, model = stack_of((1, 4))
    train(stack, model, (0, 1), steps=5)
    for place in (0, 1):
        own = sum(view.numel() for view in stack.views(place).values())
        assert int(stack.weights[place].count_nonzero()) == own < stack.weights.shape[1]
    before = stack.weights.clone()
    train(stack, model, (1,), steps=2)
    assert torch.equal(stack.weights[0], before[0]) and not torch.equal(stack.weights[1], before[1])


def test_a_late_comer_with_a_larger_rank_changes_nobodys_weights_or_moments() -> None:
    stack, model = stack_of((2, 2))
    train(stack, model, (0, 1), steps=3)
    kept = [{name: view.clone() for name, view in stack.views(0, buffer).items()} for buffer in buffers(stack)]
    stack.leave(1)
    slot = Slot(ranks={"0": 7}, scales={"0": 1.0})
    state = {"0.lora_A.weight": torch.ones(7, NARROW).double(), "0.lora_B.weight": torch.zeros(WIDE, 7).double()}
    assert stack.join(slot, state) == 1
    for buffer, before in zip(buffers(stack), kept, strict=True):
        assert all(torch.equal(view, before[name]) for name, view in stack.views(0, buffer).items())


def buffers(stack: Stack) -> tuple[Tensor, Tensor, Tensor]:
    return stack.weights, stack.first, stack.second


def test_trials_that_cannot_share_steps_are_told_apart() -> None:
    assert packs(recipe()) and packs(recipe(method=ZeroShot()))
    assert not packs(recipe(method=FullFineTune()))
    assert not packs(recipe(method=Lora(rank={"text": 2}, dropout=0.1)))


def test_slots_are_what_fits_beside_the_base_by_the_probe() -> None:
    assert fitting(100.0, 10.0) == 9
    assert fitting(5.0, 10.0) == 1
    assert fitting(100.0, 0.0) == 90
