"""From a study to its records: expands, checks, runs what is missing on Ray, and has the report built.

`launch(study)` is the whole main of a study script. What may be refused is refused before Ray starts, in one line and
with exit status 2. Launching again is resuming. Running one trial is `vqlora.trial`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from vqlora.asked import Asked, ask_points, axes, expand, sample_points
from vqlora.extend import once
from vqlora.keeping import keep_adapters
from vqlora.lines import one_line
from vqlora.options import Runtime, read_options
from vqlora.record import Record, Status
from vqlora.store import Stored, StudyStore, study_store
from vqlora.study import Study

BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130


def launch(study: Study, *, runtime: Runtime | None = None) -> NoReturn:
    """Runs the study with the options of the command line and exits with its status.

    0: every trial was answered (out of memory is an answer); 1: some failed; 2: the input cannot be used; 130:
    interrupted.
    """
    try:
        status = run(study, sys.argv[1:], runtime or Runtime())
    except ValueError as error:
        print(f"{study.name}: {one_line(error)}", file=sys.stderr)
        status = BAD_INPUT
    raise SystemExit(status)


def run(study: Study, arguments: Sequence[str], runtime: Runtime) -> int:
    """Like `launch`, but returns the status and raises ValueError for bad input."""
    study, runtime = read_options(study, arguments, runtime)
    once(study.extend)
    listed = expand(study)
    check(study, listed)
    runtime = replace(runtime, storage=_absolute(runtime.storage))
    store = study_store(runtime.storage, study.name, study.version)
    if runtime.dry_run:
        from vqlora.preview import print_preview

        print_preview(study, listed, store, runtime.dry_run)
        return 0
    store.place.check_writable()
    try:
        return _run(study, runtime, store, listed)
    except OSError as error:  # a full disk, a storage that is gone: no device is to blame, and no trial
        print(
            f"{study.name}: storage {store.place.url} fails: {error}\nfinished trials are kept; launch again when it "
            "can be written",
            file=sys.stderr,
        )
        return FAILED


def _run(study: Study, runtime: Runtime, store: StudyStore, listed: Sequence[Asked]) -> int:
    """Runs what has no answer yet, then sees to adapters and report."""
    if runtime.fresh:
        _forget_checkpoints(store, listed)
    stored = _stored(store)
    answers = {} if runtime.fresh else stored.answers()
    stale = {one.trial: one.attempt for one in stored.records if one.fingerprint not in answers}
    missing = [one for one in listed if one.fingerprint not in answers]
    _write_asked(store, study, listed)
    known = len(listed) - len(missing)
    searched = study.samples * study.seeds if study.searcher else 0
    print(
        f"{study.name} {study.version}: {len(listed) + searched} asked, {known} already done, "
        f"running {len(missing)}" + (f" and what {study.samples} samples lack" if searched else ""),
        flush=True,
    )
    status = _run_missing(study, runtime, store, listed, answers, stale) if missing or searched else 0
    if status != INTERRUPTED:  # else the frontier is not known yet
        kept, given_up = keep_adapters(store, study.objectives, runtime.keep)
        print(f"adapters: {kept} kept ({runtime.keep}), {given_up} given up now", flush=True)
    if runtime.report and store.read().records:
        _report(store, runtime)
    return status


def check(study: Study, listed: Sequence[Asked]) -> None:
    """ValueError, before a device is taken, for a base, a role, data or a scheduler that cannot work."""
    from vqlora.data.sets import open_data
    from vqlora.data.shapes import PRESETS
    from vqlora.finetune import check_recipe

    samples = ask_points(study, sample_points(study)) if study.searcher else []
    for one in (*listed, *samples):
        check_recipe(one.recipe)
    if study.data not in {f"shapes:{preset}" for preset in PRESETS}:
        open_data(study.data)  # the embedded sets are always there; writing their clips is the workers' task


def _forget_checkpoints(store: StudyStore, listed: Sequence[Asked]) -> None:
    """So that a fresh trial does not go on from an earlier one's state. Records and ledgers stay."""
    store.place.remove_folder("_ray")
    for one in listed:
        store.trial(one.trial).drop_states()


def _stored(store: StudyStore) -> Stored:
    stored = store.read()
    for one in stored.broken:
        print(one_line(f"left out: {one.what}: {one.reason}"), file=sys.stderr)
    return stored


def _run_missing(
    study: Study,
    runtime: Runtime,
    store: StudyStore,
    listed: Sequence[Asked],
    answers: Mapping[str, Record],
    stale: Mapping[str, int],
) -> int:
    from vqlora.tuning import StudyError, tune_study

    try:
        tally, started, was_interrupted = tune_study(study, runtime, store, listed, answers, stale)
    except StudyError as error:
        print(f"{study.name}: {error}", file=sys.stderr)
        return FAILED
    if study.searcher:
        _write_asked(store, study, [*listed, *started])
    for trial, row in sorted(tally.finished.items()):
        if row.get("status") == Status.FAILED:
            reason = (str(row.get("error") or "").strip().splitlines() or ["no reason known"])[-1]
            print(one_line(f"{trial} failed: {reason}"), file=sys.stderr)
    if was_interrupted:
        print(f"interrupted; {len(tally.finished)} trials are kept, launch again to run the rest", file=sys.stderr)
        return INTERRUPTED
    return FAILED if tally.count(Status.FAILED) else 0


def _write_asked(store: StudyStore, study: Study, listed: Sequence[Asked]) -> None:
    """study.json: what this launch asks, and what earlier ones asked beside it, such as more seeds."""
    trials = {one.trial: {"trial": one.trial, "point": dict(one.point), "seed": one.seed} for one in listed}
    earlier = {one["trial"]: one for one in (store.asked() or {}).get("trials", ())}
    store.write_asked(
        {
            "study": study.name,
            "version": study.version,
            "question": study.question,
            "base": study.base,
            "data": study.data,
            "steps": study.steps,
            "axes": axes(study, listed),
            "objectives": [{"metric": one.metric, "direction": one.direction} for one in study.objectives],
            "trials": list((earlier | trials).values()),
        }
    )


def _report(store: StudyStore, runtime: Runtime) -> None:
    """Builds the HTML in a process of its own: analysis reads records and nothing of this package's running half."""
    from vqlora.gallery import keep_strips

    keep_strips(store)
    where = store.place.url
    command = [sys.executable, "-m", "analysis", "report", where]
    if store.place.is_local:
        command += ["--output", os.path.join(where, "report.html")]
    print("building the report", flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(
            f"no report: {one_line((done.stderr or done.stdout).strip()[-500:])}\n  again with: {shlex.join(command)}",
            file=sys.stderr,
        )
    else:
        print(f"report: {done.stdout.strip().splitlines()[-1]}", flush=True)


def _absolute(storage: str) -> str:
    """Workers have other working directories."""
    return storage if "://" in storage else os.path.abspath(os.path.expanduser(storage))
