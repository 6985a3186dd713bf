"""Temporal LoRA: what it is at its limits, what its gates learn from, and that nothing leaks between clips."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kept import keep_trial
from trials import BASES, WARM, recipe

from vqlora.adapters import attach
from vqlora.adapters.adapted import Shown
from vqlora.adapters.export import CONFIG
from vqlora.adapters.temporal import TemporalAdapted
from vqlora.adapters.watch import layout_of, scores_of
from vqlora.checkpointing import checkpointed
from vqlora.cli import main
from vqlora.evaluation import answer
from vqlora.finetune import finetune
from vqlora.inputs import Inputs
from vqlora.models.load import load
from vqlora.packing.keys import packs
from vqlora.planner import plan
from vqlora.recipe import Bits, Frames, Lora, Method, Recipe, Schedule, TemporalLora
from vqlora.static import check_static, to_static

RANK = {"text": 8, "cross_modal": 4}
PLAIN = TemporalLora(rank=RANK)


def asked(base: str = BASES[0], method: Method = PLAIN, plan: str = "all16", **changes: Any) -> Recipe:
    return recipe(base, method=method, bits=Bits.preset(plan), **changes)


def attached(given: Recipe, *, seed: int = 0) -> tuple[Any, Inputs]:
    """A freshly loaded base with the recipe's method shaken out of its initial zeros, and its inputs."""
    adapted = attach(load(given.base, given.bits, "cpu"), given.method, seed=seed)
    generator = torch.Generator().manual_seed(3)
    for name, parameter in adapted.parameters.items():
        if ".lora_gate." not in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    data = WARM.data(given)
    return adapted, Inputs(adapted=adapted, store=data.store, memory=WARM.states(adapted.loaded), language="en")


def loss_of(inputs: Inputs, given: Recipe, *, rows: int = 2) -> torch.Tensor:
    examples = WARM.data(given).splits["train"][:rows]
    tokens = inputs.tokens(examples, [0] * rows)
    loaded = inputs.adapted.loaded
    return loaded.family.loss(loaded.model, tokens, inputs.states(examples))


def copy_lora(source: Any, target: Any) -> None:
    with torch.no_grad():
        for name, parameter in target.parameters.items():
            parameter.copy_(source.parameters[name])


@pytest.mark.parametrize("plan", ["all16", "all8", "all4"])
@pytest.mark.parametrize("base", BASES)
def test_with_all_ranks_open_it_is_lora_and_with_none_it_is_the_base(base: str, plan: str) -> None:
    constant = TemporalLora(rank=RANK, control="constant", budget=1.0, text=1.0)
    given = asked(base, constant, plan)
    adapted, inputs = attached(given)
    plain, plain_inputs = attached(asked(base, Lora(rank=RANK), plan))
    copy_lora(adapted, plain)
    assert torch.allclose(loss_of(inputs, given), loss_of(plain_inputs, given), rtol=1e-6)
    bare = attach(load(base, given.bits, "cpu"), replace(constant, budget=1e-6, text=1e-6), seed=0)
    copy_lora(adapted, bare)
    zeros, zero_inputs = attached(asked(base, Lora(rank=RANK), plan))
    for parameter in zeros.parameters.values():
        parameter.data.zero_()
    assert torch.allclose(loss_of(replace(inputs, adapted=bare), given), loss_of(zero_inputs, given), rtol=1e-6)


def gate_of(adapted: TemporalAdapted, scores: list[float]) -> torch.Tensor:
    adapted.watch.see([torch.tensor(scores)], None, adapted.loaded.device)
    return adapted.gates["text"].table(adapted.watch).detach()


def test_a_mask_opens_the_first_ranks_and_more_of_them_as_scores_rise() -> None:
    adapted, _ = attached(asked())
    table = gate_of(adapted, [0.0, 0.3, 0.5, 0.8, 1.0])
    assert ((table - table.round()).abs() < 1e-6).all() and table.shape == (6, 8)
    counts = table.sum(1)
    assert counts[0] == 4
    assert (counts[1:].diff() >= 0).all() and counts[-1] > counts[1] >= 2
    assert all(torch.equal(row.round().sort(descending=True).values, row.round()) for row in table)


@pytest.mark.parametrize("mode", ["rank", "gate"])
@pytest.mark.parametrize("base", BASES)
def test_gates_get_gradients_through_the_loss(base: str, mode: str) -> None:
    given = asked(base, replace(PLAIN, mode=mode))
    adapted, inputs = attached(given)
    loss_of(inputs, given).backward()
    gates = [parameter for name, parameter in adapted.parameters.items() if ".lora_gate." in name]
    assert len(gates) == (4 if mode == "rank" else 2)
    assert all(gate.grad is not None and gate.grad.abs().sum() > 0 for gate in gates)
    assert all(parameter.grad is not None for parameter in adapted.parameters.values())


def test_the_budget_holds_the_mean_rank_and_smoothness_lies_within_clips() -> None:
    adapted, _ = attached(asked(method=replace(PLAIN, budget=0.45)))
    adapted.watch.see([torch.tensor([0.9, 0.9]), torch.tensor([0.1])], None, adapted.loaded.device)
    gate = adapted.gates["text"]
    gate.penalty(adapted.watch).backward()
    assert gate.threshold.grad < 0  # a higher threshold opens fewer ranks
    gate.threshold.grad = None
    adapted.watch.see([torch.tensor([0.1]), torch.tensor([0.1])], None, adapted.loaded.device)
    gate.penalty(adapted.watch).backward()
    assert gate.threshold.grad > 0  # and a lower one more
    with torch.no_grad():
        assert torch.isclose(gate.penalty(adapted.watch), (gate.shares(adapted.watch).mean() - 0.45) ** 2)


def test_in_the_tower_each_frame_has_the_mask_of_its_own_score() -> None:
    for base in BASES:
        given = asked(
            base, TemporalLora(rank={"vision": 8}), frames=Frames(budget=3, size=56 if "llama" in base else 112)
        )
        adapted, inputs = attached(given)
        pixels = [inputs.frames(example) for example in WARM.data(given).splits["train"][:1]]
        with torch.no_grad():
            adapted.watch.see([torch.tensor([0.5, 0.5, 0.5])], None, adapted.loaded.device)
            (before,) = adapted.loaded.family.vision_states(adapted.model, adapted.loaded.processor, pixels)
            adapted.watch.see([torch.tensor([0.5, 1.0, 0.5])], None, adapted.loaded.device)
            (after,) = adapted.loaded.family.vision_states(adapted.model, adapted.loaded.processor, pixels)
        assert [torch.allclose(a, b, atol=1e-6) for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_an_ordinary_lora_of_a_constant_rank_is_equal_and_of_others_is_not(tmp_path: Path) -> None:
    given = asked(method=replace(PLAIN, control="constant", budget=0.5, text=0.5))
    for method, equal in ((given.method, True), (PLAIN, False)):
        adapted, inputs = attached(replace(given, method=method))
        with torch.no_grad():
            before = loss_of(inputs, given)
            static = to_static(adapted, inputs, WARM.data(given).splits["val"], mode="mean")
            after = loss_of(replace(inputs, adapted=static), given)
        assert torch.isclose(before, after, rtol=1e-6).item() == equal and static.method.kind == "lora"


@pytest.mark.parametrize("base", BASES)
def test_the_static_folder_is_an_adapter_like_any_other(
    base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = keep_trial(tmp_path, asked(base, replace(PLAIN, score={"keyframe": 1.0})))
    out = tmp_path / "static"
    assert main(["static", str(folder), str(out), "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "an ordinary LoRA changes CIDEr-D by" in shown
    assert json.loads((out / CONFIG).read_text())["rank_pattern"]
    assert main(["evaluate", str(out), "--device", "cpu", "--split", "val"]) == 0
    assert main(["merge", str(folder), str(tmp_path / "merged"), "--device", "cpu"]) == 2
    assert "vqlora static" in capsys.readouterr().err
    with pytest.raises(ValueError, match="has a mixer"):
        check_static(replace(PLAIN, mixer="time"), "mean")


@pytest.mark.parametrize("plan", ["all16", "all8", "all4"])
@pytest.mark.parametrize("base", BASES)
def test_checkpointing_changes_no_loss_and_no_gradient(base: str, plan: str) -> None:
    given = asked(base, replace(PLAIN, mixer="time", width=16), plan)
    adapted, inputs = attached(given)
    found: list[tuple[float, dict[str, torch.Tensor]]] = []
    for again in (False, True):
        for parameter in adapted.parameters.values():
            parameter.grad = None
        if again:
            with checkpointed(adapted.model):
                loss = loss_of(inputs, given)
                loss.backward()
        else:
            loss = loss_of(inputs, given)
            loss.backward()
        found.append((loss.item(), {name: p.grad.clone() for name, p in adapted.parameters.items()}))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for name, gradient in found[0][1].items():
        assert torch.allclose(gradient, found[1][1][name], rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("mode", ["rank", "gate"])
@pytest.mark.parametrize("base", BASES)
def test_an_adapter_goes_to_disk_and_back_to_the_bit_and_comes_off(base: str, mode: str) -> None:
    given = asked(base, replace(PLAIN, mode=mode, mixer="time", width=16), "all4")
    adapted, inputs = attached(given)
    with torch.no_grad():
        before = loss_of(inputs, given)
    again = attach(load(base, given.bits, "cpu"), given.method, seed=9)
    names = [name for name, _ in again.model.named_modules()]
    again.load_bytes(adapted.to_bytes())
    with torch.no_grad():
        assert torch.equal(loss_of(replace(inputs, adapted=again), given), before)
    again.remove()
    bare = load(base, given.bits, "cpu")
    assert (
        [name for name, _ in again.model.named_modules()] == [name for name, _ in bare.model.named_modules()] != names
    )
    with torch.no_grad():
        left, right = (
            loss_of(replace(inputs, adapted=attach(one, Lora(rank={"text": 2}), seed=0)), given)
            for one in (again.loaded, bare)
        )
    assert torch.equal(left, right)


@pytest.mark.parametrize("base", BASES)
def test_what_is_generated_is_what_a_pass_over_the_whole_text_would_choose(base: str) -> None:
    """Greedy tokens from the cache are those of a pass without one: prompt and frames are seen alike in both."""
    given = asked(base)
    _, inputs = attached(given)
    examples = WARM.data(given).splits["val"][:2]
    loaded = inputs.adapted.loaded
    chosen: list[torch.Tensor] = []

    handle = loaded.model.lm_head.register_forward_hook(lambda module, given, logits: chosen.append(logits))
    try:
        answer(inputs, examples, max_new_tokens=1)
    finally:
        handle.remove()
    states = inputs.states(examples)
    tokens = inputs.tokens(examples, [0, 0], generate=True)
    with torch.no_grad():
        hidden = loaded.family.hidden(loaded.model, tokens, states)
        whole = loaded.model.lm_head(hidden[:, -1])
    assert torch.allclose(chosen[0], whole, atol=1e-4)


def test_generated_tokens_are_text() -> None:
    adapted, inputs = attached(asked())
    examples = WARM.data(asked()).splits["val"][:2]
    tokens = inputs.tokens(examples, [0, 0], generate=True)
    watch = adapted.watch
    assert watch.rows("tokens", tokens["input_ids"].shape) is not None
    assert watch.rows("tokens", torch.Size((2, 1))) is None
    rows = watch.rows("tokens", tokens["input_ids"].shape)
    assert set(rows.unique().tolist()) == {0, 1, 2, 3, 4}
    assert ((rows > 0) == (tokens["input_ids"] == adapted.model.config.video_token_id)).all()


@pytest.mark.parametrize("control", ["shuffled", "still", "random"])
def test_a_control_sees_other_scores_and_always_the_same_ones(control: str) -> None:
    shown = Shown(scores={"motion": [0.0, 0.2, 0.7, 1.0, 0.4]}, number=11)
    own = scores_of(shown, PLAIN)
    other = scores_of(shown, replace(PLAIN, control=control))
    assert own.tolist() == pytest.approx([0.0, 0.2, 0.7, 1.0, 0.4])
    assert not torch.equal(other, own)
    assert torch.equal(other, scores_of(shown, replace(PLAIN, control=control)))
    assert (control == "shuffled") == torch.equal(other.sort().values, own.sort().values)


def test_a_shuffled_control_gives_another_loss() -> None:
    """Scores come from real clips, so it matters which frame has which."""
    losses = set()
    for control in (None, "shuffled", "still", "random", "constant"):
        given = asked(method=replace(PLAIN, control=control), frames=Frames(budget=6, size=56))
        _, inputs = attached(given)
        with torch.no_grad():
            losses.add(round(loss_of(inputs, given, rows=6).item(), 7))
    assert len(losses) == 5


def test_an_unknown_family_is_refused_by_name_and_a_pack_takes_no_temporal_trial() -> None:
    with pytest.raises(ValueError, match=r"qwen2_vl.*use Lora"):
        layout_of("qwen2_vl", "model.layers.0")
    assert not packs(asked())
    with pytest.raises(ValueError, match="1 in sum"):
        TemporalLora(rank=RANK, score={"motion": 0.7})


def test_a_plan_counts_the_gates_and_the_mixer() -> None:
    method = replace(PLAIN, mixer="time", width=16)
    adapted, _ = attached(asked(method=method))
    found = plan(asked(method=method), device="cpu")
    assert found.trainable_params == sum(parameter.numel() for parameter in adapted.parameters.values())
    assert found.trainable_params > plan(asked(method=Lora(rank=RANK)), device="cpu").trainable_params


@pytest.mark.parametrize("base", BASES)
def test_a_trial_trains_evaluates_and_states_its_mean_rank(base: str) -> None:
    method = replace(PLAIN, mixer="time", width=16, score={"motion": 0.5, "entropy": 0.5})
    given = asked(
        base, method, "all4", schedule=Schedule(steps=2, batch_size=2, learning_rate=1e-2, checkpointing=True)
    )
    outcome = finetune(given, device="cpu", warm=WARM)
    assert outcome.status == "done" and outcome.adapter_state
    assert 0.25 <= outcome.metrics["test"]["active_text"] <= 1
    assert outcome.model["text"]["adapted_layers"] > 0


def test_masks_are_made_once_a_pass_and_anew_when_a_gate_has_changed() -> None:
    adapted, _ = attached(asked())
    gate = adapted.gates["text"]
    adapted.see([Shown(scores={"motion": np.array([0.1, 0.9])}, number=0)], None)
    first = gate.table(adapted.watch)
    assert gate.table(adapted.watch) is first
    with torch.no_grad():
        gate.threshold.fill_(-5.0)
    ones = torch.ones(2, 8)
    assert torch.allclose(gate.table(adapted.watch)[1:], ones) and not torch.allclose(first[1:], ones)
