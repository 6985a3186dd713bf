"""A study that is asked to stop, by Ctrl-C or SIGTERM, keeps the state of its trials and leaves no process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from vqlora.ledger import SLOTS, read_attempt
from vqlora.record import Status
from vqlora.store import find_study

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parent / "small_study.py"
STEPS = 480


def kept_steps(runs: str) -> list[int]:
    """Steps after which a state is kept now."""
    files = [path for slot in SLOTS for path in Path(runs).rglob(slot) if path.stat().st_size]
    return [int(path.read_bytes().split(maxsplit=1)[0]) for path in files]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_stopped_study_goes_on_at_the_very_step_and_leaves_no_process(number: signal.Signals, runs: str) -> None:
    command = [sys.executable, str(SCRIPT), "--storage", runs, "--concurrency", "1", "--steps", str(STEPS)]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        end = time.monotonic() + 240
        while not kept_steps(runs):
            assert driver.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        tree = psutil.Process(driver.pid).children(recursive=True)
        driver.send_signal(number)
        output, _ = driver.communicate(timeout=120)
    finally:
        driver.kill()
        driver.wait()
    assert driver.returncode == 130, output
    assert "launch again to run the rest" in output and "Traceback" not in output
    _, alive = psutil.wait_procs(tree, timeout=90)
    assert not alive, f"orphans after the study was stopped: {alive}"
    before = max(kept_steps(runs))
    marks = {round(STEPS * part / 4) for part in range(1, 5)}
    assert before not in marks, "the state is that of the stop, not of the last checkpoint"
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    assert again.returncode == 0, again.stderr
    store = find_study(f"{runs}/small")
    assert [record.status for record in store.read().records] == [Status.DONE] * 2
    for record in store.read().records:
        assert [row["step"] for row in record.curve if "loss" in row] == list(range(1, STEPS + 1))
    (stopped,) = (trial for trial in map(store.trial, store.trials()) if trial.attempts() == [0, 1])
    rows, broken = read_attempt(stopped.attempt(1))
    assert not broken and min(row["step"] for row in rows) == before + 1
