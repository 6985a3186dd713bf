"""On a GPU: bf16 arithmetic around quantised bases, the allocator's peaks, out of memory as an outcome."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from kept import keep_trial
from trials import recipe

from vqlora.cost import GIB
from vqlora.finetune import Outcome, finetune
from vqlora.memory_cap import cap_memory, free_bytes, memory_cap_gib
from vqlora.models.bits import dense_bytes
from vqlora.packing.pack import Pack
from vqlora.packing.together import finetune_together
from vqlora.planner import plan
from vqlora.recipe import Bits, Frames, FullFineTune, Lora, Recipe, Schedule, ZeroShot
from vqlora.record import Status
from vqlora.warm import Warm

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
WARM = Warm()
FAMILIES = ("embedded:videollama", "embedded:flamingo")


def embedded(base: str = FAMILIES[0], bits: str = "all16", **changes: Any) -> Recipe:
    return recipe(
        base,
        bits=Bits.preset(bits),
        frames=Frames(budget=8),
        method=Lora(rank={"text": 8, "cross_modal": 8}),
        schedule=Schedule(steps=40, batch_size=8, learning_rate=4e-3),
        max_new_tokens=48,
        **changes,
    )


def known(value: float | None) -> float:
    assert value is not None
    return value


def losses(outcome: Outcome) -> list[float]:
    return [row["loss"] for row in outcome.curve if "loss" in row]


@pytest.mark.parametrize("bits", ["all16", "all8", "all4"])
@pytest.mark.parametrize("base", FAMILIES)
def test_a_trial_learns_and_its_cost_is_the_allocators(base: str, bits: str) -> None:
    outcome = finetune(embedded(base, bits), device="cuda", warm=WARM)
    assert outcome.status is Status.DONE, outcome.error
    first, last = losses(outcome)[:5], losses(outcome)[-5:]
    assert sum(last) < 0.7 * sum(first)
    assert outcome.metrics["val"]["cider"] > 0.2
    assert "allocator" in outcome.cost.how["train_peak_gib"]
    assert (
        known(outcome.cost.train_peak_gib) > known(outcome.cost.infer_peak_gib) > known(outcome.cost.base_bytes) / GIB
    )
    assert known(outcome.cost.train_flops) > known(outcome.cost.infer_flops) > 0


def test_bits_agree_before_training_and_weights_shrink_with_them() -> None:
    found = {
        bits: finetune(
            replace(embedded(bits=bits), method=ZeroShot(), schedule=Schedule(steps=0)), device="cuda", warm=WARM
        )
        for bits in ("all16", "all8", "all4")
    }
    size = {bits: known(outcome.cost.base_bytes) for bits, outcome in found.items()}
    assert size["all16"] > size["all8"] > size["all4"]
    loss = {bits: outcome.metrics["val"]["loss"] for bits, outcome in found.items()}
    assert abs(loss["all8"] / loss["all16"] - 1) < 0.02
    assert abs(loss["all4"] / loss["all16"] - 1) < 0.15


def test_full_fine_tuning_trains_in_fp32_around_bf16_arithmetic() -> None:
    outcome = finetune(
        replace(
            embedded(),
            method=FullFineTune(roles=("text", "cross_modal")),
            schedule=Schedule(steps=40, batch_size=8, learning_rate=1e-3),
        ),
        device="cuda",
        warm=WARM,
    )
    assert outcome.status is Status.DONE
    assert sum(losses(outcome)[-5:]) < 0.7 * sum(losses(outcome)[:5])


def test_out_of_memory_is_an_outcome_and_the_next_trial_runs() -> None:
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 600 * 2**20) / total)
    try:
        outcome = finetune(replace(embedded(), schedule=Schedule(steps=4, batch_size=512)), device="cuda", warm=WARM)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert outcome.status is Status.OUT_OF_MEMORY
    assert "OutOfMemoryError" in (outcome.error or "")
    assert finetune(embedded(), device="cuda", warm=WARM).status is Status.DONE


@pytest.mark.parametrize("bits", ["all16", "all8", "all4"])
def test_a_2b_base_is_built_in_its_bits_and_its_weights_take_what_the_plan_says(bits: str) -> None:
    wanted = replace(
        embedded("random:videollama3-2b", bits), schedule=Schedule(steps=6, batch_size=1), max_new_tokens=4
    )
    outcome = finetune(wanted, device="cuda", warm=Warm())
    assert outcome.status is Status.DONE, outcome.error
    planned = plan(wanted, device="cuda")
    assert abs(planned.base_bytes / known(outcome.cost.base_bytes) - 1) < 0.02
    assert 0.5 < planned.peak_gib / known(outcome.cost.train_peak_gib) < 2


def test_a_trial_under_a_cap_is_written_with_it(tmp_path: Path) -> None:
    cap_memory(16)
    try:
        _, record = keep_trial(tmp_path, embedded(), device="cuda")
        assert 0 < free_bytes(torch.device("cuda")) < 16 * GIB
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert record.status is Status.DONE, record.error
    assert record.provenance.memory_cap_gib == 16
    assert known(record.cost.planned_train_peak_gib) > 0 and known(record.cost.planned_latency_ms) > 0
    assert memory_cap_gib("cuda") is None


def test_a_closed_pack_gives_its_dequantised_weights_back() -> None:
    """The next trial of the worker may need the room, and Python would keep them: packs and seats are a cycle."""
    warm, wanted = Warm(), embedded(bits="all4")
    pack = Pack(warm.base(wanted, "cuda"))
    outcome = finetune_together(wanted, lambda _: pack, warm)
    assert outcome.status is Status.DONE, outcome.error
    held = torch.cuda.memory_allocated()
    pack.close()
    assert held - torch.cuda.memory_allocated() >= dense_bytes(pack.loaded.model) > 0


def test_attention_under_a_mask_has_finite_gradients_at_every_length() -> None:
    """Logits of -120 and lengths of 64 modulo 128, where cuDNN's backward pass gives NaN (pytorch issue 196678)."""
    WARM.base(embedded(), "cuda")
    for length in (64, 192, 704):
        query, key, value = (torch.randn(1, 2, length, 64, device="cuda", dtype=torch.bfloat16) for _ in range(3))
        query[..., 0], key[..., 0] = 1.0, -120 * 8.0
        mask = torch.ones(length, length, dtype=torch.bool, device="cuda").tril()[None, None]
        parts = [part.requires_grad_() for part in (query, key, value)]
        torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=mask).square().sum().backward()
        assert all(part.grad is not None and part.grad.isfinite().all() for part in parts), length
