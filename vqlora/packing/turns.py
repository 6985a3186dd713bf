"""The packed executor: one Ray Train run of warm workers, one per device, beside a Tune run of light trials.

The workers (`host`) load imports, base, frames and features once. Trials take turns on them, or share their steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray
import ray.train
from ray import tune
from ray.exceptions import RayActorError, RayError
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from vqlora.devices import CONTROLLER_RETRIES, Devices, driver_resources, limit_starts
from vqlora.extend import Extend
from vqlora.options import Runtime
from vqlora.packing.board import Board
from vqlora.packing.guest import Guest
from vqlora.packing.host import NAMESPACE, work
from vqlora.store import StudyStore

CLOSE_SECONDS = 60.0  # for a stopped trial to write its record
LEAVE_SECONDS = 20.0  # for workers to keep their trials' states and leave; then they are killed
POLL_SECONDS = 0.1
SLOTS = 16  # trials that share their steps on a GPU at most: more would wait for arithmetic, not for launches
NAME_SECONDS = 10.0  # for Ray to notice that the driver before this one was killed, and to free the board's name


class Turns:
    """Runs the trials of one study on warm workers. Use as a context manager around the Tune run.

    ValueError if this study already runs on the cluster: its board's name is taken.
    """

    name = "packed"
    reuses_actors = True

    def __init__(
        self,
        *,
        store: StudyStore,
        runtime: Runtime,
        devices: Devices,
        trials: int,
        obeys_scheduler: bool,
        extend: Extend = None,
    ) -> None:
        self._label = f"{store.study}/{store.version}"
        self._runtime = runtime
        self.workers = max(1, min(devices.count, trials, runtime.concurrency or trials))
        # one more than there are places: the next trial waits on the board when one is free
        together = runtime.together or (SLOTS if devices.is_gpu else 1)
        self.concurrency = self.workers * together + 1
        self._config = {
            "board": f"{self._label} board",
            "storage": runtime.storage,
            "is_gpu": devices.is_gpu,
            "waits": obeys_scheduler,
            "together": together,
            "label": devices.label(self.name),
            "memory_cap_gib": runtime.memory_cap_gib,
            "extend": extend,
        }
        self._plan = {
            "workers": self.workers,
            "per_worker": devices.per_worker,
            "name": self._label.replace("/", "-"),
            "files": store.place.inside("_ray").url,
            "start_limit": runtime.start_limit_seconds,
            "max_failures": 3 * trials + 3,  # the board ends a trial or the study earlier, and says why
        }

    def __enter__(self) -> Turns:
        start_limit, extend = self._runtime.start_limit_seconds, self._config["extend"]
        self.board = self._named(Board, self._config["board"])(start_limit=start_limit, extend=extend)
        # an actor, not a thread: it can be killed whatever state the Train run is in
        self._hosts: Any = self._named(Hosts, f"{self._label} hosts")()
        self._run = self._hosts.run.remote(self._config, self._plan)
        return self

    def _named(self, kind: type, name: str) -> Callable[..., Any]:
        """What starts an actor of this name beside the driver: on another node it could be lost without its driver.

        Raises ValueError where another launch has the name for longer than one that was killed would.
        """
        beside = NodeAffinitySchedulingStrategy(node_id=ray.get_runtime_context().get_node_id(), soft=False)
        actor: Any = ray.remote(kind).options(name=name, namespace=NAMESPACE, num_cpus=0, scheduling_strategy=beside)

        def start(**given: Any) -> Any:
            end = time.monotonic() + NAME_SECONDS
            while True:
                try:
                    return actor.remote(**given)
                except ValueError as error:
                    if time.monotonic() > end:
                        raise ValueError(
                            f"study {self._label} already runs on this cluster; wait for it, or use --name"
                        ) from error
                time.sleep(POLL_SECONDS)

        return start

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Sends the workers away, after those whose trial the scheduler stopped have written its record."""
        end = time.monotonic() + CLOSE_SECONDS
        with suppress(RayActorError):  # the board's process is gone, and with it the workers' orders
            while kind is None and not ray.get(self.board.is_settled.remote()) and time.monotonic() < end:
                time.sleep(POLL_SECONDS)
            ray.get(self.board.close.remote())
            ray.wait([self._run], timeout=LEAVE_SECONDS)
        ray.kill(self._hosts)
        ray.kill(self.board)

    def config(self) -> dict[str, Any]:
        """What Tune adds to every trial's config."""
        return {"board": self._config["board"]}

    def trainable(self) -> Any:
        """What Tune runs as a trial."""
        return tune.with_resources(Guest, driver_resources())

    def failure(self) -> str | None:
        """Why no trial can run any more, else None."""
        try:
            reason: str | None = ray.get(self.board.failure.remote())
        except RayActorError:
            return "the process that holds the study's queue was killed"
        if reason is None and ray.wait([self._run], timeout=0)[0]:
            try:
                ray.get(self._run)
            except RayError as error:
                cause = getattr(error, "cause", None) or error  # of an error inside the run, not of its process
                return (
                    f"the run of the warm workers ended: {type(cause).__name__}: {str(cause).strip().splitlines()[0]}"
                )
        return reason

    def taken(self) -> int | None:
        """Trials that a worker has now."""
        try:
            return int(ray.get(self.board.taken.remote()))
        except RayActorError:  # `failure` says so
            return 0

    def drop(self, trial: str) -> None:
        """Tune's scheduler stopped this trial."""
        self.board.drop.remote(trial)


class Hosts:
    """Holds the Ray Train run of the warm workers. An actor."""

    def run(self, config: dict[str, Any], plan: dict[str, Any]) -> None:
        """Until the board is closed; if the run fails before, the board says why."""
        limit_starts(plan["start_limit"])
        trainer = DataParallelTrainer(
            work,
            train_loop_config=config,
            scaling_config=ray.train.ScalingConfig(
                num_workers=plan["workers"], use_gpu=config["is_gpu"], resources_per_worker=plan["per_worker"]
            ),
            run_config=ray.train.RunConfig(
                name=plan["name"],
                storage_path=plan["files"],
                failure_config=ray.train.FailureConfig(
                    max_failures=plan["max_failures"], controller_failure_limit=CONTROLLER_RETRIES
                ),
            ),
        )
        for retries in reversed(range(CONTROLLER_RETRIES + 1)):
            try:
                trainer.fit()
            except ray.train.TrainingFailedError as error:
                lines = str(error).strip().splitlines() or [type(error).__name__]
                board: Any = ray.get_actor(config["board"], namespace=NAMESPACE)
                ray.get(board.close.remote(f"the warm workers ended: {lines[-1]}"))
            except RayActorError:  # the run's controller was killed, and its workers with it
                if retries:
                    continue
                raise
            return
