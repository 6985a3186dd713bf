"""The command `vqlora` finds what it is asked, and says in one line what it cannot use."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from vqlora.cli import main
from vqlora.doctor import check_cluster


def test_inspect_shows_every_role_of_a_base(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "random:videollama3-tiny"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[2:5]] == ["vision", "cross_modal", "text"]
    assert "12 at 4 bits" in shown and "embeddings: model.language_model.embed_tokens" in shown


def test_plan_says_less_memory_for_fewer_bits(capsys: pytest.CaptureFixture[str]) -> None:
    peaks = []
    for bits in ("all4", "all16"):
        assert main(["plan", "random:videollama3-tiny", "--bits", bits]) == 0
        found = re.search(r"base\s+([\d.]+) GiB", capsys.readouterr().out)
        assert found
        peaks.append(float(found[1]))
    assert peaks[0] <= peaks[1]


@pytest.mark.parametrize(
    "command", [["inspect", "random:nope"], ["plan", "nope"], ["plan", "random:videollama3-tiny", "--bits", "all3"]]
)
def test_bad_input_is_one_line_and_status_2(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("vqlora: ") and err.count("\n") == 1


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "vqlora", "--help"], capture_output=True, text=True, check=True)
    for command in ("doctor", "frames", "plan", "inspect"):
        assert command in done.stdout


def test_help_needs_neither_torch_nor_ray() -> None:
    code = "import sys; from vqlora.cli import _parser; _parser(); assert not {'torch', 'ray'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_doctor_names_what_is_wrong_and_the_way_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VQLORA_CACHE", str(tmp_path))
    assert main(["doctor", "--storage", str(tmp_path)]) == 0
    assert main(["doctor", "--storage", "/proc/nowhere"]) == 1
    assert "wrong  storage '/proc/nowhere" in capsys.readouterr().out
    unreachable = check_cluster("127.0.0.1:9")
    assert unreachable.state == "wrong" and "ray start --head" in unreachable.mend
