"""A trial: reproducible to the bit, resumable, and honest about what it skipped and what went wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from trials import BASES, WARM, Kept, recipe

import vqlora.finetune as finetune_module
from vqlora.data.sets import default_cache, open_data
from vqlora.finetune import Outcome, Warm, check_recipe, finetune
from vqlora.recipe import Bits, FullFineTune, Lora, Recipe, Schedule, ZeroShot
from vqlora.record import Status


def run(wanted: Recipe, **how: Any) -> Outcome:
    return finetune(wanted, device="cpu", **{"warm": WARM, **how})


def facts(outcome: Outcome) -> dict[str, Any]:
    """Everything but times."""
    return {
        "status": outcome.status,
        "metrics": outcome.metrics,
        "curve": outcome.curve,
        "examples": outcome.examples,
        "adapter": outcome.adapter_state,
        "flops": (outcome.cost.train_flops, outcome.cost.infer_flops),
        "memory": (outcome.cost.train_peak_gib, outcome.cost.base_bytes),
        "model": outcome.model,
        "digests": (outcome.base_digest, outcome.data_digest),
    }


@pytest.mark.parametrize("bits", ["all16", "all8", "all4"])
@pytest.mark.parametrize("base", BASES)
def test_a_trial_on_a_warm_process_equals_one_on_a_fresh_process_to_the_bit(
    base: str, bits: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wanted = recipe(base, bits=Bits.preset(bits))
    run(replace(wanted, method=Lora(rank={"text": 2, "cross_modal": 2}), seed=7))  # leaves no trace in WARM
    warm = facts(run(wanted))
    monkeypatch.setattr("vqlora.warm.states_folder", lambda *_: tmp_path)  # nothing there yet
    assert warm == facts(run(wanted, warm=None))


def test_a_trial_with_an_adapted_vision_tower_is_reproducible_and_leaves_frozen_states_alone() -> None:
    wanted = recipe(method=Lora(rank={"vision": 2}))
    warm = Warm()
    first = run(wanted, warm=warm)
    assert facts(first) == facts(run(wanted, warm=warm))
    assert first.model["vision"]["adapted_layers"] > 0 == first.model["text"]["adapted_layers"]
    assert facts(run(recipe(), warm=warm)) == facts(run(recipe()))


def test_full_fine_tuning_does_not_change_the_base_of_later_trials() -> None:
    before = facts(run(recipe()))
    full = run(recipe(method=FullFineTune()))
    assert full.status is Status.DONE
    assert facts(run(recipe())) == before


@pytest.mark.parametrize("bits", ["all16", "all4"])
@pytest.mark.parametrize("rows", [2, 4, 5])
def test_a_resumed_trial_equals_the_uninterrupted_one_to_the_bit(rows: int, bits: str) -> None:
    wanted = recipe(
        method=Lora(rank={"text": 4}, dropout=0.1),
        bits=Bits.preset(bits),
        schedule=Schedule(steps=4, batch_size=2, learning_rate=1e-2, evaluations=2),
    )
    whole = run(wanted)
    broken = Kept(break_after=rows)
    with pytest.raises(KeyboardInterrupt):
        run(wanted, progress=broken)
    going_on = Kept(state=broken.state)
    resumed = run(wanted, progress=going_on)
    assert not set(going_on.saved) & set(broken.saved), "a state that is kept is not kept again"
    assert {**facts(resumed), "flops": None, "memory": None} == {**facts(whole), "flops": None, "memory": None}


def test_the_loss_falls_and_every_step_and_validation_is_reported_in_order() -> None:
    progress = Kept()
    schedule = Schedule(steps=12, batch_size=4, learning_rate=2e-2, evaluations=3)
    outcome = run(recipe(schedule=schedule), progress=progress)
    losses = [row["loss"] for row in progress.rows if "loss" in row]
    assert len(losses) == 12
    assert sum(losses[-3:]) < sum(losses[:3])
    assert [row["step"] for row in progress.rows if "val.cider" in row] == [4, 8, 12]
    assert progress.rows == list(outcome.curve)


def test_a_stopped_trial_keeps_its_validation_and_never_scores_test() -> None:
    schedule = Schedule(steps=4, batch_size=2, evaluations=2)
    outcome = run(recipe(schedule=schedule), progress=Kept(stop_after=3))
    assert outcome.status is Status.STOPPED
    assert set(outcome.metrics) == {"val"}
    assert {row["split"] for row in outcome.examples} == {"val"}


def test_test_is_scored_once_after_training_whatever_the_number_of_validations(monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = finetune_module.evaluate, []

    def watch(*inputs: Any, split: str, **more: Any) -> Any:
        seen.append(split)
        return real(*inputs, split=split, **more)

    monkeypatch.setattr(finetune_module, "evaluate", watch)
    run(recipe(schedule=Schedule(steps=4, batch_size=2, evaluations=4)))
    assert seen == ["val"] * 4 + ["test"]


def test_zero_shot_trains_nothing_and_is_scored_on_both_splits() -> None:
    outcome = run(recipe(method=ZeroShot()))
    assert outcome.status is Status.DONE
    assert outcome.adapter_state is None
    assert set(outcome.metrics) == {"val", "test"}
    assert outcome.cost.train_seconds is None
    assert outcome.cost.trainable_params == 0
    assert outcome.cost.latency_ms is not None


def test_the_outcome_says_what_was_built_and_what_it_cost() -> None:
    outcome = run(recipe(bits=Bits.preset("v8t4"), method=Lora(rank={"text": 4, "cross_modal": 2})))
    text, vision = outcome.model["text"], outcome.model["vision"]
    assert text["quantised"] == {"nf4": text["linear_layers"]}
    assert text["adapted_layers"] == text["linear_layers"]
    assert vision["quantised"] == {"int8": vision["linear_layers"]}
    assert vision["trainable"] == 0
    cost = outcome.cost
    assert cost.trainable_params == sum(role["trainable"] for role in outcome.model.values())
    assert cost.base_bytes == sum(role["bytes"] for role in outcome.model.values())
    state = safetensors.torch.load(outcome.adapter_state or b"")
    assert cost.trainable_params == sum(tensor.numel() for tensor in state.values())
    for name, text in cost.how.items():
        assert getattr(cost, name) is not None and text
    for row in outcome.examples:
        assert len(row["frame_indices"]) == len(row["frame_times_seconds"]) == 2
    json.dumps(list(outcome.examples))


@pytest.fixture
def broken_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny data with two of 24 training clips missing or cut short."""
    open_data("shapes:tiny")
    source = next((default_cache() / "data").glob("shapes-tiny-*"))
    monkeypatch.setenv("VQLORA_CACHE", str(tmp_path / "cache"))
    for file in source.rglob("*"):
        target = tmp_path / "data" / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.is_file():
            target.write_bytes(file.read_bytes())
    videos = tmp_path / "data" / "videos" / "all"
    (videos / "video3.mp4").unlink()
    (videos / "video5.mp4").write_bytes((videos / "video5.mp4").read_bytes()[:400])
    return tmp_path / "data"


def test_broken_videos_are_skipped_counted_and_named(broken_videos: Path) -> None:
    outcome = run(recipe(data=f"msrvtt:{broken_videos}", max_skipped_share=0.1), warm=None)
    assert outcome.status is Status.DONE
    assert [row["id"] for row in outcome.skipped] == ["video3", "video5"]
    assert all(row["reason"] for row in outcome.skipped)


def test_too_many_broken_videos_refuse_the_trial(broken_videos: Path) -> None:
    with pytest.raises(ValueError, match=r"2 of 24 examples can't be read, over the share 0\.05"):
        run(recipe(data=f"msrvtt:{broken_videos}"), warm=None)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("no room")])
def test_out_of_memory_is_an_outcome_and_the_next_trial_starts_clean(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm = Warm()
    before = facts(run(recipe(), warm=warm))
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", lambda *_: (_ for _ in ()).throw(error))
        outcome = run(recipe(), warm=warm)
    assert outcome.status is Status.OUT_OF_MEMORY
    assert str(error) in (outcome.error or "")
    assert facts(run(recipe(), warm=warm)) == before


def test_any_other_error_passes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_: (_ for _ in ()).throw(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        run(recipe())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base": "random:none"}, "'none' is unknown"),
        ({"bits": Bits(plan={"audio": 4})}, "bit plan names the role 'audio'"),
        ({"method": Lora(rank={"audio": 4})}, r"Lora\.rank names the role 'audio'"),
        ({"method": FullFineTune(roles=("audio",))}, r"FullFineTune\.roles names the role 'audio'"),
    ],
)
def test_a_recipe_that_does_not_fit_its_base_is_refused_before_anything_is_loaded(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_recipe(recipe(**changes))
