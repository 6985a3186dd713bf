"""What a probe measures: energies of a known gradient, errors that vanish with the weights, the trial's own loss."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from trials import BASES, WARM, recipe

from vqlora.adapters import attach
from vqlora.finetune import finetune
from vqlora.inputs import Inputs
from vqlora.models.bits import dequantised, quantised_layer
from vqlora.models.conversation import IGNORED
from vqlora.models.load import load
from vqlora.probe import sketch_energies
from vqlora.recipe import Bits, ZeroShot, recipe_from_json, to_json
from vqlora.record import Status
from vqlora.states import StateMemory


@pytest.fixture(scope="module", params=BASES)
def outcome(request):
    return finetune(recipe(request.param, method=ZeroShot(probe=3)), device="cpu", warm=WARM)


def test_every_linear_layer_that_a_clip_passes_is_in_the_probe(outcome):
    layers = outcome.probe["layers"]
    expected = {role: row["linear_layers"] for role, row in outcome.model.items()}
    found = {role: sum(one["role"] == role for one in layers.values()) for role in expected}
    assert outcome.status is Status.DONE and found == expected
    assert all(one["gradient_energy"] > 0 and one["tokens"] > 0 for one in layers.values())


def test_fewer_bits_leave_larger_errors_and_a_mean_square_exceeds_the_square_of_a_mean(outcome):
    for layer in outcome.probe["layers"].values():
        errors = layer["errors"]
        assert 0 < errors["int8"]["output"] < errors["nf4"]["output"] < 2 * errors["fp4"]["output"]
        assert all(one["along_squared"] >= one["along"] ** 2 * (1 - 1e-5) for one in errors.values())


def test_what_a_change_of_one_layer_does_to_the_loss_is_the_probed_product_to_first_order():
    """The sum of gradient times error over tokens is minus the loss's change, where the change is small (int8).

    In fp64: the change is no more than the last digit of a loss in fp32.
    """
    plain = recipe(method=ZeroShot(probe=24))
    base = finetune(plain, device="cpu", warm=WARM)
    assert base.probe["clips"] == 24  # all of the training split
    data, loaded = WARM.data(plain), load(plain.base, plain.bits, "cpu")
    adapted = attach(loaded, plain.method, seed=0)
    inputs = Inputs(adapted=adapted, store=data.store, memory=StateMemory(), language="en")
    clips = data.splits["train"]
    tokens, states = inputs.tokens(clips, [0] * 24), [state.double() for state in inputs.states(clips)]
    name = next(key for key, one in base.probe["layers"].items() if one["role"] == "text")
    layer = loaded.model.get_submodule(name)
    lost = layer.weight - dequantised(quantised_layer(layer, 8, Bits(plan={}), layer.weight.device))
    loaded.model.double()

    def loss() -> float:
        with torch.no_grad():
            hidden = loaded.family.hidden(loaded.model, tokens, states)[:, :-1]
            wanted = tokens["labels"][:, 1:]
            logits = loaded.model.lm_head(hidden[wanted != IGNORED])
            return float(torch.nn.functional.cross_entropy(logits, wanted[wanted != IGNORED]))

    before = loss()
    layer.weight.data -= lost.detach()
    predicted = -base.probe["layers"][name]["errors"]["int8"]["along"] / base.probe["labels"]
    assert loss() - before == pytest.approx(predicted, rel=0.05)


def test_a_sketch_that_misses_nothing_has_the_gradients_own_energies():
    draw = torch.Generator().manual_seed(0)
    gradient = torch.randn(12, 5, generator=draw, dtype=torch.float64)
    turned = [torch.linalg.qr(torch.randn(5, 5, generator=draw, dtype=torch.float64)).Q for _ in range(2)]
    own, seen, energy = sketch_energies(*(gradient @ rows for rows in turned), inputs=5)
    true = pytest.approx(torch.linalg.svdvals(gradient).square().tolist())
    assert own == true and seen == true
    assert energy == pytest.approx(float(gradient.square().sum()))


def test_a_probe_asks_for_sixteen_bits_and_leaves_other_fingerprints_alone():
    plain = recipe(method=ZeroShot())
    assert "probe" not in to_json(plain)["method"]
    asked = replace(plain, method=ZeroShot(probe=4))
    assert recipe_from_json(to_json(asked)) == asked and asked.fingerprint() != plain.fingerprint()
    with pytest.raises(ValueError, match="16 bits"):
        replace(asked, bits=Bits.preset("all4"))
    with pytest.raises(ValueError, match="at least 2"):
        ZeroShot(probe=1)
