"""A study whose driver is killed, on a Ray of its own that dies with it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest


def records(runs: str) -> list[Path]:
    """The trials' records; an adapter's folder holds a copy of its own."""
    return list(Path(runs).glob("small/*/*/record.json"))


@pytest.mark.slow
def test_a_killed_driver_loses_no_finished_trial_and_leaves_no_process(runs: str) -> None:
    script = Path(__file__).parent / "small_study.py"
    options = {"--storage": runs, "--steps": "24", "--seeds": "2", "--concurrency": "1", "--keep": "all"}
    command = [sys.executable, str(script), *(part for pair in options.items() for part in pair)]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 240
        while not records(runs):
            assert driver.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        tree = psutil.Process(driver.pid).children(recursive=True)
    finally:
        driver.kill()
        driver.wait()
    _, alive = psutil.wait_procs(tree, timeout=90)  # Ray's agents notice late that their raylet is gone
    assert not alive, f"orphans after the driver was killed: {alive}"
    kept = {path: path.read_bytes() for path in records(runs)}
    assert 1 <= len(kept) < 4
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    assert finished.returncode == 0, finished.stderr
    assert f"4 asked, {len(kept)} already done, running {4 - len(kept)}" in finished.stdout
    assert {path: path.read_bytes() for path in kept} == kept
    assert len(records(runs)) == 4
