"""Adapters: where they sit, that they matter, and that they come off and go to disk without a trace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from trials import three_towers

from vqlora.adapters import attach
from vqlora.models.bits import check_built, layer_bits, quantised_layer, report, tensors_of
from vqlora.models.families import family_of
from vqlora.models.load import Loaded, load
from vqlora.models.roles import linear_layers
from vqlora.recipe import Bits, FullFineTune, Lora, Method, ZeroShot

BASES = ("random:videollama3-tiny", "random:idefics-tiny")
PLANS = ("all16", "all8", "all4", "v8t4")


def base(name: str, plan: str = "all16") -> Loaded:
    return load(name, Bits.preset(plan), "cpu")


def hidden(loaded: Loaded) -> torch.Tensor:
    """Hidden states of a fixed text and fixed frames."""
    model, generator = loaded.model, torch.Generator().manual_seed(1)
    ids = torch.arange(10, 22).view(1, -1)
    with torch.no_grad():
        if loaded.model_type == "idefics":
            frames = torch.randn(1, 2, 64, 32, generator=generator)
            latents = model.model.perceiver_resampler(frames.flatten(0, 1)).unsqueeze(0)
            seen = torch.ones(1, 12, 2, dtype=torch.long)
            return model.model(input_ids=ids, perceiver_embeddings=latents, image_attention_mask=seen)[0]
        video = model.model.projector(torch.randn(1, 4, 32, generator=generator))
        return model.model.language_model(inputs_embeds=torch.cat([video, model.get_input_embeddings()(ids)], 1))[0]


def shake(parameters: Any) -> None:
    torch.manual_seed(2)
    for parameter in parameters.values():
        parameter.data = torch.randn_like(parameter) * 0.1


def everything(loaded: Loaded) -> dict[str, list[torch.Tensor]]:
    return {name: [t.clone() for t in tensors_of(module)] for name, module in loaded.model.named_modules()}


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("rank", [{"text": 2}, {"text": 4, "vision": 2, "cross_modal": 8}, {"vision": 3, "text": 0}])
def test_each_role_gets_adapters_of_its_own_rank_and_no_other_layer_does(name: str, rank: dict[str, int]) -> None:
    loaded = base(name, "v8t4")
    layers = linear_layers(loaded.model, loaded.model_type)
    adapted = attach(loaded, Lora(rank=rank), seed=0)
    for role, names in layers.items():
        for layer in names:
            module = loaded.model.get_submodule(layer)
            assert hasattr(module, "lora_A") == (rank.get(role, 0) > 0), layer
            if rank.get(role, 0):
                assert module.r["default"] == rank[role]
                assert module.scaling["default"] == 16 / rank[role] ** 0.5
    assert adapted.found()["text"]["adapted_layers"] == (len(layers["text"]) if rank.get("text") else 0)
    assert {p for p in loaded.model.parameters() if p.requires_grad} == set(adapted.parameters.values())


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", BASES)
def test_adapters_change_nothing_at_first_and_the_output_once_trained(name: str, plan: str) -> None:
    loaded = base(name, plan)
    before = hidden(loaded)
    adapted = attach(loaded, Lora(rank={"text": 4}), seed=0)
    assert torch.equal(hidden(loaded), before)
    shake(adapted.parameters)
    assert not torch.allclose(hidden(loaded), before)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", BASES)
def test_a_removed_adapter_leaves_the_base_as_it_was_to_the_bit(name: str, plan: str) -> None:
    loaded = base(name, plan)
    before, output, modules = everything(loaded), hidden(loaded), [*map(id, loaded.model.modules())]
    adapted = attach(loaded, Lora(rank={"text": 4, "vision": 4, "cross_modal": 4}, dropout=0.1), seed=0)
    shake(adapted.parameters)
    hidden(loaded)
    adapted.remove()
    after = everything(loaded)
    assert [*map(id, loaded.model.modules())] == modules
    assert before.keys() == after.keys()
    assert all(torch.equal(a, b) for key in before for a, b in zip(before[key], after[key], strict=True))
    assert torch.equal(hidden(loaded), output)
    assert not any(p.requires_grad for p in loaded.model.parameters())


@pytest.mark.parametrize("method", [Lora(rank={"text": 4, "cross_modal": 2}), FullFineTune()])
@pytest.mark.parametrize("name", BASES)
def test_an_adapter_goes_to_disk_and_back_to_the_bit(name: str, method: Method, tmp_path: Path) -> None:
    trained = attach(base(name), method, seed=0)
    shake(trained.parameters)
    again = attach(base(name), method, seed=5)
    again.load_bytes(trained.to_bytes())
    assert all(torch.equal(value, again.parameters[key]) for key, value in trained.parameters.items())
    assert torch.equal(hidden(trained.loaded), hidden(again.loaded))


def test_an_adapter_that_does_not_fit_is_refused() -> None:
    small = attach(base(BASES[0]), Lora(rank={"text": 4}), seed=0)
    wide = attach(base(BASES[0]), Lora(rank={"text": 4, "cross_modal": 4}), seed=0)
    with pytest.raises(ValueError, match="4 missing"):
        wide.load_state(small.state())
    with pytest.raises(ValueError, match="4 unknown"):
        small.load_state(wide.state())
    other = attach(base(BASES[0]), Lora(rank={"text": 2}), seed=0)
    with pytest.raises(ValueError, match=r"is \(4, 64\) in the adapter, \(2, 64\) here"):
        other.load_state(small.state())


def test_an_audio_tower_has_bits_and_ranks_of_its_own() -> None:
    model, bits, cpu = three_towers("cpu"), Bits(plan={"audio": 4, "vision": 8}), torch.device("cpu")
    family = family_of(model.config.model_type)
    plan = layer_bits(model, family.model_type, bits)
    for name, own in plan.items():
        if own < 16:
            model.set_submodule(name, quantised_layer(model.get_submodule(name), own, bits, cpu))
    model.requires_grad_(False)
    found = report(model, family.model_type)
    check_built(found, plan, bits, family.model_type)
    loaded = Loaded(
        base="three towers", model=model, processor=None, family=family, bits=bits, digest="", device=cpu,
        dtype=torch.float32, found=found,
    )  # fmt: skip
    adapted = attach(loaded, Lora(rank={"audio": 2, "cross_modal": 3}), seed=0)
    assert adapted.trained_roles == {"audio", "cross_modal"}
    rows = adapted.found()
    assert rows["audio"]["adapted_layers"] == rows["audio"]["linear_layers"] == rows["audio"]["quantised"]["nf4"]
    assert rows["vision"]["adapted_layers"] == rows["text"]["trainable"] == 0
    tower = model.model.audio_tower.layers[0]
    x = torch.randn(1, 5, 64)
    before = tower.fc1(x)
    shake(adapted.parameters)
    assert not torch.equal(tower.fc1(x), before)


def test_the_seed_decides_the_initial_weights() -> None:
    one, two, three = (attach(base(BASES[0]), Lora(rank={"text": 4}), seed=seed).state() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not all(torch.equal(one[key], three[key]) for key in one)


def test_full_fine_tuning_trains_all_of_its_roles_and_nothing_else() -> None:
    loaded = base(BASES[1])
    adapted = attach(loaded, FullFineTune(), seed=0)
    assert adapted.trained_roles == {"text", "cross_modal"}
    assert "model.embed_tokens.weight" in adapted.parameters
    assert not any("vision" in name for name in adapted.parameters)
    assert loaded.found["vision"]["trainable"] == 0 < adapted.found()["text"]["trainable"]


def test_zero_shot_trains_nothing() -> None:
    assert attach(base(BASES[0]), ZeroShot(), seed=0).parameters == {}


def test_a_rank_for_a_role_the_base_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Lora\.rank names the role 'audio'"):
        attach(base(BASES[0]), Lora(rank={"audio": 4}), seed=0)
