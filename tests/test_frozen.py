"""A frozen tower keeps no activations: what autograd saves is counted, tensor by tensor."""

from __future__ import annotations

import pytest
import torch
from trials import BASES, WARM, recipe

from vqlora.adapters import attach
from vqlora.cost import saved_activations
from vqlora.inputs import Inputs
from vqlora.models.load import load
from vqlora.recipe import Bits, Bottleneck, FullFineTune, Ia3, Lora, Method, Prefix
from vqlora.states import StateMemory

FROZEN_VISION: dict[str, Method] = {
    "lora": Lora(rank={"text": 4}),
    "dora": Lora(rank={"text": 4}, variant="dora"),
    "prefix": Prefix(tokens=4),
    "bottleneck": Bottleneck(width={"text": 8}),
    "ia3": Ia3(),
    "projector": FullFineTune(roles=("cross_modal",)),
}


def saved(base: str, method: Method, bits: str) -> tuple[int, int, bool]:
    """(bytes saved by the tower, bytes saved by the text, whether the tower's states need a gradient)."""
    wanted = recipe(base, method=method, bits=Bits.preset(bits))
    data, loaded = WARM.data(wanted), load(base, wanted.bits, "cpu")
    adapted = attach(loaded, method, seed=0)
    inputs = Inputs(adapted=adapted, store=data.store, memory=StateMemory(), language="en")
    examples = data.splits["train"][:2]
    with saved_activations(loaded.model) as tower:
        states = inputs.states(examples, fresh=True)
    with saved_activations(loaded.model) as text:
        loaded.family.loss(loaded.model, inputs.tokens(examples, [0, 0]), states)
    return tower.bytes, text.bytes, any(state.requires_grad for state in states)


@pytest.mark.parametrize("bits", ["all16", "all4"])
@pytest.mark.parametrize("method", FROZEN_VISION)
@pytest.mark.parametrize("base", BASES)
def test_a_frozen_tower_keeps_nothing(base: str, method: str, bits: str) -> None:
    if method == "projector" and bits == "all4" and "idefics" in base:
        return  # its cross_modal is attention, quantised with the text
    tower, text, needs_gradient = saved(base, FROZEN_VISION[method], bits)
    assert tower == 0 < text
    assert not needs_gradient


@pytest.mark.parametrize("base", BASES)
def test_a_trained_tower_keeps_its_activations(base: str) -> None:
    tower, _, needs_gradient = saved(base, Lora(rank={"vision": 2}), "all16")
    assert tower > 0 and needs_gradient


def test_a_training_batch_needs_no_mask() -> None:
    """Padding is on the right: the loss is that of a masked batch."""
    wanted = recipe(method=Lora(rank={"text": 4}))
    data, loaded = WARM.data(wanted), load(BASES[0], wanted.bits, "cpu")
    adapted = attach(loaded, wanted.method, seed=0)
    inputs = Inputs(adapted=adapted, store=data.store, memory=StateMemory(), language="en")
    examples = data.splits["train"][:4]
    tokens, states = inputs.tokens(examples, [0] * 4), inputs.states(examples)
    padded = tokens["input_ids"] == loaded.processor.tokenizer.pad_token_id
    assert padded.any() and tokens["attention_mask"].all()
    with torch.no_grad():
        plain = loaded.family.loss(loaded.model, tokens, states)
        masked = loaded.family.loss(loaded.model, {**tokens, "attention_mask": (~padded).long()}, states)
    torch.testing.assert_close(plain, masked, rtol=1e-6, atol=0)


def test_a_frozen_8_bit_layer_keeps_nothing_of_its_input_and_has_bitsandbytes_gradient() -> None:
    loaded = load(BASES[0], Bits.preset("all8"), "cpu")
    layer = loaded.model.model.language_model.layers[0].mlp.down_proj
    x = torch.randn(2, 5, layer.in_features, requires_grad=True)
    ours = layer(x)
    assert "A" not in vars(ours.grad_fn) and not getattr(ours.grad_fn, "tensors", None)
    (own,) = torch.autograd.grad(ours.square().sum(), x)
    theirs = type(layer).__mro__[1].forward(layer, x)
    assert torch.equal(ours, theirs)
    assert torch.equal(own, torch.autograd.grad(theirs.square().sum(), x)[0])
