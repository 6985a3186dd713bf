"""Frames that fit into a memory: as many as fit and no more, and more of them at fewer bits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from trials import recipe

from vqlora import cli
from vqlora.equal_memory import most_frames
from vqlora.planner import plan
from vqlora.recipe import Bits, Frames


def test_the_frames_found_are_the_most_that_fit_and_fewer_bits_buy_more() -> None:
    asked = recipe(base="embedded:videollama", frames=Frames(budget=8, size=112))
    gib = plan(replace(asked, bits=Bits.preset("all16"), frames=Frames(budget=9)), device="cpu").peak_gib
    rows = {row.bits: row for row in most_frames(asked, ("all4", "all8", "all16"), gib=gib, device="cpu")}
    assert rows["all4"].frames >= rows["all8"].frames >= rows["all16"].frames == 9
    assert rows["all4"].base_gib < rows["all16"].base_gib
    few = rows["all4"].frames
    peaks = [plan(replace(asked, bits=Bits.preset("all4"), frames=Frames(budget=k)), device="cpu").peak_gib
             for k in (few, few + 1)]  # fmt: skip
    assert peaks[0] <= gib < peaks[1]
    assert most_frames(asked, ("all4",), gib=1e-4, device="cpu")[0].frames == 0


def test_the_command_prints_a_row_for_each_plan(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["plan", "embedded:videollama", "--device", "cpu", "--equal-memory", "0.1", "--batch-size", "2"]
    assert cli.main(given) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-4:]] == ["all4", "v8t4", "all8", "all16"]
