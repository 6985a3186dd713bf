"""Strips of the frames that trials saw, cut where the clips are."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace

import pytest
from kept import keep_trial
from PIL import Image
from trials import recipe

from analysis import evidence, table
from vqlora.cli import main
from vqlora.gallery import SIDE, write_gallery
from vqlora.recipe import Frames, ZeroShot
from vqlora.store import study_store


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for budget in (2, 3):
        keep_trial(folder, recipe(method=ZeroShot(), frames=Frames(budget=budget, size=56)), budget=budget)
    study_store(str(folder), "kept", "1").write_asked({"question": "", "axes": {}, "objectives": [], "trials": []})
    return folder


def test_each_clip_has_a_strip_for_each_choice_of_frames_and_only_once(storage, capsys):
    where = str(storage / "kept")
    assert main(["gallery", where]) == 0
    assert capsys.readouterr().out == "16 strips of frames written\n"  # 8 clips of test, 2 and 3 frames
    found = table.read(where).gallery
    widths = sorted(Image.open(io.BytesIO(content)).size[0] // SIDE for content in found.values())
    assert widths == 8 * [2] + 8 * [3]
    assert write_gallery(where) == (0, [])


def test_frames_that_only_a_base_could_choose_are_cut_without_it(tmp_path):
    looks = Frames(budget=2, size=56, sampler="quant_logdet")
    keep_trial(tmp_path, recipe(method=ZeroShot(), frames=looks), sampler="quant_logdet")
    study_store(str(tmp_path), "kept", "1").write_asked({"question": "", "axes": {}, "objectives": [], "trials": []})
    assert write_gallery(str(tmp_path / "kept")) == (8, [])


def test_committed_records_get_theirs_beside_them_and_other_data_are_refused(storage, tmp_path):
    main(["gallery", str(storage / "kept")])
    read = table.read(str(storage / "kept"))
    path = evidence.write(read, tmp_path)[0]
    shutil.rmtree(tmp_path / "kept.gallery")
    assert write_gallery(str(path)) == (16, [])
    assert dict(table.read(str(path)).gallery) == dict(read.gallery)
    other = [replace(one, provenance=replace(one.provenance, data_digest="0" * 64)) for one in read.records]
    changed = evidence.write(replace(read, study="changed", records=tuple(other), gallery={}), tmp_path)[0]
    written, reasons = write_gallery(str(changed))
    assert written == 0 and "are not those of the records" in reasons[0]


def test_a_missing_file_is_refused_with_the_way_out(tmp_path, capsys):
    assert main(["gallery", str(tmp_path / "none.jsonl")]) == 2
    assert "give NAME.jsonl or STORAGE/STUDY" in capsys.readouterr().err
