"""A study of ten thousand trials: what the driver pays for each, and whether its memory stays bounded.

Question: what does a launch cost beside the trials themselves? Expanding, checking, reading what is there, and running
trials that do nothing: real Tune trials and a real board, whose worker finishes each at once and writes no record.
`ratio` is microseconds a trial of the longer study over those of the shorter one: 1 means that the cost is linear. The
last row is the driver's memory over Tune's trials: the slope is what one more trial keeps.
Command: python benchmarks/many_trials.py [--trials 1000 10000] [--run 2000]
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import ray
from faults_study import study as small
from ray import tune

from vqlora.asked import Asked, expand
from vqlora.devices import Devices
from vqlora.launch import check, run
from vqlora.monitor import Monitor, Tally
from vqlora.options import Runtime
from vqlora.packing.board import Board
from vqlora.packing.turns import Turns
from vqlora.record import Record, Status
from vqlora.searchers import StudySearch
from vqlora.store import study_store
from vqlora.study import Study
from vqlora.trial import NOWHERE
from vqlora.tuning import _fit, ray_connection

RESULT = Path(__file__).parent / "results" / "many_trials.json"


def study(trials: int) -> Study:
    """Of ranks, which are cheap to tell apart, and seeds."""
    return replace(small, name="many", space={"rank": tune.grid_search([1, 2])}, seeds=trials // 2)


def main() -> None:
    parser = argparse.ArgumentParser(description="What ten thousand trials cost the driver.")
    parser.add_argument("--trials", type=int, nargs=2, default=[1000, 10_000], help="lengths that are compared")
    parser.add_argument("--run", type=int, default=2000, help="trials that do nothing, through Tune")
    given = parser.parse_args()
    few, many = (launched(trials) for trials in given.trials)
    rows: list[dict[str, Any]] = [
        {"stage": stage, "us_a_trial": many[stage], "us_a_trial_of_few": few[stage], "ratio": many[stage] / few[stage]}
        for stage in many
    ]
    rows.append({"stage": "run", **run_dry(given.run)})
    for row in rows:
        print("  ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{value}" for key, value in row.items()))
    versions = {name: version(name) for name in ("ray", "pyarrow")} | {"python": platform.python_version()}
    result = {"benchmark": "many_trials", "device": platform.processor() or platform.machine(), "versions": versions,
              "trials": given.trials, "rows": rows}  # fmt: skip
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def launched(trials: int) -> dict[str, float]:
    """Microseconds a trial of each stage of a launch whose trials are all answered."""
    seconds: dict[str, float] = {}
    asked = timed(seconds, "expand", lambda: expand(study(trials)))
    timed(seconds, "check", lambda: check(study(trials), asked))
    with tempfile.TemporaryDirectory() as storage:
        store = study_store(storage, "many", study(trials).version)
        for one in asked:
            store.trial(one.trial).write_record(record(one))
        timed(seconds, "read", store.read)
        arguments = ["--storage", storage, "--seeds", str(trials // 2)]
        status = timed(seconds, "launch again", lambda: run(study(trials), arguments, Runtime(report=False)))
    assert status == 0
    return {stage: 1e6 * value / trials for stage, value in seconds.items()}


def record(asked: Asked) -> Record:
    """An answer as small as they come."""
    curve = [{"step": step, "loss": 1.0} for step in range(asked.recipe.schedule.steps)]
    metrics = {"val": {"loss": 1.0}, "test": {"loss": 1.0}}
    return Record(**asked.to_json(), status=Status.DONE, provenance=NOWHERE, curve=curve, metrics=metrics)


def timed(seconds: dict[str, float], stage: str, work: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = work()
    seconds[stage] = time.perf_counter() - start
    return result


class DryTurns(Turns):
    """Turns whose warm worker is a thread here: it takes a trial from the board and says at once that it is done."""

    def __enter__(self) -> DryTurns:
        self.board = self._named(Board, self._config["board"])(start_limit=600.0)
        threading.Thread(target=self._work, daemon=True).start()
        return self

    def _work(self) -> None:
        ray.get(self.board.join.remote(0, "dry"))
        while True:
            order, asked = ray.get(self.board.take.remote("dry"))
            if order == "leave":
                return
            if order == "wait":
                time.sleep(0.01)
                continue
            ray.get(self.board.finish.remote(asked["trial"], "dry", {"status": "done", "step": 1, "val.loss": 1.0}))

    def failure(self) -> str | None:
        return None

    def __exit__(self, *_: object) -> None:
        ray.get(self.board.close.remote())
        ray.kill(self.board)


def run_dry(trials: int) -> dict[str, float]:
    """Milliseconds and kilobytes of the driver a trial that does nothing, over the later half of the trials."""
    asked = expand(study(trials))
    seen: list[tuple[int, float, float]] = []

    class Watch(Monitor):
        def on_trial_result(self, iteration: int, trials: Sequence[Any], trial: Any, result: Any, **info: Any) -> None:
            super().on_trial_result(iteration, list(trials), trial, result, **info)
            seen.append((len(self.tally.finished), time.perf_counter(), psutil.Process().memory_info().rss / 1024))

    with tempfile.TemporaryDirectory() as storage, ray_connection(Runtime()):
        runtime, devices = Runtime(storage=storage), Devices(per_worker={"CPU": 1}, count=1, is_gpu=False)
        store = study_store(storage, "many", "1")
        executor = DryTurns(store=store, runtime=runtime, devices=devices, trials=trials, obeys_scheduler=False)
        tally = Tally(asked=trials, objective=small.objectives[0], workers=1)
        monitor = Watch(tally, label="many/1", executor=executor, start_limit=600)
        with executor:
            _fit(executor, StudySearch(listed=asked, answered={}), None, monitor, store)
    later = np.array(seen[len(seen) // 2 :])
    per_trial = np.polyfit(later[:, 0], later[:, 1], 1)[0], np.polyfit(later[:, 0], later[:, 2], 1)[0]
    peak_kib = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return {"trials": trials, "ms_a_trial": 1e3 * per_trial[0], "kib_a_trial": float(per_trial[1]),
            "peak_mib": peak_kib / 1024}  # fmt: skip


if __name__ == "__main__":
    main()
