"""The options that every study script has, and `Runtime`: where and how a study runs, never what it gives."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from vqlora.study import Study

Executor = Literal["auto", "isolated", "packed"]
Keep = Literal["frontier", "all", "none"]
Planned = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how trials run; it never enters a fingerprint.

    executor: 'packed' = warm workers; 'isolated' = each trial its own Ray Train run; 'auto' = packed unless a trial
    needs several workers. together: the most trials that share every step on a warm worker; with 1 they take turns,
    and each gives what it gives alone to the bit; None = turns on a CPU, on a GPU as many as a probe says fit.
    concurrency: trials at once; None = as many as there are devices. workers: Ray Train workers of one isolated trial.
    cpus_per_worker, gpus_per_worker: None = one GPU where the cluster has any, and most of a CPU; workers of a share of
    a GPU disturb each other's times, so the share stands in the record's executor. start_limit_seconds: a study whose
    workers don't start within it ends with an error. keep: whose adapters stay in the storage.
    dry_run: print what the study would take on this device ('auto': this machine's) and run nothing.
    memory_cap_gib: of a worker's GPU memory, past which a trial is out of memory, as on a smaller card; it stands in
    the record.
    """

    storage: str = "./runs"
    executor: Executor = "auto"
    together: int | None = None
    concurrency: int | None = None
    workers: int = 1
    cpus_per_worker: float | None = None
    gpus_per_worker: float | None = None
    max_failures: int = 2
    start_limit_seconds: float = 900
    dry_run: Planned | None = None
    fresh: bool = False
    report: bool = True
    keep: Keep = "frontier"
    memory_cap_gib: float | None = None

    def __post_init__(self) -> None:
        if self.executor not in get_args(Executor):
            raise ValueError(f"executor {self.executor!r} is unknown; use one of {get_args(Executor)}")
        if self.concurrency is not None and self.concurrency < 1:
            raise ValueError(f"concurrency {self.concurrency} must be >= 1")
        if self.together is not None and self.together < 1:
            raise ValueError(f"together {self.together} must be >= 1; 1 lets trials take turns")
        if self.workers < 1:
            raise ValueError(f"workers {self.workers} must be >= 1")
        if self.executor == "packed" and self.workers > 1:
            raise ValueError(f"a trial on {self.workers} workers cannot be packed; use the executor 'isolated'")
        for name in ("cpus_per_worker", "gpus_per_worker"):
            amount = getattr(self, name)
            if amount is not None and amount <= 0:
                raise ValueError(f"{name} {amount} must be > 0; leave it out for a whole one")
        if self.max_failures < 0:
            raise ValueError(f"max_failures {self.max_failures} must be >= 0")
        if self.keep not in get_args(Keep):
            raise ValueError(f"keep {self.keep!r} is unknown; use one of {get_args(Keep)}")
        if self.memory_cap_gib is not None and self.memory_cap_gib <= 0:
            raise ValueError(f"memory cap {self.memory_cap_gib} GiB must be > 0")
        if self.start_limit_seconds <= 0:
            raise ValueError(f"start_limit_seconds {self.start_limit_seconds} must be > 0")

    @property
    def is_packed(self) -> bool:
        """Whether trials run by turns on warm workers."""
        return self.executor == "packed" or (self.executor == "auto" and self.workers == 1)


def read_options(study: Study, arguments: Sequence[str], runtime: Runtime) -> tuple[Study, Runtime]:
    """The study and runtime as the command line changes them. SystemExit(2) with one line for a wrong option."""
    given = _parser(study, runtime).parse_args(arguments)
    changed = replace(
        study,
        name=given.name or study.name,
        base=given.base or study.base,
        data=given.data or study.data,
        steps=study.steps if given.steps is None else given.steps,
        seeds=study.seeds if given.seeds is None else given.seeds,
        only=_pairs(given.only, "--only", lambda text: tuple(text.split(","))) or study.only,
        settings={**study.settings, **_pairs(given.set, "--set", _value)},
    )
    if changed.steps < 1:
        raise ValueError(f"--steps {changed.steps} must be >= 1")
    return _with_version(study, changed), replace(
        runtime,
        storage=given.storage,
        executor=given.executor,
        concurrency=given.concurrency,
        together=given.together,
        workers=given.workers,
        gpus_per_worker=given.gpus_per_worker,
        dry_run=given.dry_run,
        fresh=given.fresh,
        keep=given.keep,
        memory_cap_gib=given.memory_cap_gib,
    )


def _with_version(frozen: Study, changed: Study) -> Study:
    """Another base, data or length is another version, so that one table never mixes them."""
    workload: tuple[Any, ...] = (changed.base, changed.data, changed.steps)
    if changed.settings != frozen.settings:
        workload += (sorted(changed.settings.items()),)
    if workload == (frozen.base, frozen.data, frozen.steps):
        return changed
    return replace(changed, version=f"{frozen.version}-{hashlib.sha256(repr(workload).encode()).hexdigest()[:6]}")


def _pairs(texts: Sequence[str], option: str, read: Callable[[str], Any]) -> dict[str, Any]:
    """{name: value} of 'NAME=VALUE' texts."""
    found: dict[str, Any] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not (name and mark and value):
            raise ValueError(f"{option} {text!r} is not NAME=VALUE")
        found[name] = read(value)
    return found


def _value(text: str) -> Any:
    """A number, true, false or null where the text is one in JSON, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _parser(study: Study, runtime: Runtime) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=study.question, allow_abbrev=False)
    add = parser.add_argument
    add("--storage", default=runtime.storage, metavar="PLACE", help="folder, s3://... or gs://... (%(default)s)")
    add("--base", metavar="BASE", help=f"embedded:NAME, random:NAME, a folder or a hub id ({study.base})")
    add("--data", metavar="DATA", help=f"shapes:PRESET, msrvtt:FOLDER or a mixture a:P=0.7,b:P=0.3 ({study.data})")
    add("--steps", type=int, metavar="N", help=f"optimisation steps of a trial ({study.steps})")
    add("--seeds", type=int, metavar="N", help=f"seeds 0..N-1 of every point ({study.seeds})")
    add("--concurrency", type=int, default=runtime.concurrency, metavar="N", help="trials at once (one per device)")
    add(
        "--together",
        type=int,
        default=runtime.together,
        metavar="N",
        help="trials that share their steps, 1: turns (by device)",
    )
    add("--executor", choices=get_args(Executor), default=runtime.executor, help="how trials run (%(default)s)")
    add("--workers", type=int, default=runtime.workers, metavar="N", help="Ray Train workers of a trial (%(default)s)")
    add(
        "--gpus-per-worker",
        type=float,
        default=runtime.gpus_per_worker,
        metavar="G",
        help="0.1: ten share one (1)",
    )
    add("--keep", choices=get_args(Keep), default=runtime.keep, help="whose adapters stay (%(default)s)")
    add("--memory-cap-gib", type=float, metavar="G", help="of GPU memory for a trial, as on a smaller card (none)")
    add("--only", action="append", default=[], metavar="AXIS=V,V", help="of the listed points those with these values")
    add("--set", action="append", default=[], metavar="FIELD=V", help="in every recipe, such as frames.size=448")
    dry = "print the trials, their memory and cost on DEVICE (this machine's), and take none"
    add("--dry-run", nargs="?", const="auto", choices=get_args(Planned), metavar="DEVICE", help=dry)
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="run what is missing (the default)")
    again.add_argument(
        "--fresh", action="store_true", help="run everything again; earlier records stay in their attempts"
    )
    add("--name", metavar="NAME", help=f"the study's folder in the storage ({study.name})")
    return parser
