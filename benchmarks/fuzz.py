"""Hostile and broken input at every boundary: what came of it, counted.

Question: does everything that others may give (videos, annotations, adapters, bases, records, ledgers, arguments,
predictions) end in a result, in a counted skip, or in a typed error that names the way out? Each input is made of valid
ones by a generator of its own seed. It is read in a process of its own kind, which is watched: anything else that comes
of it (another exception, a crash, no answer within HANG_SECONDS, more memory than MOST_GIB above the start) is a
finding, with its seed. Counts add up over calls, each of which goes on from the last seed; `--again` repeats seeds
without counting them. There is no peer: `goal` is 0 findings.
Command: nice -n 15 python benchmarks/fuzz.py --inputs 500
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import platform
import random
import resource
import selectors
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vqlora.lines import one_line
from vqlora.provenance import device_name, source_state

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "fuzz.json"
BOUNDARIES = {  # name: module, class
    "videos": ("fuzz_videos", "Videos"),
    "annotations": ("fuzz_files", "Annotations"),
    "predictions": ("fuzz_files", "Predictions"),
    "records": ("fuzz_stored", "Records"),
    "ledgers": ("fuzz_stored", "Ledgers"),
    "arguments": ("fuzz_words", "Arguments"),
    "adapters": ("fuzz_weights", "Adapters"),
    "bases": ("fuzz_weights", "Bases"),
}
OUTCOMES = ("accepted", "skipped", "refused")
FINDINGS = ("escaped", "hang", "crash", "memory")
HANG_SECONDS, START_SECONDS, MOST_GIB = 300.0, 600.0, 2.0  # on a machine that does much else at once
CLIP_SECONDS, CLIP_GIB = "5", "2"  # of the workers that decode, so that a bomb costs little here
GIB = 2**30
PACKAGES = ("vqlora", "av", "decord", "torch", "transformers", "safetensors", "numpy", "pillow")


def main() -> int:
    """Tries so many more inputs at each boundary and writes the sums; 1 where one of them was a finding."""
    given = _parser().parse_args()
    if given.child:
        _serve(*given.child)
        return 0
    status = 0
    known = json.loads(RESULT.read_text()) if RESULT.is_file() else {"rows": [], "findings": []}
    rows = {row["boundary"]: row for row in known["rows"]}
    for name in given.only or BOUNDARIES:
        first = given.again if given.again is not None else rows.get(name, {}).get("inputs", 0)
        row, findings = collect(name, first, given.inputs)
        if given.again is None:
            rows[name] = _sum(rows.get(name), row)
            known["findings"] += findings
            _write(rows, known["findings"])
        status |= bool(findings)
        for one in findings:
            print(one_line(f"{one['boundary']} {one['seed']} {one['outcome']}: {one['what']}"), flush=True)
        print({name: row}, flush=True)
    if given.again is None:
        _show(rows)
        print(json.dumps(_write(rows, known["findings"])))
    return status


def collect(name: str, first: int, count: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The boundary's counts for the seeds from `first`, and its findings. A process that dies is started again."""
    counts: Counter[str] = Counter()
    findings: list[dict[str, Any]] = []
    seed, longest, peak = first, 0.0, 0.0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        while seed < first + count:
            for told in _watch(name, seed, first + count - seed, Path(scratch)):
                seed = told["seed"] + 1
                counts[told["outcome"]] += 1
                counts["workers_died"] += "process died" in told["what"]
                counts["too_long"] += "took longer than" in told["what"]
                counts["too_big"] += "GiB of memory" in told["what"]
                longest, peak = max(longest, told["seconds"]), max(peak, told["gib"])
                if told["outcome"] in FINDINGS:
                    findings.append({"boundary": name, **told})
    kinds = (*OUTCOMES, *FINDINGS, "workers_died", "too_long", "too_big")
    row = {"boundary": name, "inputs": count, **{kind: counts[kind] for kind in kinds}}
    return {**row, "longest_seconds": round(longest, 2), "most_gib": round(peak, 3)}, findings


def _watch(name: str, first: int, count: int, scratch: Path) -> Any:
    """What the process tells of each seed; of the one in which it died or fell silent, its end is told here."""
    folder = tempfile.mkdtemp(dir=scratch)
    command = [sys.executable, __file__, "--child", name, str(first), str(count), folder]
    limits = {"VQLORA_CLIP_SECONDS": CLIP_SECONDS, "VQLORA_CLIP_GIB": CLIP_GIB, "VQLORA_CACHE": f"{folder}/cache"}
    environment = {**os.environ, **limits, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    with open(scratch / "stderr", "w+b") as errors:
        pipes = {"stdout": subprocess.PIPE, "stderr": errors, "bufsize": 0}
        process = subprocess.Popen(command, env=environment, cwd=folder, **pipes)
        assert process.stdout is not None
        ready = selectors.DefaultSelector()
        ready.register(process.stdout, selectors.EVENT_READ)
        seed, limit, began = first, START_SECONDS, time.monotonic()
        try:
            while seed < first + count:
                line = process.stdout.readline() if ready.select(limit) else None
                if not line:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(5 if line is not None else 0.01)
                    process.kill()
                    what = "hang" if line is None else "crash"
                    errors.seek(0)
                    said = f"{process.wait()} {errors.read()[-300:].decode(errors='replace')}"
                    seconds = time.monotonic() - began
                    yield {"seed": seed, "outcome": what, "what": one_line(said), "seconds": seconds, "gib": 0.0}
                    return
                told = json.loads(line)
                yield told
                seed, limit, began = told["seed"] + 1, HANG_SECONDS, time.monotonic()
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def _serve(name: str, first: str, count: str, folder: str) -> None:
    """The child: reads one input after the other and tells of each."""
    tell = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_DATA, (16 * GIB, resource.RLIM_INFINITY))
    boundary = try_boundary(name, Path(folder))
    for seed in range(int(first), int(first) + int(count)):
        told = attempt(boundary, seed)
        tell.write(json.dumps(told) + "\n")
        tell.flush()


def try_boundary(name: str, scratch: Path) -> Any:
    """The boundary, its valid inputs written to `scratch`."""
    module, kind = BOUNDARIES[name]
    return getattr(import_module(module), kind)(scratch)


def attempt(boundary: Any, seed: int) -> dict[str, Any]:
    """What became of one input: {'seed', 'outcome', 'what', 'seconds', 'gib'}."""
    rng = random.Random(f"{boundary.name} {seed}")
    before, began = _peak_gib(reset=True), time.monotonic()
    try:
        outcome, what = boundary.one(rng), getattr(boundary, "said", "")
    except (Exception, SystemExit) as error:
        outcome, what = _judged(error), f"{type(error).__name__}: {error}"
        if outcome == "escaped":
            frames = traceback.extract_tb(error.__traceback__)[-3:]
            what += " @ " + " < ".join(f"{Path(one.filename).name}:{one.lineno}" for one in reversed(frames))
    gib = _peak_gib() - before
    if gib > MOST_GIB:
        outcome = "memory"
    seconds = round(time.monotonic() - began, 3)
    return {"seed": seed, "outcome": outcome, "what": one_line(what)[:400], "seconds": seconds, "gib": round(gib, 3)}


def _judged(error: BaseException) -> str:
    """'refused' for a ValueError that this project raises in words; a library's own has escaped."""
    if not isinstance(error, ValueError) or type(error).__module__ not in ("builtins", *_own_modules()):
        return "escaped"
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = str(error)
    is_ours = Path(last.filename).is_relative_to(ROOT) and last.lineno in _raising(last.filename)
    return "refused" if is_ours and text.strip() else "escaped"


def _own_modules() -> list[str]:
    return [name for name in sys.modules if name.partition(".")[0] in ("vqlora", "analysis")]


@cache
def _raising(file: str) -> frozenset[int]:
    """Lines of a file's raise statements."""
    found = (node for node in ast.walk(ast.parse(Path(file).read_text())) if isinstance(node, ast.Raise))
    return frozenset(line for node in found for line in range(node.lineno, (node.end_lineno or node.lineno) + 1))


def _peak_gib(*, reset: bool = False) -> float:
    """The process's largest resident memory since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / GIB for line in lines if line.startswith("VmHWM"))


def _sum(known: dict[str, Any] | None, row: dict[str, Any]) -> dict[str, Any]:
    if known is None:
        return row
    largest = ("longest_seconds", "most_gib")
    sums = {key: known[key] + value for key, value in row.items() if isinstance(value, int) and key not in largest}
    return {**row, **sums, **{key: max(known[key], row[key]) for key in largest}}


def _write(rows: dict[str, dict[str, Any]], findings: list[dict[str, Any]]) -> dict[str, Any]:
    judged = [{**row, "measured": sum(row[kind] for kind in FINDINGS), "goal": 0} for row in rows.values()]
    result = {
        "benchmark": "fuzz",
        "device": device_name("cpu"),
        "commit": source_state()[0],
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "rows": judged,
        "inputs": sum(row["inputs"] for row in judged),
        "findings": findings,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    return result


def _show(rows: dict[str, dict[str, Any]]) -> None:
    head = ("inputs", *OUTCOMES, *FINDINGS, "workers_died", "too_long", "too_big", "longest_seconds", "most_gib")
    print(f"{'boundary':<12}" + "".join(f"{name:>13}" for name in head))
    for row in rows.values():
        print(f"{row['boundary']:<12}" + "".join(f"{row[name]:>16}"[-13:] for name in head))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=500, help="at each boundary (%(default)s)")
    parser.add_argument("--only", action="append", choices=tuple(BOUNDARIES), help="this boundary")
    parser.add_argument("--again", type=int, metavar="SEED", help="from this seed, without counting")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
