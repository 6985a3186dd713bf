"""What the tests of the running half share: one Ray cluster a session, and a small study that is cheap to run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch; workers inherit it
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A local Ray with two CPUs, as a study script would start it."""
    from vqlora.options import Runtime
    from vqlora.tuning import ray_connection

    os.environ.pop("RAY_ADDRESS", None)
    with ray_connection(Runtime()):
        yield


@pytest.fixture
def runs(tmp_path: Path) -> str:
    """An empty storage."""
    return str(tmp_path / "runs")
