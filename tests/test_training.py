"""Order of the data, learning rate, and that several ranks compute what one does."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from trials import BASES, WARM, recipe

from vqlora.finetune import Outcome, finetune
from vqlora.recipe import Bits, FullFineTune, Lora, Recipe, Schedule
from vqlora.training import batch_order, evaluation_steps, learning_rate


def test_an_epoch_shows_every_example_once_and_the_next_one_in_another_order() -> None:
    seen = [index for step in range(20) for index, _ in batch_order(40, 4, 3, step)]
    first, second = seen[:40], seen[40:]
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second


def test_a_batch_may_span_two_epochs() -> None:
    order = [index for step in range(5) for index, _ in batch_order(6, 4, 0, step)]
    assert Counter(order[:6]) == Counter(order[6:12]) == Counter(range(6))


def test_order_and_reference_follow_seed_and_step_alone() -> None:
    assert batch_order(10, 3, 5, 7) == batch_order(10, 3, 5, 7)
    assert batch_order(100, 8, 5, 0) != batch_order(100, 8, 6, 0)
    draws = [draw for step in range(50) for _, draw in batch_order(100, 8, 5, step)]
    assert min(draws) >= 0 and max(draws) < 1
    assert sum(draws) / len(draws) == pytest.approx(0.5, abs=0.06)


def test_the_learning_rate_warms_up_linearly_and_falls_as_a_cosine_to_zero() -> None:
    schedule = Schedule(steps=20, learning_rate=0.8, warmup_share=0.2)
    rates = [learning_rate(schedule, step) for step in range(21)]
    assert rates[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[12] == pytest.approx(0.8 * 0.5 * (1 + math.cos(math.pi * 0.5)))
    assert rates[20] == pytest.approx(0)


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_the_ends_of_the_warm_up_range_are_sound(warmup: float) -> None:
    schedule = Schedule(steps=3, warmup_share=warmup)
    assert all(0 < learning_rate(schedule, step) <= schedule.learning_rate for step in range(3))


@pytest.mark.parametrize(
    ("steps", "evaluations", "expected"), [(12, 3, {4, 8, 12}), (5, 2, {2, 5}), (2, 9, {1, 2}), (0, 1, {0})]
)
def test_validations_are_evenly_spaced_and_the_last_follows_the_last_step(
    steps: int, evaluations: int, expected: set[int]
) -> None:
    assert evaluation_steps(Schedule(steps=steps, evaluations=evaluations)) == expected


def on_two_ranks(rank: int, wanted: Recipe, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    outcome = finetune(wanted, device="cpu")
    torch.save((outcome.curve, outcome.metrics, outcome.adapter_state), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


METHODS = {
    "DDP": (BASES[0], Lora(rank={"text": 4}), "all4", 1e-2),
    "FSDP": (BASES[0], FullFineTune(), "all16", 1e-3),
    "FSDP of vision too": (BASES[1], FullFineTune(roles=("text", "vision", "cross_modal")), "all16", 1e-3),
    "FSDP of tied weights": ("random:videollama", FullFineTune(), "all16", 1e-3),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", METHODS)
def test_two_ranks_train_and_score_like_one(case: str, tmp_path: Path) -> None:
    base, method, bits, rate = METHODS[case]
    schedule = Schedule(steps=3, batch_size=4, learning_rate=rate, checkpointing=case == "FSDP")
    wanted = recipe(base, method=method, schedule=schedule, bits=Bits.preset(bits))
    alone: Outcome = finetune(wanted, device="cpu", warm=WARM)
    multiprocessing.spawn(on_two_ranks, (wanted, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2))
    assert first == second
    curve, metrics, trained = first
    whole = safetensors.torch.load(alone.adapter_state or b"")
    for name, value in safetensors.torch.load(trained).items():
        torch.testing.assert_close(value, whole[name], rtol=0, atol=0.05 * rate)  # a step moves a weight by `rate`
    assert [row["loss"] for row in curve if "loss" in row] == pytest.approx(
        [row["loss"] for row in alone.curve if "loss" in row], rel=1e-5
    )
    assert metrics["test"]["loss"] == pytest.approx(alone.metrics["test"]["loss"], rel=1e-4)


def test_a_batch_that_does_not_divide_over_the_workers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqlora.training.world", lambda: (0, 3))
    with pytest.raises(ValueError, match="batch size 4 does not divide over 3 workers"):
        finetune(recipe(schedule=Schedule(steps=1, batch_size=4)), device="cpu", warm=WARM)
