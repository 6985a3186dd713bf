"""Bit plans: what is quantised, what that weighs, and that it trains."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from functools import cache

import pytest
import torch
from torch import nn

from vqlora.models.bits import (
    bits_by_role,
    dense_bytes,
    dense_copies,
    linear_bytes,
    model_bytes,
    quantised_layer,
    settle,
    storage_bytes,
)
from vqlora.models.load import Loaded, load
from vqlora.models.roles import linear_layers
from vqlora.recipe import PRESETS, Bits

CPU = torch.device("cpu")
BASES = ("random:videollama3-tiny", "random:idefics-tiny")


@cache
def loaded(base: str, preset: str) -> Loaded:
    return load(base, Bits.preset(preset), "cpu")


def layer(bits: int, **plan: object) -> tuple[nn.Linear, nn.Module]:
    torch.manual_seed(0)
    dense = nn.Linear(128, 256)
    return dense, quantised_layer(dense, bits, Bits(plan={"text": bits}, **plan), CPU)  # type: ignore[arg-type]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("base", BASES)
def test_exactly_the_planned_roles_are_quantised(base: str, preset: str) -> None:
    found = loaded(base, preset).found
    plan = bits_by_role(Bits.preset(preset), loaded(base, preset).model_type)
    for role, row in found.items():
        scheme = {16: {}, 8: {"int8": row["linear_layers"]}, 4: {"nf4": row["linear_layers"]}}[plan[role]]
        assert row["quantised"] == scheme
        assert row["linear_layers"] > 0


def test_cross_modal_follows_text_where_it_is_attention_and_stays_wide_where_it_is_a_projector() -> None:
    assert bits_by_role(Bits.preset("v16t4"), "idefics")["cross_modal"] == 4
    assert bits_by_role(Bits.preset("v16t4"), "video_llama_3")["cross_modal"] == 16
    assert bits_by_role(Bits(plan={"text": 4, "cross_modal": 16}), "idefics")["cross_modal"] == 16


def test_a_plan_for_a_role_the_base_lacks_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(ValueError, match="'audio', which a idefics base does not have"):
        load("random:idefics-9b", Bits(plan={"audio": 4}), "cpu")


@pytest.mark.parametrize("bits", [Bits(plan={}), Bits(plan={}, double_quant=False), Bits(plan={}, scheme4="fp4")])
@pytest.mark.parametrize("layer_bits", [4, 8])
def test_a_layer_weighs_what_the_formula_with_constants_says_within_two_percent(layer_bits: int, bits: Bits) -> None:
    dense = nn.Linear(512, 1024, bias=False)
    built = quantised_layer(dense, layer_bits, bits, CPU)
    assert model_bytes(built) == pytest.approx(linear_bytes(1024, 512, layer_bits, bits, wide=4), rel=0.02)


@pytest.mark.parametrize("preset", ["all4", "all8", "v8t4", "all16"])
@pytest.mark.parametrize("base", BASES)
def test_base_bytes_are_those_of_the_formula(base: str, preset: str) -> None:
    bits, wide = Bits.preset(preset), 4
    reference = loaded(base, "all16").model
    kind = loaded(base, preset).model_type
    plan = bits_by_role(bits, kind)
    layers = {name: plan[role] for role, names in linear_layers(reference, kind).items() for name in names}
    linear = sum(
        linear_bytes(*reference.get_submodule(name).weight.shape, layer_bits, bits, wide=wide)
        for name, layer_bits in layers.items()
    )
    weights = {f"{name}.weight" for name in layers}
    rest = storage_bytes(p for name, p in reference.named_parameters() if name not in weights)
    buffers = storage_bytes(reference.buffers())
    # Layers of a few thousand weights: the code tables that they share count once, in the formula once per layer.
    tables = 2048 * sum(layer_bits == 4 for layer_bits in layers.values())
    assert model_bytes(loaded(base, preset).model) == pytest.approx(linear + rest + buffers, rel=0.02, abs=tables)


def test_roles_sum_to_the_whole_model() -> None:
    base = loaded("random:idefics-tiny", "v8t4")
    assert sum(row["parameters"] for row in base.found.values()) == sum(
        p.numel() for p in loaded("random:idefics-tiny", "all16").model.parameters()
    )
    assert base.found["text"]["parameters"] == loaded("random:idefics-tiny", "all16").found["text"]["parameters"]


@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantised_layer_is_its_dense_one_up_to_rounding_and_passes_gradients(bits: int) -> None:
    dense, built = layer(bits)
    x = torch.randn(3, 5, 128, requires_grad=True)
    out = built(x)
    assert (out - dense(x)).norm() / dense(x).norm() < {4: 0.12, 8: 0.01}[bits]
    out.sum().backward()
    assert x.grad is not None and x.grad.norm() > 0


@pytest.mark.parametrize("bits", [4, 8])
def test_evaluation_changes_neither_the_function_nor_the_stored_weight(bits: int) -> None:
    """bitsandbytes repacks 4-bit weights in place in evaluation on AVX512 and rounds activations in 8 bit."""
    _, built = layer(bits)
    x = torch.randn(7, 128)
    trained = built(x.requires_grad_()).detach()
    before = [t.clone() for t in built.state_dict().values() if isinstance(t, torch.Tensor)]
    settle(built)
    with torch.no_grad():
        assert torch.equal(built(x), trained)
    after = [t for t in built.state_dict().values() if isinstance(t, torch.Tensor)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    built(x).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("preset", PRESETS)
def test_the_bytes_of_dequantised_copies_are_known_before_they_are_made(preset: str) -> None:
    model = loaded(BASES[0], preset).model
    assert dense_bytes(model) == sum(weight.nbytes for weight in dense_copies(model).values())
    assert bool(dense_bytes(model)) == (preset != "all16")


@pytest.mark.parametrize("preset", ["all4", "all8"])
@pytest.mark.parametrize("base", BASES)
def test_multiplying_with_weights_dequantised_once_gives_the_same_bits_forward_and_backward(
    base: str, preset: str
) -> None:
    built = loaded(base, preset)
    for name in linear_layers(built.model, built.model_type)["text"]:
        module, results = built.model.get_submodule(name), []
        for context in (nullcontext(), built.fast()):
            x = torch.randn(3, 7, module.in_features, generator=torch.Generator().manual_seed(0)).requires_grad_()
            with context:
                out = module(x)
                out.square().sum().backward()
            results.append((out.detach(), x.grad))
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True)), name
    assert "forward" not in module.__dict__


def test_without_double_quantisation_the_constants_weigh_more_and_the_function_is_closer() -> None:
    dense, twice = layer(4)
    _, once = layer(4, double_quant=False)
    x = torch.randn(64, 128)
    assert model_bytes(once) > model_bytes(twice)
    assert (once(x) - dense(x)).norm() <= (twice(x) - dense(x)).norm() * 1.01


def test_the_same_random_base_has_the_same_weights_and_digest() -> None:
    first, second = (load("random:videollama3-tiny", Bits.preset("v8t4"), "cpu") for _ in range(2))
    assert first.digest == second.digest
    states = [copy.deepcopy(base.model.state_dict()) for base in (first, second)]
    assert states[0].keys() == states[1].keys()
    assert all(
        torch.equal(a, b) for a, b in zip(states[0].values(), states[1].values(), strict=True) if torch.is_tensor(a)
    )
