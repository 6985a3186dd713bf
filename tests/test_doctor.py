"""What `vqlora doctor` says of a machine, a data set and the nodes of a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from vqlora.cli import main
from vqlora.data.layouts import LAYOUTS
from vqlora.data.shapes import draw_scenes
from vqlora.doctor import examine_nodes
from vqlora.node import examine_node


def test_a_machine_is_examined_part_by_part() -> None:
    found = {one.what.split()[0]: one for one in examine_node()}
    assert found["bitsandbytes"].state == "ok" and found["decoders:"].state in ("ok", "note")
    assert any("GiB free for" in one.what for one in examine_node())


def test_a_data_set_is_said_to_be_as_complete_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LAYOUTS["lsmdc"](tmp_path, draw_scenes({"train": 2, "val": 2, "test": 2}))
    next(tmp_path.glob("*_Test/*.avi")).unlink()
    assert main(["doctor", "--data", f"lsmdc:{tmp_path}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if ", test:" in line]
    assert "1 of 1000 present; the annotations list 2, published are 1000" in line
    assert any("digest" in line for line in lines) and any("2 repeated_ids" in line for line in lines)
    assert main(["doctor", "--data", f"lsmdc:{tmp_path / 'none'}", "--base", "embedded:nobody"]) == 1
    said = capsys.readouterr().out
    assert "no such folder" in said and "embedded base 'nobody' is unknown" in said


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_every_node_of_a_cluster_is_examined() -> None:
    import ray

    found = examine_nodes(None, "embedded:videollama", None)
    for node in ray.nodes():
        own = [one for one in found if one.what.startswith(f"{node['NodeManagerAddress']}: ")]
        assert any("base embedded:videollama is whole" in one.what for one in own)
