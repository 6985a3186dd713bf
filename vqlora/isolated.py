"""The isolated executor: each Tune trial drives a Ray Train run of its own, with one or several workers.

The pattern and its traps are Ray 2.60's: the run's name is fixed so that Train finds its own checkpoints again; driver
resources are tiny so that drivers never hold what their workers wait for; the controller's retries are bounded, by
default they are not; every report waits for a poll, so only news are reported.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray.train
from ray import tune
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError  # no public name in 2.60

from vqlora.asked import Asked, asked_from_json
from vqlora.devices import CONTROLLER_RETRIES, Devices, driver_resources, limit_starts
from vqlora.extend import Extend, once
from vqlora.ledger import Ledger
from vqlora.options import Runtime
from vqlora.packing.board import STARVED
from vqlora.record import Status
from vqlora.store import StudyStore, TrialStore, study_store
from vqlora.trial import close_trial, is_news, run_trial, state_from_bytes, values

STATE_FILE = "state.bin"


class Isolated:
    """Runs each trial of a study in its own Train run. Use as a context manager around the Tune run."""

    name = "isolated"
    reuses_actors = False

    def __init__(
        self, *, store: StudyStore, runtime: Runtime, devices: Devices, trials: int, extend: Extend = None
    ) -> None:
        at_once = max(1, devices.count // runtime.workers)
        self.workers = min(at_once, trials, runtime.concurrency or trials) * runtime.workers
        self.concurrency = self.workers // runtime.workers
        self._plan = {
            "storage": runtime.storage,
            "files": store.place.inside("_ray").url,
            "workers": runtime.workers,
            "max_failures": runtime.max_failures,
            "start_limit": runtime.start_limit_seconds,
            "memory_cap_gib": runtime.memory_cap_gib,
            "devices": asdict(devices),
            "extend": extend,
        }

    def __enter__(self) -> Isolated:
        return self

    def __exit__(self, *_: object) -> None: ...

    def config(self) -> dict[str, Any]:
        """What Tune adds to every trial's config."""
        return {"plan": self._plan}

    def trainable(self) -> Any:
        """What Tune runs as a trial."""
        return tune.with_resources(drive, driver_resources())

    def failure(self) -> str | None:
        """Nothing ends all trials at once: each has its own run, with bounds of its own."""

    def taken(self) -> int | None:
        """Every trial that Tune started has workers of its own."""

    def drop(self, trial: str) -> None:
        """Tune's scheduler stopped this trial: Tune kills its driver, and Train's cleaner gives the workers back."""


def drive(config: Mapping[str, Any]) -> None:
    """One trial's driver. Runs in Tune's actor; no model is loaded here."""
    plan, stale = config["plan"], config["stale"]
    once(plan["extend"])
    asked = asked_from_json(config["asked"])
    limit_starts(plan["start_limit"])
    store = study_store(plan["storage"], asked.study, asked.version)
    trial, name = store.trial(asked.trial), _run_name(asked, stale)
    trainer = _trainer(config, name)
    try:
        if trial.newer_record(stale) is None:  # else a driver before this one was killed when all was done
            trainer.fit()
    except ray.train.TrainingFailedError as error:
        if isinstance(getattr(error, "controller_failure", None), WorkerGroupStartupTimeoutError):
            reason = f"no worker could be started for {plan['start_limit']:.0f} s; {STARVED}"
            tune.report({"status": Status.FAILED.value, "trial": asked.trial, "error": reason, "is_starved": True})
            return
        if trial.newer_record(stale) is None:
            close_trial(asked, store, status=Status.FAILED, error=str(error).strip(), executor="isolated")
    record = trial.newer_record(stale)
    assert record is not None, "run_trial writes a record or the run fails"
    store.place.inside("_ray").remove_folder(name)
    tune.report(values(record))


def _trainer(config: Mapping[str, Any], name: str) -> Any:
    """The trial's Ray Train run, under this name."""
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    plan = config["plan"]
    devices = Devices(**plan["devices"])
    failures = ray.train.FailureConfig(max_failures=plan["max_failures"], controller_failure_limit=CONTROLLER_RETRIES)
    return TorchTrainer(
        train,
        train_loop_config={
            "asked": config["asked"],
            "stale": config["stale"],
            "storage": plan["storage"],
            "is_gpu": devices.is_gpu,
            "label": devices.label("isolated"),
            "memory_cap_gib": plan["memory_cap_gib"],
            "extend": plan["extend"],
        },
        torch_config=TorchConfig(backend="nccl" if devices.is_gpu else "gloo"),
        scaling_config=ray.train.ScalingConfig(
            num_workers=plan["workers"], use_gpu=devices.is_gpu, resources_per_worker=devices.per_worker
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=plan["files"],
            failure_config=failures,
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
            callbacks=[TuneReportCallback()],
        ),
    )


def train(config: Mapping[str, Any]) -> None:
    """One worker of one trial. Called by Ray Train; the first worker keeps the books, the others follow its reports."""
    import torch
    from ray.train.torch import get_device

    from vqlora.finetune import finetune
    from vqlora.memory_cap import cap_memory

    once(config["extend"])
    cap_memory(config["memory_cap_gib"])
    asked = asked_from_json(config["asked"])
    if not config["is_gpu"]:
        torch.set_num_threads(1)  # one worker a core; the number of threads changes the last bits of a sum
    device, channel = str(get_device()), TrainChannel()
    store = study_store(config["storage"], asked.study, asked.version)
    if store.trial(asked.trial).newer_record(config["stale"]) is not None:
        return  # by workers before these, one of which was killed when all was done
    if ray.train.get_context().get_world_rank() == 0:
        run_trial(asked, store, device=device, executor=config["label"], channel=channel)
    else:
        finetune(asked.recipe, device=device, progress=Follower(channel=channel, steps=asked.recipe.schedule.steps))


class TrainChannel:
    """A trial's line to Ray Train. Each call is one `ray.train.report`, which all workers make together."""

    def send(self, row: Mapping[str, Any]) -> None:
        ray.train.report(dict(row))

    def must_leave(self) -> bool:
        return False

    def save(self, ledger: Ledger | None, step: int, state: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            if ledger is None:
                ray.train.report({"step": step})
                return
            (Path(folder) / STATE_FILE).write_bytes(state)
            checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report({"step": step}, checkpoint=checkpoint, checkpoint_dir_name=f"step-{step:08d}")

    def restore(self, trial: TrialStore | None) -> bytes | None:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            return None
        with checkpoint.as_directory() as folder:
            return (Path(folder) / STATE_FILE).read_bytes()


@dataclass(kw_only=True)
class Follower:
    """The `Progress` of a worker that keeps no books: it reports when the first one does."""

    channel: TrainChannel
    steps: int

    def report(self, row: dict[str, Any]) -> None:
        if is_news(row, self.steps):
            self.channel.send(row)

    def save(self, state: dict[str, Any]) -> None:
        self.channel.save(None, int(state["step"]), b"")

    def restore(self) -> dict[str, Any] | None:
        state = self.channel.restore(None)
        return None if state is None else state_from_bytes(state)


def _run_name(asked: Asked, stale: int | None) -> str:
    """The same after a crash, so that Train finds its checkpoints; another one once a record stands."""
    return f"{asked.study}-{asked.version}-{asked.trial}-{0 if stale is None else stale + 1}"
