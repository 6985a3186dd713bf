"""A trial whose disk fills up leaves no record, and goes on when there is room again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A disk of its own, in a mount namespace of its own, that is filled up to the last block once the trial has begun.
ON_A_FULL_DISK = """
import os, subprocess, sys
from pathlib import Path
from trials import WARM, recipe
from vqlora.asked import Asked
from vqlora.further import Terminal
from vqlora.ledger import read_attempt
from vqlora.recipe import Schedule
from vqlora.store import study_store
from vqlora.trial import run_trial

disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], check=True)
wanted = recipe(schedule=Schedule(steps=8, batch_size=2, learning_rate=1e-2, evaluations=2))
known = {"study": "disk", "version": "1", "trial": "a", "point": {"rank": 4}, "seed": 0}
asked = Asked(**known, recipe=wanted, fingerprint=wanted.fingerprint())
store, filler = study_store(str(disk), "disk", "1"), disk / "filler"


class Filling(Terminal):
    def send(self, row):
        if row["step"] == 6:
            with filler.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass


def run():
    return run_trial(asked, store, device="cpu", executor="alone", channel=Filling(steps=8), warm=WARM)


try:
    run()
    print("wrote a record on a full disk")
except OSError as error:
    print(f"raised: {error.strerror}; record: {store.trial('a').record()}; answers: {len(store.read().answers())}")
filler.unlink()
Filling.send = lambda *_: None
record = run()
steps = [row["step"] for row in record.curve if "loss" in row]
print(f"then: {record.status.value}, attempt {record.attempt}, steps {steps}")
print("went on at", min(row["step"] for row in read_attempt(store.trial("a").attempt(1))[0] if "loss" in row))
"""


@pytest.mark.slow
def test_a_full_disk_leaves_no_record_and_the_trial_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", "--mount", *as_root, sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "raised: No space left on device; record: None; answers: 0" in done.stdout
    assert f"then: done, attempt 1, steps {list(range(1, 9))}" in done.stdout
    assert "went on at 5" in done.stdout
