"""The Ray half of a launch: starts or joins a cluster, runs the missing trials as Tune trials, closes what is open."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule

from vqlora.asked import Asked, ask_points, asked_from_json
from vqlora.devices import find_devices, groups_taken_back
from vqlora.isolated import Isolated
from vqlora.monitor import Monitor, Tally
from vqlora.options import Runtime
from vqlora.packing.turns import Turns
from vqlora.record import Record, Status
from vqlora.searchers import StudySearch, with_objectives
from vqlora.store import StudyStore
from vqlora.study import Study
from vqlora.trial import close_trial, values

POLL_SECONDS = "0.25"  # of Train's controller; its default of 2 s paces every report
DRIVER_FAILURES = 2  # restarts of a trial's driver, such as one killed with its node
STOPPING_SCHEDULERS = (FIFOScheduler, AsyncHyperBandScheduler, MedianStoppingRule)
# Tune would copy these into its actors' runtime environment, which Ray writes into its logs and shows on the dashboard.
# Workers have them from their node: its role, its environment, or on one machine the study's own.
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN")
PASSED_ON = (
    "VQLORA_CACHE", "VQLORA_COMMIT", "VQLORA_CLIP_SECONDS", "VQLORA_CLIP_GIB", "VQLORA_CLIP_CACHE_GIB",
    "VQLORA_VIDEO_ROOTS", "AWS_ENDPOINT_URL", "AWS_REGION", "HF_HOME", "HF_HUB_OFFLINE",
)  # fmt: skip


class StudyError(RuntimeError):
    """The study as a whole cannot go on; finished trials are kept."""


def tune_study(
    study: Study,
    runtime: Runtime,
    store: StudyStore,
    listed: Sequence[Asked],
    answers: Mapping[str, Record],
    stale: Mapping[str, int],
) -> tuple[Tally, list[Asked], bool]:
    """Runs what is not answered: (counts, the searcher's trials, known and started, whether it was interrupted).

    stale: {trial: attempt} of records that are no answers to this launch. StudyError if no trial can run.
    """
    scheduler = checked_scheduler(study)
    done = [one for one in listed if one.fingerprint in answers]
    known: dict[str, Mapping[str, Any]] = {one.trial: values(answers[one.fingerprint]) for one in done}
    searched = study.samples * study.seeds if study.searcher else 0
    tally = Tally(
        asked=len(listed) + searched, objective=study.objectives[0], workers=0, finished=known, known=len(known)
    )

    def hear(asked: Asked) -> None:
        tally.finished[asked.trial] = values(answers[asked.fingerprint])
        tally.known += 1
        heard.append(asked)

    heard: list[Asked] = []
    search = _search(study, listed, answers, stale, hear)
    if not search.has_work():
        return tally, heard, False
    with ray_connection(runtime):
        devices = find_devices(runtime)
        common: dict[str, Any] = {"store": store, "runtime": runtime, "devices": devices, "extend": study.extend}
        common["trials"] = tally.asked - tally.known
        executor = Turns(**common, obeys_scheduler=scheduler is not None) if runtime.is_packed else Isolated(**common)
        tally.workers = executor.workers
        label, limit = f"{study.name}/{study.version}", runtime.start_limit_seconds
        monitor = Monitor(tally, label=label, executor=executor, start_limit=limit)
        with groups_taken_back(), executor:
            was_interrupted = _fit(executor, search, scheduler, monitor, store)
        monitor.show(is_last=True)
        _close(store, monitor, executor.name)
    return tally, [*heard, *map(asked_from_json, monitor.asked.values())], was_interrupted


def checked_scheduler(study: Study) -> Any:
    """The study's trial scheduler or None. ValueError for one that pauses trials or changes their recipes."""
    scheduler = study.scheduler() if study.scheduler else None
    if scheduler is not None and type(scheduler) not in STOPPING_SCHEDULERS:  # PBT is a subclass of FIFO
        names = ", ".join(kind.__name__ for kind in STOPPING_SCHEDULERS)
        raise ValueError(
            f"scheduler {type(scheduler).__name__} pauses or mutates trials, which no executor here can; "
            f"use one of {names}"
        )
    return scheduler


def _search(
    study: Study,
    listed: Sequence[Asked],
    answers: Mapping[str, Record],
    stale: Mapping[str, int],
    on_known: Callable[[Asked], None],
) -> StudySearch:
    def in_order(record: Record) -> dict[str, Any]:
        """The record's point with its axes as the space has them: names of trials follow their order."""
        return {axis: record.point[axis] for axis in {**study.space, **record.point} if axis in record.point}

    searcher = with_objectives(study.searcher(), study.objectives, study.space) if study.searcher else None
    return StudySearch(
        listed=[one for one in listed if one.fingerprint not in answers],
        answered={fingerprint: values(record) for fingerprint, record in answers.items()},
        searcher=searcher,
        ask=lambda point: ask_points(study, [point]),
        samples=study.samples,
        stale=stale,
        on_known=on_known,
        known=[point for point in map(in_order, sorted(answers.values(), key=_start)) if point not in study.points],
    )


def _start(record: Record) -> str:
    return record.started_at or ""


def _fit(executor: Turns | Isolated, search: Any, scheduler: Any, monitor: Monitor, store: StudyStore) -> bool:
    """Runs Tune until nothing is left; whether it was interrupted. StudyError with the reason if nothing can run."""
    tuner = tune.Tuner(
        executor.trainable(),
        param_space=executor.config(),
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=scheduler,
            num_samples=-1,  # the search says when it is finished
            max_concurrent_trials=executor.concurrency,
            reuse_actors=executor.reuses_actors,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=store.place.inside("_ray").url,
            verbose=0,
            callbacks=[monitor],
            stop=EndOfStudy(monitor),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # hosts and Train keep the checkpoints
            failure_config=tune.FailureConfig(max_failures=DRIVER_FAILURES),
        ),
    )
    with _signals() as received:
        tuner.fit()
    if monitor.tally.count(Status.FAILED):  # all at once, it may be, before the monitor looked again
        monitor.ends_study = monitor.ends_study or executor.failure()
    if monitor.ends_study:
        raise StudyError(f"{monitor.ends_study}\nfinished trials are kept; launch again to run the rest")
    return bool(received)


class EndOfStudy(tune.Stopper):
    """Ends the Tune run when its monitor heard that no trial can run any more."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._monitor.ends_study is not None


def _close(store: StudyStore, monitor: Monitor, executor: str) -> None:
    """Writes the records of trials that ended without one: stopped with their process, or their driver failed."""
    for name, row in monitor.tally.finished.items():
        if name not in monitor.asked:
            continue
        trial = store.trial(name)
        record = trial.record()
        if record is None and row["status"] == Status.DONE:
            raise StudyError(
                f"{name} is done, but its record is not in {store.place.url} as seen from here: the storage is not "
                "shared by all nodes; give --storage a network folder or a bucket"
            )
        if record is None or record.attempt < max(trial.attempts(), default=0):
            asked, status = asked_from_json(monitor.asked[name]), Status(row["status"])
            error = str(row.get("error")) if status is Status.FAILED else None
            close_trial(asked, store, status=status, error=error, executor=executor)


@contextmanager
def ray_connection(runtime: Runtime) -> Iterator[None]:
    """A Ray connection: the one that is open, the cluster RAY_ADDRESS or `ray start` names, or a local one."""
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update(KEYS)
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # the ledger keeps what Tune's files would
    os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # training rows bring no validation score
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")  # the newer one prints its tables at verbosity 0 too
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    variables = {
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": POLL_SECONDS,
        "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process a run; a lost worker goes on from its checkpoint anyway
        "RAY_CHDIR_TO_TRIAL_DIR": "0",  # else a relative --data or --base means another folder in a worker
    }
    variables = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(variables)  # Train reads them where the run is started, which is here or in a trial's driver
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    context = ray.init(runtime_env={"env_vars": variables | passed}, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    if context.dashboard_url:
        print(f"dashboard: http://{context.dashboard_url}", flush=True)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Makes SIGTERM, which `ray job stop` sends, end the Tune run as Ctrl-C does; gives the signals received."""
    received: list[int] = []

    def forward(number: int, frame: Any) -> None:
        received.append(number)
        signal.raise_signal(signal.SIGUSR1)  # Tune's own signal for a graceful end

    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _trial_name(trial: Any) -> str:
    return str(trial.config["asked"]["trial"])
