"""Names of bases: every kind loads, and what is wrong is said before anything is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from vqlora.models.load import base_path, digest_of, load, meta_model, model_type_of
from vqlora.recipe import Bits

NAMES = ("random:videollama3-tiny", "random:idefics-tiny")


def saved(name: str, folder: Path) -> Any:
    base = load(name, Bits.preset("all16"), "cpu")
    base.model.save_pretrained(folder)
    base.processor.save_pretrained(folder)
    return base


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQLORA_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_base_loads_from_its_folder_with_the_same_weights(name: str, tmp_path: Path) -> None:
    first = saved(name, tmp_path / "base")
    again = load(str(tmp_path / "base"), Bits.preset("all16"), "cpu")
    assert again.family is first.family
    for key, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key]), key
    assert dict(first.model.named_buffers()).keys() == dict(again.model.named_buffers()).keys()
    for key, value in first.model.named_buffers():
        assert torch.equal(value, again.model.get_buffer(key)), key


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_base_and_its_random_original_quantise_to_the_same_bits(name: str, tmp_path: Path) -> None:
    saved(name, tmp_path / "base")
    one, two = (load(base, Bits.preset("all4"), "cpu").model for base in (name, str(tmp_path / "base")))
    for key, value in one.state_dict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, two.state_dict()[key]), key


def test_a_loaded_base_never_meets_attention_whose_gradients_may_be_nan() -> None:
    torch.backends.cuda.enable_cudnn_sdp(True)
    load(NAMES[0], Bits.preset("all16"), "cpu")
    assert not torch.backends.cuda.cudnn_sdp_enabled()


def test_the_digest_follows_the_weights(tmp_path: Path) -> None:
    base = saved(NAMES[0], tmp_path / "base")
    first = digest_of(str(tmp_path / "base"))
    assert digest_of(str(tmp_path / "base")) == first
    base.model.lm_head.weight.data[0, 0] += 1
    base.model.save_pretrained(tmp_path / "base")
    assert digest_of(str(tmp_path / "base")) != first


def test_the_meta_model_has_the_shapes_of_the_loaded_one(tmp_path: Path) -> None:
    base = saved(NAMES[1], tmp_path / "base")
    shapes = {name: p.shape for name, p in base.model.named_parameters()}
    for name in (NAMES[1], str(tmp_path / "base")):
        meta = meta_model(name)
        assert {key: p.shape for key, p in meta.named_parameters()} == shapes
        assert all(p.is_meta for p in meta.parameters())


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("embedded:gpt", r"'gpt' is unknown; use one of \('videollama', 'flamingo'\)"),
        ("random:huge", "'huge' is unknown; use one of .*videollama3-7b"),
        ("no such base", "use embedded:videollama, .*random:NAME.*hub id"),
    ],
)
def test_an_unknown_base_is_refused_with_what_exists(base: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model_type_of(base)


def test_a_hub_id_without_a_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="hf download owner/name --local-dir FOLDER"):
        model_type_of("owner/name")


def test_a_folder_that_is_no_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        base_path(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ValueError, match="'gpt2' is no family known here"):
        model_type_of(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "idefics"}')
    with pytest.raises(ValueError, match=r"no \.safetensors file"):
        load(str(tmp_path), Bits.preset("all16"), "cpu")
