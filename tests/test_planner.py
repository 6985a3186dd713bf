"""Plans against what trials measure, and the sizes of real bases."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest
from trials import BASES, WARM, recipe

from vqlora.asked import expand
from vqlora.capacity import fits, gib_of, print_fitting
from vqlora.contracts.footage import natural_size
from vqlora.finetune import finetune
from vqlora.models.load import meta_model
from vqlora.models.sizes import TINY_OF
from vqlora.plan import BYTES_PER_SECOND, LAYER_SECONDS, QUANTISED_LAYER_SECONDS, Plan
from vqlora.planner import is_planned, plan
from vqlora.recipe import Bits, Frames, FullFineTune, Lora, Method, Recipe, Schedule, ZeroShot

SMALL = Schedule(steps=1, batch_size=2)


@pytest.mark.parametrize(
    "method",
    [Lora(rank={"text": 4}), Lora(rank={"text": 4, "vision": 4}), FullFineTune()],
    ids=["text", "vision", "full"],
)
@pytest.mark.parametrize("base", BASES)
def test_a_plan_on_a_cpu_is_within_a_quarter_of_what_a_trial_measures(base: str, method: Method) -> None:
    wanted = recipe(base, method=method, schedule=Schedule(steps=2, batch_size=4))
    planned, cost = plan(wanted, device="cpu"), finetune(wanted, device="cpu", warm=WARM).cost
    assert planned.peak_gib == pytest.approx(cost.train_peak_gib, rel=0.25)
    assert planned.train_flops == pytest.approx(cost.train_flops, rel=0.25)
    assert planned.trainable_params == cost.trainable_params
    assert planned.base_bytes == pytest.approx(cost.base_bytes, rel=0.05)


@pytest.mark.parametrize("name", ["llava-onevision-tiny", "instructblip-video-tiny", "clip-tiny"])
def test_plans_of_other_families_hold_too(name: str) -> None:
    task = "retrieval" if name == "clip-tiny" else "caption"
    wanted = recipe(f"random:{name}", task=task, schedule=Schedule(steps=2, batch_size=4))
    wanted = replace(wanted, frames=Frames(budget=2, size=natural_size(meta_model(wanted.base).config)))
    planned, cost = plan(wanted, device="cpu"), finetune(wanted, device="cpu", warm=WARM).cost
    assert planned.peak_gib == pytest.approx(cost.train_peak_gib, rel=0.25)
    assert planned.trainable_params == cost.trainable_params


@pytest.mark.parametrize("name", TINY_OF.values())
def test_every_family_is_planned_on_a_gpu_or_says_why_not(name: str) -> None:
    base = f"random:{name}"
    frames = Frames(budget=4, size=natural_size(meta_model(base).config))
    wanted = big(base, schedule=SMALL, frames=frames, method=Lora(rank={"text": 4, "vision": 4}))
    if is_planned(base):
        assert plan(wanted).peak_gib > 0
    else:
        with pytest.raises(ValueError, match="is not planned"):
            plan(wanted)


def big(base: str, **changes: object) -> Recipe:
    wanted = Recipe(
        base=base,
        data="shapes:small",
        method=Lora(rank={"text": 16}),
        bits=Bits.preset("v16t4"),
        schedule=Schedule(steps=100, batch_size=4),
        frames=Frames(budget=8, size=224),
    )
    return replace(wanted, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("base", "billions"), [("random:videollama3-7b", 8.0), ("random:idefics-9b", 9.0)])
def test_real_bases_are_planned_without_weights(base: str, billions: float) -> None:
    wide, low = (plan(big(base, bits=Bits.preset(preset))) for preset in ("all16", "v16t4"))
    assert wide.base_bytes / 2e9 == pytest.approx(billions, rel=0.1)
    assert low.base_bytes < 0.5 * wide.base_bytes
    assert low.peak_gib < wide.peak_gib
    assert low.train_flops == wide.train_flops
    assert wide.trainable_params == low.trainable_params > 30e6


def test_memory_grows_with_frames_batch_and_rank() -> None:
    base = "random:videollama3-2b"
    small = plan(big(base)).peak_gib
    assert plan(big(base, frames=Frames(budget=16, size=224))).peak_gib > small
    assert plan(big(base, schedule=Schedule(steps=100, batch_size=8))).peak_gib > small
    assert plan(big(base, method=Lora(rank={"text": 64}))).peak_gib > small


def test_zero_shot_needs_the_weights_only() -> None:
    planned = plan(big("random:videollama3-tiny", method=ZeroShot()))
    assert planned.train_flops == planned.activation_bytes == 0
    assert planned.peak_gib > 0


def test_on_a_gpu_a_plan_follows_bits_checkpointing_moments_and_frames() -> None:
    base = "random:videollama3-2b"
    lora = big(base, schedule=SMALL, frames=Frames(budget=4, size=224))
    plain = plan(lora)
    assert plan(replace(lora, schedule=replace(SMALL, checkpointing=True))).peak_gib < 0.7 * plain.peak_gib
    assert plan(replace(lora, bits=Bits.preset("all8"))).base_bytes > plain.base_bytes
    eight = plan(replace(lora, schedule=replace(SMALL, optimizer="adamw8bit")))
    saved = (plain.peak_gib - eight.peak_gib) * 2**30
    assert saved == pytest.approx(6 * plain.trainable_params, rel=0.05)  # 8 bytes a moment pair become 2 and scales
    whole = replace(lora, bits=Bits.preset("all16"), method=FullFineTune(update="stochastic"))
    bf16 = plan(replace(whole, schedule=replace(SMALL, optimizer="adamw8bit", checkpointing=True)))
    fp32 = plan(replace(whole, method=FullFineTune(), schedule=replace(SMALL, checkpointing=True)))
    assert fp32.peak_gib > 1.5 * bf16.peak_gib


def test_frozen_weights_and_quantised_layers_keep_nothing_in_a_plan() -> None:
    """LoRA keeps its input in bf16 once a layer, whatever the bits of the frozen weight beside it."""
    plans = {
        bits: plan(big("random:videollama3-2b", schedule=SMALL, bits=Bits.preset(bits))) for bits in ("all4", "all8")
    }
    assert plans["all8"].activation_bytes == pytest.approx(plans["all4"].activation_bytes, rel=0.1)


def test_a_card_is_full_where_the_plan_and_its_context_no_longer_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert gib_of("24GiB") == gib_of("24") == gib_of("24 GB") == 24
    with pytest.raises(ValueError, match="write it as 24GiB"):
        gib_of("much")
    assert fits(20.0, 24.0) and not fits(22.5, 24.0) and not fits(23.5, 24.0)
    tiny = big("random:videollama3-tiny", schedule=SMALL, frames=Frames(size=56))
    assert print_fitting(tiny, 24.0, frames=(2,)) == 9
    assert print_fitting(tiny, 1.0, frames=(2,)) == 0
    assert "lora rank 16" in capsys.readouterr().out


def test_a_token_takes_as_long_as_its_launches_or_as_reading_the_weights() -> None:
    """Small bases are bound by launches, so that fewer bits are no faster; large ones by bytes."""
    wanted = big("random:videollama3-7b")

    def tokens_ms(base_bytes: float, preset: str) -> float:
        estimate = Plan(
            peak_gib=1, base_bytes=base_bytes, trainable_params=1, activation_bytes=0, train_flops=4e15,
            clip_tokens=900, layers=28,
        )  # fmt: skip
        long, short = (
            estimate.latency_ms(replace(wanted, bits=Bits.preset(preset), max_new_tokens=n)) for n in (65, 1)
        )
        return (long - short) / 64

    assert tokens_ms(14e9, "all16") == pytest.approx(28 * 1e3 * LAYER_SECONDS)
    assert tokens_ms(4e9, "all4") == pytest.approx(28 * 1e3 * QUANTISED_LAYER_SECONDS)
    assert tokens_ms(1e12, "all16") == pytest.approx(1e15 / BYTES_PER_SECOND)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_kind_of_temporal_adapter_is_planned(device: str) -> None:
    """A mixer counts only in a pass that was announced, and a memory leaves the base fewer frames."""
    study = runpy.run_path(str(Path(__file__).parents[1] / "studies" / "temporal.py"))["study"]
    plans = {one.point["kind"]: plan(one.recipe, device=device) for one in expand(study)}
    assert all(one.trainable_params > 0 and one.activation_bytes > 0 for one in plans.values())
    assert plans["mixer"].trainable_params > plans["plain"].trainable_params
    assert plans["temporal and mixer"].train_flops > plans["temporal"].train_flops
    assert plans["temporal and memory"].train_flops < 0.8 * plans["temporal"].train_flops
    assert plans["temporal and memory"].clip_tokens < plans["temporal"].clip_tokens
