"""What the cost counters count, against hand calculation and against each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count
from trials import BASES, WARM, recipe

from vqlora.adapters import attach
from vqlora.cost import GIB, LivePeak, StepProbe, percentile, saved_activations
from vqlora.finetune import finetune
from vqlora.flops import ATTENTIONS, FlopCounter, formulas
from vqlora.models.bits import quantised_layer
from vqlora.models.load import load
from vqlora.recipe import Bits, Lora, Schedule

CPU = torch.device("cpu")


def flops_of(layer: nn.Module, x: torch.Tensor) -> tuple[int, int]:
    """(forward, backward) of a layer whose weight is frozen."""
    x = x.clone().requires_grad_()
    with FlopCounter() as forward:
        out = layer(x)
    with FlopCounter() as backward:
        out.sum().backward()
    return forward.total, backward.total


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("bias", [True, False])
def test_a_quantised_layer_counts_the_flops_of_its_dense_one(bits: int, bias: bool) -> None:
    dense = nn.Linear(64, 96, bias=bias).requires_grad_(False)
    built = quantised_layer(dense, bits, Bits(plan={}), CPU)
    x = torch.randn(3, 5, 64)
    assert flops_of(built, x) == flops_of(dense, x) == (2 * 15 * 64 * 96, 2 * 15 * 64 * 96)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantised_layer_in_inference_counts_the_flops_of_its_dense_one(bits: int) -> None:
    built = quantised_layer(nn.Linear(64, 96), bits, Bits(plan={}), CPU)
    with torch.no_grad(), FlopCounter() as counter:
        built(torch.randn(1, 64))
    assert counter.total == 2 * 64 * 96


@pytest.mark.parametrize("base", BASES)
def test_bits_change_the_memory_of_a_trial_but_not_its_flops(base: str) -> None:
    plans = map(Bits.preset, ("all16", "all8", "all4"))
    costs = [finetune(recipe(base, bits=bits), device="cpu", warm=WARM).cost for bits in plans]
    assert len({cost.train_flops for cost in costs}) == 1
    sizes: list[Any] = [cost.base_bytes for cost in costs]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 3
    infer: list[Any] = [cost.infer_peak_gib for cost in costs]
    assert infer[0] > infer[1] > infer[2]


def test_attention_counts_its_two_products_forward_and_five_backward() -> None:
    q, k, v = (torch.randn(2, 4, 16, 8, requires_grad=True) for _ in range(3))
    with FlopCounter() as forward:
        out = nn.functional.scaled_dot_product_attention(q, k, v)
    assert forward.total == 2 * (2 * 2 * 4 * 16 * 16 * 8)
    with FlopCounter() as backward:
        out.sum().backward()
    assert backward.total == 5 * (2 * 2 * 4 * 16 * 16 * 8)


@pytest.mark.parametrize("kernel", ATTENTIONS)
def test_grouped_queries_count_like_as_many_keys(kernel: str) -> None:
    forward, backward = (getattr(torch.ops.aten, f"_scaled_dot_product_{kernel}{way}") for way in ("", "_backward"))
    q, few, many = (1, 12, 30, 16), (1, 2, 40, 16), (1, 12, 40, 16)
    assert formulas()[forward](q, few, few) == sdpa_flop_count(q, many, many)
    assert formulas()[backward](q, q, few, few) == sdpa_backward_flop_count(q, q, many, many)


def test_counting_does_not_change_the_gradients() -> None:
    def gradient(counted: bool) -> torch.Tensor:
        x = torch.randn(8, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
        y = nn.functional.silu(x) * torch.nn.functional.gelu(x)
        if not counted:
            y.sum().backward()
        else:
            with FlopCounter():
                y.sum().backward()
        assert x.grad is not None
        return x.grad

    assert torch.equal(gradient(True), gradient(False))


def test_saved_activations_count_each_storage_once_and_no_weight() -> None:
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    x = torch.randn(5, 8)
    with saved_activations(model) as saved:
        model(x).sum()
    assert saved.bytes == 4 * (5 * 8 + 5 * 16)  # the input, and tanh's output, which the next layer saves as well


@pytest.mark.parametrize("bits", [4, 8])
def test_saved_activations_of_a_quantised_layer_are_those_bitsandbytes_keeps(bits: int) -> None:
    model = nn.Sequential(nn.Tanh(), quantised_layer(nn.Linear(64, 32, bias=False), bits, Bits(plan={}), CPU))
    with saved_activations(model) as saved:
        model(torch.randn(5, 64, requires_grad=True)).sum()
    assert saved.bytes == 4 * 5 * 64  # tanh's output: once, though in 8 bit the layer keeps it as its input too


def test_a_frozen_vision_tower_keeps_no_activations() -> None:
    loaded = load(BASES[0], Bits.preset("all16"), "cpu")
    adapted = attach(loaded, Lora(rank={"text": 4}), seed=0)
    pixels = torch.randn(16, 3 * 14 * 14)
    grid, merge = torch.tensor([[1, 4, 4]]), torch.tensor([4])
    with saved_activations(loaded.model) as saved:
        out = loaded.model.model.vision_model(pixel_values=pixels, grid_thw=grid, merge_sizes=merge).last_hidden_state
    assert saved.bytes == 0 and not out.requires_grad
    adapted.remove()
    attach(loaded, Lora(rank={"vision": 4}), seed=0)
    with saved_activations(loaded.model) as saved:
        loaded.model.model.vision_model(pixel_values=pixels, grid_thw=grid, merge_sizes=merge)
    assert saved.bytes > 0


def test_live_peak_is_the_most_that_was_alive_at_once() -> None:
    with LivePeak() as live:
        a = torch.zeros(1000)
        for _ in range(5):
            b = torch.zeros(2000)
            del b
        c = a.view(10, 100) + 1
        del a, c
    assert live.peak == 4 * 3000


def test_more_clips_in_a_batch_cost_more_memory_and_flops() -> None:
    costs = [
        finetune(recipe(schedule=Schedule(steps=1, batch_size=size)), device="cpu", warm=WARM).cost for size in (2, 8)
    ]
    assert (costs[1].train_peak_gib or 0) > (costs[0].train_peak_gib or 0)
    assert (costs[1].train_flops or 0) > 3 * (costs[0].train_flops or 0)
    assert costs[0].infer_flops == costs[1].infer_flops
    assert costs[0].step_seconds is None  # the only step was counted, not timed


def test_warm_vision_states_do_not_flatter_a_number() -> None:
    wanted = replace(recipe(), data="shapes:tiny", schedule=Schedule(steps=4, batch_size=2))
    finetune(wanted, device="cpu", warm=WARM)
    cold, warm = finetune(wanted, device="cpu").cost, finetune(wanted, device="cpu", warm=WARM).cost
    assert (cold.train_flops, cold.infer_flops) == (warm.train_flops, warm.infer_flops)
    assert (cold.train_peak_gib, cold.infer_peak_gib) == (warm.train_peak_gib, warm.infer_peak_gib)


def test_the_peak_of_a_step_holds_weights_optimizer_gradients_and_activations() -> None:
    model = nn.Linear(100, 50, bias=False)
    optimizer = torch.optim.AdamW(model.parameters())
    probe = StepProbe(model, CPU, optimizer=optimizer)
    x = torch.randn(7, 100)
    with probe.step():
        model(x).sum().backward()
        optimizer.step()
    assert probe.costs(10)["train_peak_gib"] == 4 * (4 * 5000 + 7 * 100) / GIB
    assert probe.costs(10)["train_flops"] == 10 * 2 * (2 * 7 * 100 * 50)


def test_percentiles_are_interpolated() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([1.0, 2.0], 0.9) == pytest.approx(1.9)
    assert percentile([5.0], 0.9) == 5.0
