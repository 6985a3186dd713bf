"""Vision states on disk: the same to the bit, made again where they are damaged, never mistaken for another tower's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from trials import WARM, recipe

from vqlora.adapters import attach
from vqlora.inputs import Inputs
from vqlora.models.load import load
from vqlora.recipe import Bits, ZeroShot
from vqlora.states import StateMemory, states_folder


@pytest.fixture(scope="module")
def setting() -> tuple[Inputs, list]:
    wanted = recipe()
    data = WARM.data(wanted)
    adapted = attach(WARM.base(wanted, "cpu"), ZeroShot(), seed=0)
    return Inputs(adapted=adapted, store=data.store, memory=StateMemory(), language="en"), list(data.splits["val"][:3])


def inputs(setting: tuple[Inputs, list], folder: Path) -> Inputs:
    made, _ = setting
    return Inputs(adapted=made.adapted, store=made.store, memory=StateMemory(folder), language="en")


def test_what_another_worker_reads_is_what_the_tower_gave_to_the_bit(setting, tmp_path):
    wrote = inputs(setting, tmp_path).states(setting[1])
    reader = inputs(setting, tmp_path)
    read = [reader.memory.get(reader.frames(example).digest) for example in setting[1]]
    assert all(torch.equal(a, b) for a, b in zip(wrote, read, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(wrote, reader.states(setting[1], fresh=True), strict=True))


def test_a_file_cut_short_is_made_again(setting, tmp_path):
    first = inputs(setting, tmp_path)
    wrote = first.states(setting[1])
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert len(files) == len(setting[1])
    for file in files:
        file.write_bytes(file.read_bytes()[:-100])
    again = inputs(setting, tmp_path)
    assert again.memory.get(again.frames(setting[1][0]).digest) is None
    assert all(torch.equal(a, b) for a, b in zip(wrote, again.states(setting[1]), strict=True))
    third = inputs(setting, tmp_path)
    assert third.memory.get(third.frames(setting[1][0]).digest) is not None


def test_an_unwritable_folder_warns_and_keeps_states_in_memory(setting, tmp_path):
    (tmp_path / "file").write_text("")
    made = inputs(setting, tmp_path / "file" / "states")
    with pytest.warns(UserWarning, match="not kept"):
        state = made.states(setting[1][:1])[0]
    assert torch.equal(made.memory.get(made.frames(setting[1][0]).digest), state)


def test_other_bits_of_the_tower_other_states_and_other_bits_of_the_text_the_same(tmp_path):
    folders = {
        name: states_folder(tmp_path, load("embedded:videollama", Bits.preset(name), "cpu"))
        for name in ("all16", "all4", "v16t4", "v4t8")
    }
    assert folders["all16"] != folders["all4"]
    assert folders["all16"].name != folders["v4t8"].name
    assert folders["v4t8"] == folders["all4"]
    assert folders["v16t4"] == folders["all16"]
