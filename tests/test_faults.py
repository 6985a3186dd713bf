"""A short run of the kill harness; `benchmarks/faults.py` says what it checks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_a_study_whose_processes_are_killed_loses_nothing(tmp_path: Path) -> None:
    result = tmp_path / "faults.json"
    command = [sys.executable, "benchmarks/faults.py", "--seeds", "0:1", "--modes", "turns", "--kills", "3",
               "--victims", "driver", "train worker", "trial actor", "--result", str(result)]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    totals = json.loads(result.read_text())["totals"]
    assert totals["kills"] >= 1 and totals["studies"] == 1 and totals["relaunches"] == 1
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    assert again.returncode == 1 and "overlap" in again.stderr, "seeds are run once"
