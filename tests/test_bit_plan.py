"""`vqlora bits`: a plan within its budget from measured losses, which a study takes as a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vqlora.cli import main
from vqlora.data.sets import default_cache
from vqlora.models.load import load
from vqlora.recipe import Bits

BASE = "random:videollama3-tiny"


def bits(file: Path, budget: float) -> int:
    words = ["bits", BASE, "--data", "shapes:tiny", "--frames", "2", "--batch-size", "2", "--device", "cpu"]
    return main([*words, "--budget", str(budget), "--file", str(file)])


def test_the_plan_is_within_the_budget_and_loads_and_no_state_of_a_tried_plan_is_kept(tmp_path: Path) -> None:
    states = default_cache() / "states"
    before = sorted(states.rglob("*"))
    file = tmp_path / "plans" / "tiny.json"
    assert bits(file, 0.25) == 0
    assert sorted(states.rglob("*")) == before
    found = json.loads(file.read_text())
    assert found["mib"] <= 0.25
    assert found["mib"] == pytest.approx(
        sum(found["groups"][group][str(width)]["mib"] for group, width in found["plan"].items())
    )
    built = load(BASE, Bits.preset(str(file)), "cpu")
    assert any(row["quantised"] for row in built.found.values())


def test_a_budget_below_four_bits_and_a_missing_file_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bits(tmp_path / "small.json", 0.001) == 2
    assert "no bit plan fits" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"nowhere\.json: no such file; `vqlora bits"):
        Bits.preset("nowhere.json")
