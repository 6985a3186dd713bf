"""A study whose disk fills up ends with one line and goes on when there is room again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vqlora.record import Status
from vqlora.store import find_study

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parent / "small_study.py"
# A disk of its own in a mount namespace of its own; what it holds at the end is copied out.
ON_A_SMALL_DISK = """
mount -t tmpfs -o size={size}k none {disk}
{command}
echo "first: $?"
mount -o remount,size=64m {disk}
{command}
echo "second: $?"
cp -r {disk}/. {kept}
"""


@pytest.mark.parametrize("size", [64, 200], ids=["no room for a state", "no room for the second trial"])
def test_a_full_disk_is_one_line_and_costs_no_trial(size: int, tmp_path: Path) -> None:
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    kept.mkdir()
    command = f"{sys.executable} {SCRIPT} --storage {disk} --concurrency 1 --keep all"
    script = ON_A_SMALL_DISK.format(size=size, disk=disk, command=command, kept=kept)
    inside = ["unshare", "--mount", *([] if is_root() else ["--user", "--map-root-user"])]
    done = subprocess.run([*inside, "sh", "-c", script], capture_output=True, text=True, check=False, timeout=600)
    assert "first: 1" in done.stdout and "second: 0" in done.stdout, done.stdout + done.stderr
    assert "No space left on device" in done.stderr and "Traceback" not in done.stderr
    store = find_study(f"{kept}/small")
    assert [record.status for record in store.read().records] == [Status.DONE] * 2
    for record in store.read().records:
        assert [row["step"] for row in record.curve if "loss" in row] == [1, 2, 3, 4]


def is_root() -> bool:
    return os.geteuid() == 0
