"""Every family keeps its contract, and the matrix of families, methods and bit plans holds, pair by pair."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vqlora.contracts import CASES, PLANS, check_family, examine, footage, pairs, save_base
from vqlora.models.families import FAMILIES, register
from vqlora.models.load import load
from vqlora.models.sizes import TINY_OF
from vqlora.models.skeletons import skeleton

BASES = [f"random:{name}" for name in TINY_OF.values()]
PAIRS = pairs(BASES, list(CASES), list(PLANS))


@pytest.mark.parametrize("base", BASES)
def test_the_family_keeps_its_contract(base: str) -> None:
    check_family(base)


@pytest.mark.parametrize("base", BASES)
def test_a_checkpoint_under_its_family_s_stored_names_gives_the_same_base(base: str, tmp_path: Path) -> None:
    """transformers writes the names of the published checkpoints, which are not always those at run time."""
    save_base(base, str(tmp_path))
    first, again = (load(one, PLANS["all16"], "cpu") for one in (base, str(tmp_path)))
    loaded = again.model.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in first.model.state_dict().items())
    assert torch.equal(footage(first).loss(), footage(again).loss())


def test_a_family_of_one_s_own_is_a_row(tmp_path: Path) -> None:
    from transformers import AutoConfig, LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    class MyConfig(LlavaOnevisionConfig):
        model_type = "my_llava"

    class MyLlava(LlavaOnevisionForConditionalGeneration):
        config_class = MyConfig

    known = FAMILIES["llava_onevision"]
    AutoConfig.register("my_llava", MyConfig)
    register(replace(known, name="mine", model_type="my_llava", model_class=MyLlava))
    try:
        model, processor = skeleton("llava-onevision-tiny")
        fields = {key: value for key, value in model.config.to_dict().items() if key != "model_type"}
        MyLlava(MyConfig(**fields)).save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
        check_family(str(tmp_path))
        assert examine(str(tmp_path), CASES["LoRA, text"], PLANS["all4"]).refused is None
        with pytest.raises(ValueError, match="is there already"):
            register(replace(known, name="another"))
    finally:
        del FAMILIES["my_llava"]


@pytest.mark.parametrize(("base", "case", "plan"), PAIRS, ids=lambda value: str(value).removeprefix("random:"))
def test_the_combination_works_or_refuses(base: str, case: str, plan: str) -> None:
    found = examine(base, CASES[case], PLANS[plan])
    assert found.refused is None or len(found.refused) > 20, found.refused
