"""Every method: nothing changes at its start, the loss falls, only what it names moves, it goes to disk and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_adapters import everything, hidden, shake
from trials import BASES, WARM, Kept, recipe

from vqlora.adapters import attach
from vqlora.finetune import check_recipe, finetune
from vqlora.models.bits import dequantised
from vqlora.models.load import load
from vqlora.optimizers import RoundedAdamW, stochastically_rounded
from vqlora.recipe import Bits, Bottleneck, FullFineTune, Ia3, Lora, Method, Prefix, Recipe, Schedule, to_json
from vqlora.recipe import recipe_from_json as parse
from vqlora.record import Status
from vqlora.trial import state_from_bytes, state_to_bytes

METHODS: dict[str, Method] = {
    "lora": Lora(rank={"text": 4}),
    "dora": Lora(rank={"text": 4}, variant="dora"),
    "lora+": Lora(rank={"text": 4}, rate_ratio=4.0),
    "pissa": Lora(rank={"text": 4}, init="pissa"),
    "eva": Lora(rank={"text": 4}, init="eva"),
    "prefix": Prefix(tokens=4),
    "bottleneck": Bottleneck(width={"text": 8, "vision": 4}, places=("attention", "mlp")),
    "ia3": Ia3(roles=("text", "vision")),
    "projector": FullFineTune(roles=("cross_modal",)),
    "bf16 stochastic": FullFineTune(update="stochastic"),
    "bf16 kahan": FullFineTune(update="kahan"),
}
QUANTISED = ("lora", "dora", "lora+", "eva", "prefix", "bottleneck", "ia3")


def void(_: object) -> None:
    """For what is run for its effect."""


def asked(method: str, base: str = BASES[0], bits: str = "all16", **changes: object) -> Recipe:
    rate = {"prefix": 3e-2, "ia3": 3e-2, "lora+": 5e-4}.get(method, 2e-3)  # B of LoRA+ learns at four times its rate
    schedule = Schedule(steps=9, batch_size=8, learning_rate=rate)  # three times over the 24 clips
    return recipe(base, method=METHODS[method], bits=Bits.preset(bits), schedule=schedule, **changes)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(
    ("method", "bits"),
    [(one, "all16") for one in METHODS]
    + [(one, bits) for one in QUANTISED for bits in ("all4", "all8") if (one, bits) != ("dora", "all8")],
)
def test_a_method_learns_on_these_bits(method: str, bits: str, base: str) -> None:
    wanted = asked(method, base, bits)
    outcome = finetune(wanted, device="cpu", warm=WARM)
    assert outcome.status is Status.DONE, outcome.error
    losses = [row["loss"] for row in outcome.curve if "loss" in row]
    assert sum(losses[-3:]) < sum(losses[:3])
    assert outcome.cost.trainable_params == sum(row["trainable"] for row in outcome.model.values())
    moved = {role for role, row in outcome.model.items() if row["trainable"]}
    assert moved == set(wanted.method.adapted_roles)
    assert parse(to_json(wanted)) == wanted


@pytest.mark.parametrize("bits", ["all16", "all4"])
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("method", ["dora", "pissa", "eva", "bottleneck", "ia3"])
def test_a_method_changes_nothing_at_first(method: str, base: str, bits: str) -> None:
    if method == "pissa" and bits != "all16":
        return
    loaded = load(base, Bits.preset(bits), "cpu")
    before, weights, modules = hidden(loaded), everything(loaded), [*map(id, loaded.model.modules())]
    adapted = attach(loaded, METHODS[method], seed=0)
    torch.testing.assert_close(hidden(loaded), before, rtol=1e-5, atol=1e-5)
    shake(adapted.parameters)
    assert not torch.allclose(hidden(loaded), before, atol=1e-3)
    if not adapted.is_removable:
        return
    adapted.remove()
    after = everything(loaded)
    assert [*map(id, loaded.model.modules())] == modules
    assert all(torch.equal(a, b) for key in weights for a, b in zip(weights[key], after[key], strict=True))
    assert torch.equal(hidden(loaded), before)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("method", [one for one in METHODS if one != "lora"])
def test_what_is_saved_is_what_was_trained(method: str, base: str) -> None:
    trained = attach(load(base, Bits.preset("all16"), "cpu"), METHODS[method], seed=3)
    for parameter in trained.parameters.values():
        parameter.data += torch.randn_like(parameter) * 0.05
    again = attach(load(base, Bits.preset("all16"), "cpu"), METHODS[method], seed=3)
    again.load_bytes(trained.to_bytes())
    assert torch.equal(hidden(trained.loaded), hidden(again.loaded))
    names = dict(list(trained.state().items())[1:])
    with pytest.raises(ValueError, match="1 missing"):
        again.load_state(names)


@pytest.mark.parametrize("padding", [0, 2])
def test_a_prefix_of_a_texts_own_keys_and_values_is_that_text(padding: int) -> None:
    loaded = load(BASES[0], Bits.preset("all16"), "cpu")
    text, ids = loaded.model.model.language_model, torch.arange(10, 22).view(1, -1)
    seen = torch.ones(1, 12 + padding, dtype=torch.long)
    seen[0, 12:] = 0
    ids = torch.cat([ids, torch.zeros(1, padding, dtype=torch.long)], dim=1)
    with torch.no_grad():
        whole = text(input_ids=ids, attention_mask=seen).last_hidden_state[:, 4:12]
        adapted = attach(loaded, Prefix(tokens=4), seed=0)
        for name, module in loaded.model.named_modules():
            if name.endswith(".prefix"):
                module.take = lambda key, value, own=module: _first(own, key, value)
                module.wanted = True
        text(input_ids=ids, attention_mask=seen)
        places = torch.arange(4, 12 + padding).view(1, -1)
        rest = text(input_ids=ids[:, 4:], attention_mask=seen[:, 4:], position_ids=places).last_hidden_state[:, :8]
        torch.testing.assert_close(rest, whole, rtol=1e-4, atol=1e-5)
        first = text(input_ids=ids[:, 4:9], position_ids=places[:, :5], use_cache=True)
        last = text(input_ids=ids[:, 9:12], position_ids=places[:, 5:8], past_key_values=first.past_key_values)
        torch.testing.assert_close(last.last_hidden_state, whole[:, 5:8], rtol=1e-4, atol=1e-5)
    adapted.remove()


def _first(prefix: Any, key: torch.Tensor, value: torch.Tensor) -> None:
    """The keys and values of the text before; zero ones take no part while they are made."""
    tokens = prefix.key.shape[1]
    prefix.key.copy_(key[0, :, :tokens])
    prefix.value.copy_(value[0, :, :tokens])
    prefix.wanted = False


@pytest.mark.parametrize("base", BASES)
def test_a_prefix_starts_as_keys_and_values_of_a_clip_and_comes_off(base: str) -> None:
    loaded = load(base, Bits.preset("all16"), "cpu")
    before = hidden(loaded)
    adapted = attach(loaded, Prefix(tokens=3), seed=0, run=lambda: void(hidden(loaded)))
    assert all(value.abs().sum() > 0 for value in adapted.parameters.values())
    assert not torch.allclose(hidden(loaded), before, atol=1e-4)
    adapted.remove()
    assert torch.equal(hidden(loaded), before)


@pytest.mark.parametrize("bits", ["all4", "all8"])
def test_loftq_starts_as_the_best_approximation_of_what_quantisation_lost(bits: str) -> None:
    base, rank = "embedded:videollama", 8
    dense = load(base, Bits.preset("all16"), "cpu").model
    adapted = attach(load(base, Bits.preset(bits), "cpu"), Lora(rank={"text": rank}, init="loftq"), seed=0)
    for name, layer in adapted.model.named_modules():
        if not hasattr(layer, "lora_A"):
            continue
        lost = dense.get_submodule(name).weight - dequantised(layer.base_layer)
        left = lost - layer.get_delta_weight("default")
        singular = torch.linalg.svdvals(lost)
        torch.testing.assert_close(left.norm() ** 2, (singular[rank:] ** 2).sum(), rtol=0.02, atol=0)


def test_eva_starts_along_the_inputs_largest_directions() -> None:
    loaded = load(BASES[0], Bits.preset("all16"), "cpu")
    adapted = attach(loaded, METHODS["eva"], seed=0, run=lambda: void(hidden(loaded)))
    name = next(name for name in adapted.parameters if name.endswith("lora_A.weight"))
    rows = adapted.parameters[name].detach()
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), rtol=0, atol=1e-4)
    layer, seen = loaded.model.get_submodule(name.removesuffix(".lora_A.weight")), []
    handle = layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].flatten(0, -2)))
    hidden(loaded)
    handle.remove()
    singular = torch.linalg.svdvals(seen[0])
    torch.testing.assert_close((seen[0] @ rows.T).norm() ** 2, (singular[:4] ** 2).sum(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("base", BASES)
def test_checkpointing_changes_neither_loss_nor_gradient_and_keeps_less(base: str) -> None:
    found = {}
    for checkpointing in (None, True):
        schedule = Schedule(steps=3, batch_size=4, learning_rate=3e-3, checkpointing=checkpointing)
        method = Lora(rank={"text": 4, "vision": 2}, dropout=0.1)
        outcome = finetune(recipe(base, method=method, schedule=schedule), device="cpu", warm=WARM)
        found[checkpointing] = ([row["loss"] for row in outcome.curve if "loss" in row], outcome.adapter_state)
    assert found[None] == found[True]


def test_8_bit_moments_train_as_well_and_take_a_quarter() -> None:
    outcomes = {}
    for optimizer in (None, "adamw8bit", "paged_adamw8bit"):
        schedule = Schedule(steps=9, batch_size=8, learning_rate=1e-3, optimizer=optimizer)
        wanted = recipe(method=FullFineTune(), schedule=schedule)
        outcomes[optimizer] = finetune(wanted, device="cpu", warm=WARM)
    losses = {name: [row["loss"] for row in one.curve if "loss" in row][-1] for name, one in outcomes.items()}
    assert losses["adamw8bit"] == losses["paged_adamw8bit"] == pytest.approx(losses[None], rel=0.02)
    peak = {name: one.cost.train_peak_gib for name, one in outcomes.items()}
    assert peak["adamw8bit"] < peak[None]


def test_stochastic_rounding_is_right_on_average_and_keeps_what_bf16_has() -> None:
    exact = torch.tensor([1.0, 1.001, -3.0007, 1e-8, 0.0]).repeat(20_000, 1)
    draw = torch.randint(0, 1 << 16, exact.shape, dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    rounded = stochastically_rounded(exact, draw)
    assert torch.equal(rounded, rounded.bfloat16().float())
    torch.testing.assert_close(rounded.mean(0), exact[0], rtol=1e-4, atol=0)
    assert torch.equal(rounded[:, 0], exact[:, 0])


def test_a_small_update_is_lost_in_bf16_and_kept_by_either_way_of_rounding() -> None:
    """1e-4 a step on a weight of 1, where bf16's neighbours are 2^-7 above and 2^-8 below."""
    for update, expected in (("kahan", 1e-3), ("stochastic", 5e-3)):
        weight = torch.nn.Parameter(torch.ones(64, 64))
        optimizer = RoundedAdamW([weight], update=update, seed=0, lr=1e-4, weight_decay=0.0)
        for _ in range(100):
            weight.grad = torch.ones_like(weight)
            optimizer.step()
        lost = optimizer.state[weight]["lost"] if update == "kahan" else 0.0
        assert (weight + lost).mean().item() == pytest.approx(0.99, abs=expected)
        assert torch.equal(weight, weight.bfloat16().float())


def test_a_method_that_cannot_work_says_why() -> None:
    for method, bits, reason in (
        (METHODS["pissa"], "all4", "quantised as it is loaded"),
        (Lora(rank={"text": 4}, init="loftq"), "all16", "stay at 16 bits"),
        (Lora(rank={"text": 4}, init="loftq"), "all4", "random base has none"),
        (Bottleneck(width={"audio": 4}), "all16", "'audio'"),
        (FullFineTune(roles=("cross_modal",)), "all4", None),
    ):
        wanted = replace(asked("lora"), method=method, bits=Bits.preset(bits))
        if reason is None:
            check_recipe(wanted)
            continue
        with pytest.raises(ValueError, match=reason):
            check_recipe(wanted)
    with pytest.raises(ValueError, match="DoRA on 8-bit layers works on a GPU only"):
        attach(load(BASES[0], Bits.preset("all8"), "cpu"), METHODS["dora"], seed=0)
    with pytest.raises(ValueError, match="has no mlp part"):
        attach(load(BASES[0], Bits.preset("all16"), "cpu"), Bottleneck(width={"cross_modal": 4}), seed=0)


@pytest.mark.parametrize("method", ["bf16 kahan", "bf16 stochastic", "prefix", "dora", "lora+", "pissa"])
def test_a_resumed_trial_goes_on_to_the_bit(method: str) -> None:
    schedule = Schedule(steps=4, batch_size=2, learning_rate=1e-3, evaluations=2, optimizer="paged_adamw8bit")
    wanted = recipe(method=METHODS[method], schedule=schedule)
    alone = finetune(wanted, device="cpu", warm=WARM)
    broken = Kept(break_after=4)
    with pytest.raises(KeyboardInterrupt):
        finetune(wanted, device="cpu", warm=WARM, progress=broken)
    assert broken.state is not None
    kept = state_from_bytes(state_to_bytes(broken.state))
    resumed = finetune(wanted, device="cpu", warm=WARM, progress=Kept(state=kept))
    assert resumed.curve == alone.curve and resumed.adapter_state == alone.adapter_state
