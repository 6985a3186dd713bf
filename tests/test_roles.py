"""The role map: complete, disjoint, and blind to leaf names."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from torch import nn
from trials import three_towers

from vqlora.models.roles import check_roles, linear_layers, parameters_by_role, role_of, roles_of_base
from vqlora.models.skeletons import RANDOM_BASES, skeleton


@cache
def model_of(name: str) -> Any:
    return three_towers("meta") if name == "three towers" else skeleton(name)[0]


@pytest.mark.parametrize("name", [*RANDOM_BASES, "three towers"])
def test_every_parameter_belongs_to_exactly_one_role(name: str) -> None:
    model = model_of(name)
    roles = parameters_by_role(model, model.config.model_type)
    names = [parameter for members in roles.values() for parameter in members]
    assert sorted(names) == sorted(parameter for parameter, _ in model.named_parameters())
    assert all(roles.values()), f"an empty role in {name}"


@pytest.mark.parametrize("name", [*RANDOM_BASES, "three towers"])
def test_linear_layers_are_full_names_of_their_role_without_heads_and_embeddings(name: str) -> None:
    model = model_of(name)
    layers = linear_layers(model, model.config.model_type)
    for role, names in layers.items():
        assert names or (role == "cross_modal" and model.config.model_type == "siglip")  # a scale and a bias
        for layer in names:
            assert isinstance(model.get_submodule(layer), nn.Linear)
            assert role_of(model.config.model_type, layer) == role
    assert "lm_head" not in {layer for names in layers.values() for layer in names}


def test_nested_towers_are_split_by_the_longest_prefix() -> None:
    assert role_of("qwen2_5_omni_thinker", "model.visual.merger.mlp.0.weight") == "cross_modal"
    assert role_of("qwen2_5_omni_thinker", "model.visual.blocks.0.attn.q.weight") == "vision"
    assert role_of("qwen2_5_omni_thinker", "model.audio_tower.layers.0.fc1.weight") == "audio"
    assert role_of("idefics", "model.gated_cross_attn_layers.0.alpha_dense") == "cross_modal"
    assert role_of("idefics", "model.layers.0.mlp.up_proj.weight") == "text"


def test_a_prefix_ends_at_a_dot() -> None:
    with pytest.raises(ValueError, match="belongs to no role"):
        role_of("idefics", "model.layers_of_another_kind.0.weight")


def test_a_role_the_base_lacks_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'audio', which a video_llama_3 base does not have"):
        check_roles("video_llama_3", ["text", "audio"], "Lora.rank")
    assert roles_of_base("qwen2_5_omni_thinker") == ("vision", "cross_modal", "text", "audio")


def test_an_unknown_model_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no family known here; known: .*video_llama_3"):
        roles_of_base("gpt2")
