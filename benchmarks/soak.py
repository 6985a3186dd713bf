"""One study for hours, its workers killed now and then: does anything grow?

Question: do the memory of the driver, of a warm worker and of Ray's own processes, the number of processes, open files
of the driver and files in Ray's folder stay what they were? They are looked at every few seconds; the slope an hour is
fitted over what lies after the warm-up, with its standard error from blocks of samples, as neighbours are alike. A
slope within two standard errors of zero, or below 1 % of the mean an hour, counts as none. `ratio` is the last tenth of
the samples over the first tenth.
Command: python benchmarks/soak.py [--minutes 120] [--kill-minutes 5]
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from faults_arena import ROOT, Arena
from faults_checks import places
from faults_round import VICTIMS
from faults_study import study

RESULT = Path(__file__).parent / "results" / "soak.json"
LOOK_SECONDS = 5.0
WARM_SHARE = 0.15  # of the time: imports, caches, the first trials
BLOCKS = 12
GROWTH_SHARE = 0.01  # of the mean in an hour
MIB = 2**20
WATCHED = {
    "driver MiB": VICTIMS["driver"][0],
    "warm worker MiB": VICTIMS["train worker"][0],
    "board MiB": VICTIMS["board"][0],
    "gcs MiB": r"/gcs_server ",
}


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    parser = argparse.ArgumentParser(description="Run one study for hours and see what grows.")
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--kill-minutes", type=float, default=5.0, help="between two killed workers (%(default)s)")
    given = parser.parse_args()
    arena, storage = Arena(), Path(tempfile.mkdtemp(prefix="soak-"))
    try:
        arena.start()
        samples, kills = watch(arena, storage, 60 * given.minutes, 60 * given.kill_minutes)
        report(samples, trials=len(places(storage, study).read().records), kills=kills)
    finally:
        arena.end()
        shutil.rmtree(storage, ignore_errors=True)


def report(samples: Sequence[Mapping[str, float]], *, trials: int, kills: int) -> None:
    """Prints what grows and writes the result, before anything is taken down."""
    rows = [{"what": name, **growth(samples, name)} for name in samples[0] if name != "seconds"]
    for row in rows:
        print(f"{row['what']:20} {row['mean']:10.1f}  {row['per_hour']:+9.2f} +- {row['error']:.2f} an hour  "
              f"x{row['ratio']:.3f}  {'grows' if row['grows'] else 'steady'}")  # fmt: skip
    versions = {name: version(name) for name in ("ray", "torch")} | {"python": platform.python_version()}
    result = {"benchmark": "soak", "device": f"CPU, {psutil.cpu_count()} cores", "versions": versions, "rows": rows,
              "minutes": round(samples[-1]["seconds"] / 60, 1), "trials": trials, "kills": kills}  # fmt: skip
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def watch(arena: Arena, storage: Path, seconds: float, pause: float) -> tuple[list[dict[str, float]], int]:
    """(samples, workers killed) of a study that would last longer."""
    command = [sys.executable, str(ROOT / "benchmarks" / "faults_study.py"), "--storage", str(storage),
               "--executor", "packed", "--concurrency", "1", "--seeds", "5000"]  # fmt: skip
    process, chance = arena.run(command, storage / "log"), random.Random(0)
    start = last_kill = time.monotonic()
    samples: list[dict[str, float]] = []
    kills = 0
    while (now := time.monotonic()) < start + seconds:
        assert process.poll() is None, (storage / "log").read_text()[-3000:]
        samples.append({"seconds": now - start, **look(arena)})
        if now > last_kill + pause:
            kills += arena.kill_one(VICTIMS["train worker"][0], chance) is not None
            last_kill = now
        time.sleep(LOOK_SECONDS)
    for one in arena.processes(VICTIMS["driver"][0]):
        one.send_signal(signal.SIGTERM)
    process.wait(timeout=120)
    return samples, kills


def look(arena: Arena) -> dict[str, float]:
    """What there is now; NaN for a process that is not there."""
    found = {name: _memory(arena.processes(title)) for name, title in WATCHED.items()}
    drivers = [one for one in arena.processes(VICTIMS["driver"][0]) if "nsenter" not in one.name()]
    files = float("nan")
    with suppress(psutil.Error, IndexError):
        files = float(drivers[0].num_fds())
    folder = sum(1 for _ in arena.folder.rglob("*"))
    return {**found, "driver files": files, "processes": float(len(arena.processes())), "ray files": float(folder)}


def _memory(processes: Sequence[psutil.Process]) -> float:
    sizes: list[float] = []
    for process in processes:
        with suppress(psutil.Error):
            sizes.append(process.memory_info().rss / MIB)
    return max(sizes, default=float("nan"))


def growth(samples: Sequence[Mapping[str, float]], name: str) -> dict[str, Any]:
    """Mean, slope an hour and its standard error from block means, and whether it grows."""
    points = np.array([(sample["seconds"] / 3600, sample[name]) for sample in samples])
    points = points[points[:, 0] > WARM_SHARE * points[-1, 0]]
    points = points[~np.isnan(points[:, 1])]
    blocks = np.array([part.mean(axis=0) for part in np.array_split(points, BLOCKS)])
    (slope, _), covariance = np.polyfit(blocks[:, 0], blocks[:, 1], 1, cov=True)
    error, mean = float(np.sqrt(covariance[0, 0])), float(points[:, 1].mean())
    tenth = max(1, len(points) // 10)
    ratio = float(points[-tenth:, 1].mean() / points[:tenth, 1].mean())
    grows = bool(slope > 2 * error and slope > GROWTH_SHARE * mean)
    return {"mean": mean, "per_hour": float(slope), "error": error, "ratio": ratio, "grows": grows}


if __name__ == "__main__":
    main()
