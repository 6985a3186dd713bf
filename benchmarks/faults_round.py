"""One study that is killed, again and again, until it is done: what `benchmarks/faults.py` repeats over seeds."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from faults_arena import NODE_TITLE, ROOT, Arena, until
from faults_checks import finished, places, run_again, superseded
from faults_study import study

# What may be killed: its title, and how often it is chosen. Ray names a process after its class.
VICTIMS: dict[str, tuple[str, int]] = {
    "driver": (r"python\S* \S*faults_study\.py", 4),
    "trial actor": (r"^ray::(ResourceTrainable|ImplicitFunc)", 4),
    "train worker": (r"^ray::RayTrainWorker", 6),
    "controller": (r"^ray::TrainController", 1),
    "hosts": (r"^ray::Hosts", 1),
    "board": (r"^ray::Board", 1),
    "raylet": (NODE_TITLE, 3),
    "head": (r"/gcs_server ", 1),
    "everything": ("", 2),
}
PACKED_ONLY = ("hosts", "board")
# Executor, trials that share steps, seeds of the study, longest quiet between two kills in seconds.
MODES = {
    "turns": ("packed", 1, 2, 12.0),
    "together": ("packed", 2, 2, 5.0),  # all its trials begin at once and end soon
    "isolated": ("isolated", 1, 1, 12.0),  # a trial pays its start anew, so there are fewer
}
APPEAR_SECONDS = 90.0  # a victim or a trial that isn't there yet is waited for
IN_TRIAL = 0.8  # share of the kills that wait for a trial to begin; starting takes most of a launch's time
LAUNCH_LIMIT = 25
HANG_SECONDS = 420.0  # a launch that nobody kills ends within this, however busy the machine
BACK_LIMIT_SECONDS = 60.0


@dataclass(kw_only=True)
class Round:
    """The study of one seed. mode: one of MODES; victims: in the order in which they fall."""

    seed: int
    arena: Arena
    folder: Path
    only: tuple[str, ...] = ()
    modes: tuple[str, ...] = tuple(MODES)
    kills_limit: int = 6
    kills: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"run_again": 0, "hangs": 0, "launches": 0})
    back: list[float] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.mode = self.chance.choice(self.modes)
        self.concurrency = self.chance.choice((1, 1, 2))
        self.planned = self.chance.randint(max(1, self.kills_limit // 2), self.kills_limit)
        executor, together, seeds, self.quiet = MODES[self.mode]
        self.study = replace(study, seeds=seeds)
        self.command = [sys.executable, str(ROOT / "benchmarks" / "faults_study.py"), "--storage", str(self.folder),
                        "--executor", executor, "--together", str(together), "--seeds", str(seeds),
                        "--concurrency", str(self.concurrency)]  # fmt: skip
        self.store = places(self.folder, self.study)
        self.log = self.folder.with_suffix(".log")

    def run(self) -> None:
        """Until the study ends with status 0, then once more, which must start nothing."""
        while True:
            before = finished(self.store)
            status = self._launch()
            self.counts["run_again"] += run_again(before, finished(self.store))
            self._note(status)
            if status == 0:
                self.counts["run_again"] += superseded(self.store)
                return
            if self.counts["launches"] >= LAUNCH_LIMIT:
                raise TimeoutError(f"seed {self.seed}: not done after {LAUNCH_LIMIT} launches; see {self.log}")

    def relaunch_finished(self) -> bool:
        """Whether the finished study, launched again, starts no trial and changes nothing."""
        before, size = finished(self.store), self.log.stat().st_size
        status = self.arena.run(self.command, self.log).wait(timeout=HANG_SECONDS)
        return status == 0 and finished(self.store) == before and b"running 0" in self.log.read_bytes()[size:]

    def _launch(self) -> int:
        """One launch, with kills while any are planned; its status, negative where it was killed."""
        self.counts["launches"] += 1
        process = self.arena.run(self.command, self.log)
        end = time.monotonic() + HANG_SECONDS
        while len(self.kills) < self.planned:
            victim = self._choose()
            if (status := self._pause(process)) is not None:
                return status
            if not self._kill(victim, process):
                continue
            end = time.monotonic() + HANG_SECONDS
            if victim in ("driver", "head", "everything"):
                break
        return self._wait(process, end)

    def _pause(self, process: subprocess.Popen[bytes]) -> int | None:
        """A random while, most times after a trial has begun; the launch's status if it ends meanwhile."""
        begun, end = self._attempts(), time.monotonic() + APPEAR_SECONDS
        if self.chance.random() < IN_TRIAL:
            while self._attempts() == begun and process.poll() is None and time.monotonic() < end:
                time.sleep(0.1)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=self.chance.uniform(0.0, self.quiet))
        return None

    def _attempts(self) -> int:
        return sum(1 for _ in self.folder.glob("faults/*/*/attempt-*"))

    def _choose(self) -> str:
        known = {name: weight for name, (_, weight) in VICTIMS.items() if not self.only or name in self.only}
        known = {name: weight for name, weight in known.items() if self._is_here(name)}
        return self.chance.choices(list(known), list(known.values()))[0]

    def _is_here(self, name: str) -> bool:
        return name not in PACKED_ONLY or self.mode != "isolated"

    def _kill(self, victim: str, process: subprocess.Popen[bytes]) -> bool:
        """Whether the victim was there and was killed."""
        title, _ = VICTIMS[victim]
        if victim == "everything":
            self.kills.append(victim)
            self.arena.kill_all()
            return True
        end = time.monotonic() + APPEAR_SECONDS
        while process.poll() is None and time.monotonic() < end:
            if self.arena.kill_one(title, self.chance):
                self.kills.append(victim)
                if victim == "raylet":
                    time.sleep(self.chance.uniform(0, 5))
                    self.arena.fill()
                return True
            time.sleep(0.05)
        return False

    def _wait(self, process: subprocess.Popen[bytes], end: float) -> int:
        """The launch's status; a launch that hangs is killed and counted."""
        try:
            return process.wait(timeout=max(1.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.counts["hangs"] += 1
            self.arena.kill_all()
            return -9

    def _note(self, status: int) -> None:
        """Sees that a cluster is there for the next launch, whole, with what the last one held given back."""
        self.statuses.append(status)
        if not self.arena.is_alive:
            self.arena.kill_all()
            self.arena.start()
        else:
            self._see_resources()

    def _see_resources(self) -> None:
        """Notes the seconds until all CPUs are free, at most BACK_LIMIT; brings nodes that are missing."""
        ended = time.time()

        def are_back() -> bool:
            free, total, seen = self.arena.cpus()
            return seen > ended and free == total

        with suppress(TimeoutError):
            until(are_back, BACK_LIMIT_SECONDS, "resources did not come back")
        self.back.append(round(time.time() - ended, 2))
        self.arena.fill()
