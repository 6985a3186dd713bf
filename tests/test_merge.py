"""Adapters that were kept: scored again, merged into a base that gives the same, and loaded by plain PEFT."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from kept import keep_trial
from test_methods import METHODS
from trials import BASES, WARM, recipe

from vqlora.adapters import attach
from vqlora.adapters.export import FULL_WEIGHTS, WEIGHTS
from vqlora.cli import main
from vqlora.evaluate import evaluate_adapter
from vqlora.finetune import finetune
from vqlora.merge import MERGED
from vqlora.models.load import load
from vqlora.recall import find_record
from vqlora.recipe import Bits, FullFineTune, Lora, Prefix, Schedule, ZeroShot

MERGEABLE = {
    "lora at 4 bits": (Lora(rank={"text": 4}), "all4"),
    "dora": (METHODS["dora"], "all16"),
    "ia3": (METHODS["ia3"], "all16"),
    "pissa": (METHODS["pissa"], "all16"),
    "full": (FullFineTune(), "all16"),
}


@cache
def zero_shot_loss(base: str) -> float:
    """On validation, without any adapter."""
    wanted = recipe(base, method=ZeroShot(), schedule=Schedule(steps=0))
    return finetune(wanted, device="cpu", warm=WARM).metrics["val"]["loss"]


@pytest.mark.parametrize("case", MERGEABLE)
@pytest.mark.parametrize("base", BASES)
def test_a_merged_base_scores_as_the_adapter_on_16_bits(
    base: str, case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method, bits = MERGEABLE[case]
    folder, _ = keep_trial(tmp_path, recipe(base, method=method, bits=Bits.preset(bits)))
    out = tmp_path / "merged"
    assert main(["merge", str(folder), str(out), "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "merging changes CIDEr-D by" in shown
    scores = json.loads((out / MERGED).read_text())["scores"]
    wanted = recipe(str(out), method=ZeroShot(), schedule=Schedule(steps=0), frames=recipe(base).frames)
    alone = finetune(wanted, device="cpu")
    assert alone.metrics["val"]["loss"] == pytest.approx(scores["merged"]["loss"], rel=1e-5)
    exact = scores["adapter"]["loss"]
    assert scores["merged"]["loss"] == pytest.approx(exact, rel=0.03 if bits == "all4" else 2e-3)
    assert scores["merged"]["loss"] != zero_shot_loss(base)


def test_what_cannot_be_merged_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, method, more, reason in (
        ("prefix", Prefix(tokens=2), [], "adds keys and values"),
        ("lora", Lora(rank={"text": 2}), ["--bits", "all4"], "few values"),
        ("again", Lora(rank={"text": 2}), [], "is not empty"),
    ):
        folder, _ = keep_trial(tmp_path / name, recipe(method=method, schedule=Schedule(steps=1)))
        assert main(["merge", str(folder), str(tmp_path), "--device", "cpu", *more]) == 2
        assert reason in capsys.readouterr().err


@pytest.mark.parametrize("method", ["lora", "prefix", "bottleneck", "bf16 stochastic"])
def test_an_evaluation_gives_the_records_own_scores(
    method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, record = keep_trial(tmp_path, recipe(method=METHODS[method]))
    assert main(["evaluate", str(folder), "--device", "cpu"]) == 0
    assert "recorded" in capsys.readouterr().out
    assert evaluate_adapter(find_record(str(folder)), device="cpu") == record.metrics["test"]
    name = WEIGHTS if method == "lora" else FULL_WEIGHTS
    assert (folder / str(record.adapter) / name).is_file()


@pytest.mark.parametrize("method", ["prefix", "eva", "pissa", "bottleneck", "ia3", "bf16 stochastic"])
def test_a_method_comes_out_again_to_the_bit(method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schedule = Schedule(steps=3, batch_size=2, learning_rate=3e-3, optimizer="paged_adamw8bit", checkpointing=True)
    folder, _ = keep_trial(tmp_path, recipe(method=METHODS[method], schedule=schedule))
    assert main(["rerun", str(folder), "--device", "cpu"]) == 0
    assert "equal to the bit" in capsys.readouterr().out


# PEFT 0.21 asks transformers 5.23 for a name that it calls deprecated
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.filterwarnings("ignore:Using Rank-Stabilized LoRA:UserWarning")  # PiSSA with a rank per layer
@pytest.mark.parametrize("method", ["dora", "ia3", "pissa"])
def test_plain_peft_loads_these_adapters_and_computes_the_same(method: str, tmp_path: Path) -> None:
    from peft import PeftModel

    wanted = replace(recipe(), method=METHODS[method])
    folder, record = keep_trial(tmp_path, wanted)
    home = folder / str(record.adapter)
    ours = attach(load(BASES[0], wanted.bits, "cpu"), wanted.method, seed=0)
    ours.load_bytes((home / WEIGHTS).read_bytes())
    torch.manual_seed(0)  # PiSSA's fast SVD draws
    plain = PeftModel.from_pretrained(load(BASES[0], wanted.bits, "cpu").model, str(home))
    for name, module in ours.model.named_modules():
        if hasattr(module, "base_layer"):
            x = torch.randn(3, module.in_features)
            theirs = plain.get_submodule(f"base_model.model.{name}")
            torch.testing.assert_close(module(x), theirs(x), rtol=1e-4, atol=1e-5)
            assert not torch.allclose(theirs(x), theirs.base_layer(x), atol=1e-5)
