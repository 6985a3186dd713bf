"""Contrastive training: the loss, what workers share of it, vectors that depend on nothing but their own input."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from vqlora.adapters import attach
from vqlora.contracts.footage import natural_size
from vqlora.contrastive import FIRST_SCALE, ContrastiveTrainer, clip_vectors, text_vectors
from vqlora.cost import StepProbe
from vqlora.data.sets import default_cache, open_data
from vqlora.finetune import finetune
from vqlora.inputs import Inputs
from vqlora.models.embedding import info_nce
from vqlora.models.families import FAMILIES
from vqlora.models.load import load
from vqlora.models.sizes import TINY_OF
from vqlora.recipe import Bits, Frames, Lora, Recipe, Schedule
from vqlora.record import Status
from vqlora.states import StateMemory
from vqlora.video.frames import FrameStore

RECIPE = Recipe(
    base="embedded:videollama",
    data="shapes:tiny",
    task="retrieval",
    method=Lora(rank={"text": 4}),
    bits=Bits.preset("all16"),
    frames=Frames(budget=2),
    schedule=Schedule(steps=3, batch_size=6, learning_rate=4e-3),
)


def vectors(seed: int, count: int = 6) -> torch.Tensor:
    return F.normalize(torch.randn(count, 5, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_loss_is_that_of_telling_each_pair_from_the_others() -> None:
    clips, texts, scale = vectors(0), vectors(1), torch.tensor(3.0)
    logits = 3.0 * clips @ texts.T
    expected = -(logits.log_softmax(1).diagonal().mean() + logits.log_softmax(0).diagonal().mean()) / 2
    assert info_nce(clips, texts, scale, list("abcdef")).item() == pytest.approx(expected.item(), rel=1e-6)
    assert info_nce(clips, clips, torch.tensor(100.0), list("abcdef")).item() < 0.01


def test_another_caption_of_the_same_clip_is_no_negative() -> None:
    clips, texts = vectors(0, 3), vectors(1, 3)
    twice = info_nce(clips[[0, 0, 1]], texts, torch.tensor(5.0), ["a", "a", "b"])
    assert twice < info_nce(clips[[0, 0, 1]], texts, torch.tensor(5.0), ["a", "other", "b"])


def test_gradients_of_workers_own_parts_add_up_to_those_of_the_whole() -> None:
    weight = torch.randn(5, 5, generator=torch.Generator().manual_seed(2), requires_grad=True)
    names, scale = list("abcdef"), torch.tensor(4.0)

    def loss(attached: list[int]) -> torch.Tensor:
        parts = []
        for seed in (0, 1):
            whole = F.normalize(vectors(seed) @ weight, dim=-1)
            mask = torch.tensor([[place in attached] for place in range(6)])
            parts.append(torch.where(mask, whole, whole.detach()))
        return info_nce(*parts, scale, names)

    (whole,) = torch.autograd.grad(loss(list(range(6))), weight)
    halves = [torch.autograd.grad(loss(own), weight)[0] for own in ([0, 1, 2], [3, 4, 5])]
    torch.testing.assert_close(halves[0] + halves[1], whole)


RETRIEVING = [f"random:{TINY_OF[kind]}" for kind, family in FAMILIES.items() if "retrieval" not in family.cannot]


@pytest.mark.parametrize("base", ["embedded:videollama", "embedded:flamingo", *RETRIEVING])
def test_vectors_depend_on_their_own_clip_or_text_alone(base: str, tmp_path: Path) -> None:
    loaded = load(base, Bits.preset("all16"), "cpu")
    adapted = attach(loaded, RECIPE.method, seed=0)
    store = FrameStore(default_cache(), Frames(budget=2, size=natural_size(loaded.model.config)))
    inputs = Inputs(adapted=adapted, store=store, memory=StateMemory(tmp_path), language="en")
    examples = open_data("shapes:tiny").test[:3]
    captions = [example.references["en"][0] for example in examples]
    with torch.no_grad():
        any_state = inputs.states(examples[:1])[0]
        texts, clips = text_vectors(inputs, captions, any_state), clip_vectors(inputs, examples)
        alone = text_vectors(inputs, captions[1:2], inputs.states(examples[2:])[0])
        torch.testing.assert_close(alone[0], texts[1], atol=1e-5, rtol=0)
        torch.testing.assert_close(clip_vectors(inputs, examples[1:2])[0], clips[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(clips.norm(dim=-1), torch.ones(3))
    apart = 1e-3 if base.startswith("embedded:") else 1e-4  # random weights tell clips less apart
    assert not torch.allclose(texts[0], texts[1], atol=apart) and not torch.allclose(clips[0], clips[1], atol=apart)


def test_training_goes_on_to_the_bit_where_its_state_was_taken() -> None:
    """Three steps against two, a saved state, a new trainer and the third; the temperature is learned with the rest."""
    loaded = load(RECIPE.base, RECIPE.bits, "cpu")
    store, examples = FrameStore(default_cache(), RECIPE.frames), open_data("shapes:tiny").train

    def trainer() -> ContrastiveTrainer:
        adapted = attach(loaded, RECIPE.method, seed=0)
        inputs = Inputs(adapted=adapted, store=store, memory=StateMemory(), language="en")
        probe = StepProbe(adapted.model, loaded.device, 0)
        return ContrastiveTrainer(
            adapted=adapted, inputs=inputs, examples=examples, schedule=RECIPE.schedule, seed=0, probe=probe
        )

    whole = trainer()
    losses = [whole.step() for _ in range(3)]
    final = whole.state()
    whole.adapted.remove()
    first = trainer()
    assert [first.step(), first.step()] == losses[:2]
    state = first.state()
    first.adapted.remove()
    second = trainer()
    second.restore(state)
    assert second.step() == losses[2]
    assert second.log_scale.item() == final["log_scale"].item() != pytest.approx(math.log(FIRST_SCALE))
    assert all(torch.equal(second.state()["trained"][name], value) for name, value in final["trained"].items())
    second.adapted.remove()


@pytest.mark.slow
def test_a_retrieval_trial_trains_and_is_judged_by_recall() -> None:
    outcome = finetune(replace(RECIPE, bits=Bits.preset("all4")), device="cpu")
    assert outcome.status is Status.DONE and outcome.adapter_state
    test = outcome.metrics["test"]
    assert {"t2v_r1", "t2v_mdr", "v2t_r10", "v2t_max_r1", "rsum", "ties", "dual_t2v_r1", "loss"} <= test.keys()
    assert test["t2v_r10"] == 100.0  # of eight clips
    losses = [row["loss"] for row in outcome.curve if "loss" in row]
    assert len(losses) == 3 and losses[-1] != losses[0]
    rows = [row for row in outcome.examples if row["split"] == "test"]
    assert sum(row["scores"]["t2v_r5"] for row in rows) / len(rows) == pytest.approx(test["t2v_r5"])
    assert outcome.cost.latency_ms is not None and outcome.cost.latency_ms > 0
