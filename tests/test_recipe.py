"""Recipes and records: what is refused, what survives JSON, what a fingerprint depends on."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from vqlora.recipe import (
    PRESETS,
    Bits,
    Frames,
    FullFineTune,
    Lora,
    Method,
    Recipe,
    Schedule,
    ZeroShot,
    recipe_from_json,
    to_json,
)
from vqlora.record import Cost, Provenance, Record, Status, record_from_json, record_to_json

RECIPE = Recipe(
    base="embedded:videollama",
    data="shapes:tiny",
    method=Lora(rank={"text": 4, "vision": 0, "cross_modal": 2}),
    bits=Bits.preset("v8t4"),
    schedule=Schedule(steps=4),
)
PROVENANCE = Provenance(commit="abc", dirty=False, versions={"torch": "2.14"}, device="cpu", platform="linux")


def record(**changes: object) -> Record:
    values: dict[str, object] = {
        "study": "rank_bits", "version": "1", "trial": "t", "point": {"rank": 4}, "seed": 0, "recipe": to_json(RECIPE),
        "fingerprint": RECIPE.fingerprint(), "status": Status.DONE, "provenance": PROVENANCE,
        "metrics": {"val": {"cider": 1.0}, "test": {"cider": 0.5}}, "cost": Cost(step_seconds=0.25),
        "curve": ({"step": 1, "loss": 2.0},), "skipped": ({"id": "video3", "reason": "truncated"},),
    }  # fmt: skip
    return Record(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("method", (ZeroShot(), FullFineTune(roles=("text",)), RECIPE.method))
def test_a_recipe_survives_json_with_its_fingerprint(method: Method) -> None:
    recipe = replace(RECIPE, method=method, bits=Bits(plan={}))
    again = recipe_from_json(to_json(recipe))
    assert again == recipe and again.fingerprint() == recipe.fingerprint()


def test_every_field_of_a_recipe_counts_in_its_fingerprint() -> None:
    changes = {
        "base": "embedded:flamingo", "data": "shapes:small", "method": Lora(rank={"text": 5}), "bits": Bits(plan={}),
        "schedule": Schedule(steps=5), "frames": Frames(budget=4), "language": "zh", "max_new_tokens": 9,
        "max_skipped_share": 0.5, "seed": 1,
    }  # fmt: skip
    prints = {replace(RECIPE, **{name: value}).fingerprint() for name, value in changes.items()}
    assert len(prints | {RECIPE.fingerprint()}) == len(changes) + 1


def test_the_order_of_a_mapping_does_not_count() -> None:
    turned = Lora(rank={"cross_modal": 2, "vision": 0, "text": 4})
    assert replace(RECIPE, method=turned).fingerprint() == RECIPE.fingerprint()


@pytest.mark.parametrize(
    ("make", "words"),
    (
        (lambda: Lora(rank={"text": 0}), "rank is 0 in every role"),
        (lambda: Lora(rank={"text": -1}), "whole number >= 0"),
        (lambda: Lora(rank={"text": 2.5}), "whole number >= 0"),  # type: ignore[dict-item]
        (lambda: Lora(rank={"speech": 2}), "role 'speech'; use one of"),
        (lambda: Bits(plan={"text": 5}), "5 bits for text are not supported; use one of \\(4, 8, 16\\)"),
        (lambda: Bits(plan={}, scheme4="int8"), "'int8' is not 4-bit; use one of"),
        (lambda: Bits.preset("all5"), "unknown; use one of"),
        (lambda: Frames(sampler="best"), "sampler 'best' is unknown; use one of"),
        (lambda: Frames(budget=0), "must be >= 1"),
        (lambda: Schedule(steps=-1), "must be >= 0"),
        (lambda: Schedule(steps=1, learning_rate=0), "must be > 0"),
        (lambda: replace(RECIPE, task="poetry"), "task 'poetry' is unknown"),
        (lambda: replace(RECIPE, method=FullFineTune()), "needs 16 bits there"),
        (lambda: recipe_from_json({**to_json(RECIPE), "rnak": 4}), "no field 'rnak'"),
        (lambda: recipe_from_json({**to_json(RECIPE), "method": {"kind": "magic"}}), "method 'magic' is unknown"),
    ),
)
def test_bad_values_are_refused_with_the_rule_and_the_way_out(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_presets_name_every_combination_they_claim() -> None:
    assert {name: Bits.preset(name).of("cross_modal") for name in PRESETS} == dict.fromkeys(PRESETS, 16)
    assert (Bits.preset("v8t4").of("vision"), Bits.preset("v8t4").of("text")) == (8, 4)


def test_a_record_survives_json() -> None:
    text = record_to_json(record())
    assert record_to_json(record_from_json(text)) == text
    assert record_from_json(text).cost == record().cost


def test_a_changed_byte_a_foreign_field_and_another_schema_are_refused() -> None:
    text = record_to_json(record())
    with pytest.raises(ValueError, match="digest does not match"):
        record_from_json(text.replace('"cider": 1.0', '"cider": 9.0'))
    with pytest.raises(ValueError, match="not a record"):
        record_from_json(text[:-5])
    with pytest.raises(ValueError, match="schema 2"):
        record(schema=2)


def test_a_missing_number_is_none_and_never_nan() -> None:
    with pytest.raises(ValueError, match=r"metrics\.val\.cider is nan"):
        record_to_json(record(metrics={"val": {"cider": float("nan")}, "test": {}}))


def test_a_finished_trial_has_a_test_score_and_a_failed_one_an_error() -> None:
    with pytest.raises(ValueError, match="without a test score"):
        record(metrics={"val": {"cider": 1.0}})
    with pytest.raises(ValueError, match="without an error text"):
        record(status=Status.FAILED)
    assert record(status=Status.STOPPED, metrics={}).status == "stopped"


def test_types_need_the_standard_library_only() -> None:
    code = (
        "import sys; before = set(sys.modules); import vqlora.recipe, vqlora.record; "
        "roots = {m.split('.')[0] for m in set(sys.modules) - before}; "
        "print(sorted(roots - set(sys.stdlib_module_names) - {'vqlora'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
