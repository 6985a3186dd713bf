"""What a running study shows: a line or a live block on the terminal, and metrics for Prometheus.

Ray 2.60 has no page and no metrics for Tune, so the study's driver publishes `METRICS`, tagged by study;
`deploy/grafana.json` draws these and nothing else.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

from ray import tune
from ray.util.metrics import Gauge

from vqlora.packing.board import STARVED
from vqlora.record import Status
from vqlora.study import Objective

METRICS = {
    "vqlora_trials_asked": "Trials the study asks for",
    "vqlora_trials_running": "Trials that run now",
    "vqlora_trials_done": "Trials done, those from earlier launches among them",
    "vqlora_trials_stopped": "Trials stopped by the scheduler",
    "vqlora_trials_failed": "Trials that failed",
    "vqlora_trials_out_of_memory": "Trials that did not fit their device",
    "vqlora_best_score": "Best value so far of the first objective",
    "vqlora_device_hours": "Hours times devices that this launch has held",
}
REFRESH_SECONDS = 1.0
LOOK_SECONDS = 2.0
PLAIN_SECONDS = 15.0  # between lines where the output is no terminal


@dataclass(kw_only=True)
class Tally:
    """Counts of one launch. finished: last rows by trial, `known` of them from before it; workers: devices held.

    taken: trials that warm workers have, as last heard; None where each that Tune started has workers of its own.
    """

    asked: int
    objective: Objective
    workers: int
    finished: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)
    known: int = 0
    taken: int | None = None

    def count(self, status: Status) -> int:
        """How many trials ended so."""
        return sum(row.get("status") == status for row in self.finished.values())

    @property
    def best(self) -> tuple[str, float] | None:
        """(trial, value) that is best by the first objective among those done."""
        metric, sign = self.objective.metric, 1 if self.objective.direction == "max" else -1
        done = [
            (t, row[metric]) for t, row in self.finished.items() if row.get("status") == Status.DONE and metric in row
        ]
        return max(done, key=lambda pair: sign * pair[1]) if done else None

    @property
    def running(self) -> int:
        """Trials on a device; others that were started wait for a warm worker to take them."""
        started = len(self.started - self.finished.keys())
        return started if self.taken is None else min(self.taken, started)

    def seconds_left(self, elapsed: float) -> float | None:
        """At the rate of this launch so far; None before its first trial ended."""
        here, left = len(self.finished) - self.known, self.asked - len(self.finished)
        return left * elapsed / here if here else None

    def line(self, elapsed: float) -> str:
        """The state in one line, `elapsed` seconds after the start."""
        done, failed = self.count(Status.DONE), self.count(Status.FAILED)
        parts = [f"{done}/{self.asked} done", f"{self.running} running", f"{failed} failed"]
        others = {"stopped": self.count(Status.STOPPED), "out of memory": self.count(Status.OUT_OF_MEMORY)}
        parts += [f"{number} {word}" for word, number in others.items() if number]
        if self.best:
            parts.append(f"best {self.objective.metric} {self.best[1]:.3g} ({self.best[0].rsplit('-', 1)[0]})")
        left = self.seconds_left(elapsed)
        parts += [f"about {duration(left)} left"] if left else []
        return " · ".join(parts)

    def metrics(self, elapsed: float) -> dict[str, float]:
        """Values of `METRICS`; the best score is absent until there is one."""
        values = {
            "vqlora_trials_asked": float(self.asked),
            "vqlora_trials_running": float(self.running),
            "vqlora_trials_done": float(self.count(Status.DONE)),
            "vqlora_trials_stopped": float(self.count(Status.STOPPED)),
            "vqlora_trials_failed": float(self.count(Status.FAILED)),
            "vqlora_trials_out_of_memory": float(self.count(Status.OUT_OF_MEMORY)),
            "vqlora_device_hours": self.workers * elapsed / 3600,
        }
        return values | ({"vqlora_best_score": self.best[1]} if self.best else {})


class Executor(Protocol):
    """What a study is run by, as far as its monitor asks."""

    def drop(self, trial: str) -> None:
        """Tune's scheduler stopped this trial."""
        ...

    def failure(self) -> str | None:
        """Why no trial can run any more, else None."""
        ...

    def taken(self) -> int | None:
        """As `Tally.taken`."""
        ...


class Monitor(tune.Callback):
    """Watches a study from Tune's loop, and its executor now and then.

    start_limit: seconds within which the first trial must start.

    asked: {trial: its config} of all that Tune started. ends_study: why no trial can run any more, else None.
    """

    def __init__(
        self,
        tally: Tally,
        *,
        label: str,
        executor: Executor,
        start_limit: float,
        stream: TextIO | None = None,
    ) -> None:
        self.tally, self._executor, self._stream = tally, executor, stream or sys.stdout
        self._start_limit = start_limit
        self.asked: dict[str, Mapping[str, Any]] = {}
        self.ends_study: str | None = None
        self._gauges = {name: Gauge(name, description=text, tag_keys=("study",)) for name, text in METRICS.items()}
        self._tags, self._start, self._shown = {"study": label}, time.monotonic(), 0.0
        self._looked = 0.0
        self._working: set[str] = set()  # trials that a worker has taken

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore that we never do."""
        return {}

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self.ends_study = self.ends_study or self._executor.failure()
            self.tally.taken = self._executor.taken()
            if not self.tally.started and now - self._start > self._start_limit:
                self.ends_study = f"no trial's driver could start for {self._start_limit:.0f} s; {STARVED}"
        if now - self._shown >= (REFRESH_SECONDS if self._stream.isatty() else PLAIN_SECONDS):
            self.show()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        asked = trial.config["asked"]
        self.asked[asked["trial"]] = asked
        self.tally.started.add(asked["trial"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        name = trial.config["asked"]["trial"]
        if "status" not in result:
            self._working.add(name)
            return
        if result.get("is_starved") and not self._working - self.tally.finished.keys() - {name}:
            self.ends_study = self.ends_study or str(result["error"])
        self._ended(trial, result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self._is_open(trial):
            self._executor.drop(trial.config["asked"]["trial"])
            self._ended(trial, {"status": Status.STOPPED.value})

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if self._is_open(trial):
            self._ended(trial, {"status": Status.FAILED.value, "error": f"its driver failed: {trial.error_file}"})

    def _is_open(self, trial: Any) -> bool:
        return self.ends_study is None and trial.config["asked"]["trial"] not in self.tally.finished

    def _ended(self, trial: Any, row: Mapping[str, Any]) -> None:
        self.tally.finished[trial.config["asked"]["trial"]] = dict(row)
        self.show()

    def show(self, *, is_last: bool = False) -> None:
        """Prints the state and sets the gauges."""
        now = time.monotonic()
        elapsed = now - self._start
        for name, value in self.tally.metrics(elapsed).items():
            self._gauges[name].set(value, tags=self._tags)
        line = f"[{duration(elapsed)}] {self.tally.line(elapsed)}"
        if self._stream.isatty():
            # overwrites the line before: progress needs no scroll-back
            self._stream.write(f"\r\x1b[2K{line}" + ("\n" if is_last else ""))
        else:
            self._stream.write(line + "\n")
        self._stream.flush()
        self._shown = now


def duration(seconds: float) -> str:
    """'42 s', '3 min 05 s', '2 h 10 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
