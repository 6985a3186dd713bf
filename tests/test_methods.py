"""Every method: nothing changes at its start, the loss falls, only what it names moves, and it goes to disk and back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_adapters import everything, hidden, shake
from trials import BASES, WARM, recipe

from vqlora.adapters import attach
from vqlora.finetune import check_recipe, finetune
from vqlora.models.load import load
from vqlora.recipe import Bits, Bottleneck, FullFineTune, Ia3, Lora, Method, Prefix, Recipe, Schedule, to_json
from vqlora.recipe import recipe_from_json as parse
from vqlora.record import Status

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


def asked(method: str, base: str = BASES[0], bits: str = "all16", **changes: object) -> Recipe:
    rate = {"prefix": 3e-2, "ia3": 3e-2}.get(method, 2e-3)
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


@pytest.mark.parametrize("base", BASES)
def test_a_prefix_starts_from_a_clip_and_a_cache_sees_what_a_whole_pass_sees(base: str) -> None:
    loaded = load(base, Bits.preset("all16"), "cpu")
    before = hidden(loaded)
    adapted = attach(loaded, Prefix(tokens=3), seed=0, run=lambda: hidden(loaded))
    assert all(value.abs().sum() > 0 for value in adapted.parameters.values())
    assert not torch.allclose(hidden(loaded), before, atol=1e-4)
    adapted.remove()
    assert torch.equal(hidden(loaded), before)


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
