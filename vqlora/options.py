"""The options that every study script has, and `Runtime`: where and how a study runs, never what it gives."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from vqlora.study import Study

Executor = Literal["auto", "isolated", "packed"]


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where and how trials run; it never enters a fingerprint.

    executor: 'packed' = warm workers that take trials by turns; 'isolated' = each trial its own Ray Train run; 'auto' =
    packed unless a trial needs several workers. concurrency: trials at once; None = as many as there are devices.
    workers: Ray Train workers of one isolated trial. cpus_per_worker, gpus_per_worker: None = one GPU where the cluster
    has any, and one CPU. start_limit_seconds: a study whose workers don't start within it ends with an error.
    """

    storage: str = "./runs"
    executor: Executor = "auto"
    concurrency: int | None = None
    workers: int = 1
    cpus_per_worker: float | None = None
    gpus_per_worker: float | None = None
    max_failures: int = 2
    start_limit_seconds: float = 900
    dry_run: bool = False
    fresh: bool = False
    report: bool = True

    def __post_init__(self) -> None:
        if self.executor not in get_args(Executor):
            raise ValueError(f"executor {self.executor!r} is unknown; use one of {get_args(Executor)}")
        if self.concurrency is not None and self.concurrency < 1:
            raise ValueError(f"concurrency {self.concurrency} must be >= 1")
        if self.workers < 1:
            raise ValueError(f"workers {self.workers} must be >= 1")
        if self.executor == "packed" and self.workers > 1:
            raise ValueError(f"a trial on {self.workers} workers cannot be packed; use the executor 'isolated'")
        if self.max_failures < 0:
            raise ValueError(f"max_failures {self.max_failures} must be >= 0")
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
    )
    if changed.steps < 1:
        raise ValueError(f"--steps {changed.steps} must be >= 1")
    return _with_version(study, changed), replace(
        runtime,
        storage=given.storage,
        executor=given.executor,
        concurrency=given.concurrency,
        dry_run=given.dry_run,
        fresh=given.fresh,
    )


def _with_version(frozen: Study, changed: Study) -> Study:
    """Another base, data or length is another version, so that one table never mixes them."""
    workload = (changed.base, changed.data, changed.steps)
    if workload == (frozen.base, frozen.data, frozen.steps):
        return changed
    return replace(changed, version=f"{frozen.version}-{hashlib.sha256(repr(workload).encode()).hexdigest()[:6]}")


def _parser(study: Study, runtime: Runtime) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=study.question, allow_abbrev=False)
    add = parser.add_argument
    add("--storage", default=runtime.storage, metavar="PLACE", help="folder, s3://... or gs://... (%(default)s)")
    add("--base", metavar="BASE", help=f"embedded:NAME, random:NAME, a folder or a hub id ({study.base})")
    add("--data", metavar="DATA", help=f"shapes:PRESET, msrvtt:FOLDER or a mixture a:P=0.7,b:P=0.3 ({study.data})")
    add("--steps", type=int, metavar="N", help=f"optimisation steps of a trial ({study.steps})")
    add("--seeds", type=int, metavar="N", help=f"seeds 0..N-1 of every point ({study.seeds})")
    add("--concurrency", type=int, default=runtime.concurrency, metavar="N", help="trials at once (one per device)")
    add("--executor", choices=get_args(Executor), default=runtime.executor, help="how trials run (%(default)s)")
    add("--dry-run", action="store_true", help="print the trials, their memory and cost, and take no device")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="run what is missing (the default)")
    again.add_argument(
        "--fresh", action="store_true", help="run everything again; earlier records stay in their attempts"
    )
    add("--name", metavar="NAME", help=f"the study's folder in the storage ({study.name})")
    return parser
