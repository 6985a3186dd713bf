"""Scores of a split and the rows that are kept of it."""

from __future__ import annotations

from typing import Any

import pytest
from trials import WARM, recipe

import vqlora.evaluation as evaluation
from vqlora.adapters import attach
from vqlora.evaluation import Evaluation, evaluate
from vqlora.inputs import Inputs
from vqlora.recipe import ZeroShot
from vqlora.states import StateMemory


def inputs() -> tuple[Inputs, Any]:
    wanted = recipe()
    data = WARM.data(wanted)
    adapted = attach(WARM.base(wanted, "cpu"), ZeroShot(), seed=0)
    return Inputs(adapted=adapted, store=data.store, memory=StateMemory(), language="en"), data.splits


def scored(answers: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Evaluation, Any]:
    """An evaluation of val in which the model says `answers(example)`."""
    made, splits = inputs()
    monkeypatch.setattr(evaluation, "answer", lambda _, chunk, **__: [answers(example) for example in chunk])
    return evaluate(made, splits["val"], split="val", max_new_tokens=4), splits["val"]


def test_a_reference_said_back_scores_full_content_and_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = scored(lambda example: example.references["en"][0], monkeypatch)
    assert found.metrics["content_exact"] == 1
    assert found.metrics["bleu_4"] == pytest.approx(1)
    assert found.metrics["rouge_l"] == pytest.approx(1)
    assert found.metrics["cider"] > 2


def test_silence_scores_nothing_and_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = scored(lambda example: "", monkeypatch)
    assert found.metrics["cider"] == 0
    assert found.metrics["content_exact"] == 0


def test_rows_say_what_was_seen_said_and_scored_and_sum_to_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    found, examples = scored(lambda example: example.references["en"][1], monkeypatch)
    assert [row["id"] for row in found.rows] == [example.id for example in examples]
    for row, example in zip(found.rows, examples, strict=True):
        assert row["caption"] == example.references["en"][1]
        assert row["references"] == list(example.references["en"])
        assert row["split"] == "val"
        assert len(row["frame_indices"]) == 2
        assert set(row["scores"]) == {"cider", "rouge_l", "bleu_4"}
        assert row["content"]["exact"] == 1
        assert row["bleu"]["hyp_len"] > 0
    mean = sum(row["scores"]["cider"] for row in found.rows) / len(found.rows)
    assert mean == pytest.approx(found.metrics["cider"])


def test_the_loss_does_not_depend_on_how_a_split_is_cut_into_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    for size in (3, 64):
        monkeypatch.setattr(evaluation, "BATCH", size)
        losses.append(scored(lambda example: "", monkeypatch)[0].metrics["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_captions_do_not_depend_on_the_batch_they_are_made_in() -> None:
    made, splits = inputs()
    together = evaluation.answer(made, splits["val"], max_new_tokens=5)
    assert together == [evaluation.answer(made, [example], max_new_tokens=5)[0] for example in splits["val"]]
