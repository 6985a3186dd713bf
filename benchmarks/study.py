"""A whole study on this machine, from its command to its last record: warm workers against a Train run for each trial.

Question: what does `make study` take, where does the time go, and does it say the same as the isolated executor on the
same commit? Both sides are the command that a user types, each with an empty storage and an empty cache of clips.
`outside_s` is the wall time in which no trial ran (start of Ray and of workers, imports, closing, the report). Trials
run side by side, one a core, so their own seconds add up to more than the wall time. Of these `steps_s` is what the
steps would take as the record states their cost, vision tower included: a trial, which has the tower's outputs from
memory, takes less, and so `other_of_trials_s` (validation, test, latency) is the least it can be. `step_arithmetic_s`:
FLOPs of these steps, as counted, at the rate of this machine's fp32 products on all cores. Scores are compared trial by
trial.
Command: python benchmarks/study.py [--executors packed isolated] [--study studies/rank_bits.py] [-- options of it]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import torch

from vqlora.provenance import device_name, provenance
from vqlora.record import Record
from vqlora.store import find_study

ROOT = Path(__file__).resolve().parent.parent
RESULT = Path(__file__).parent / "results" / "study.json"
GOAL_SECONDS, GOAL_RATIO = {"studies/rank_bits.py": 120.0, "studies/search.py": 360.0}, {"studies/rank_bits.py": 4.0}
ROWS, WIDTH, PRODUCTS = 680, 384, 200  # of the product that is timed: a step of the default study


def main() -> None:
    given, options = _arguments()
    row = {"study": given.study, "options": options, "commit": provenance("cpu").commit}
    records: dict[str, dict[str, Record]] = {}
    rate = product_flops_per_second()
    for executor in given.executors:
        seconds, found = whole(given.study, executor, options)
        records[executor] = found
        row[executor] = shares(seconds, list(found.values()), rate)
        print(f"{executor}: {json.dumps(row[executor])}", flush=True)
    if len(records) == 2:
        row |= {"ratio": row["isolated"]["seconds"] / row["packed"]["seconds"], **compared(*records.values())}
    row |= {"goal_s": GOAL_SECONDS.get(given.study), "goal_ratio": GOAL_RATIO.get(given.study)}
    result = json.loads(RESULT.read_text()) if RESULT.exists() else {"rows": []}
    others = [one for one in result["rows"] if (one["study"], one["options"]) != (given.study, options)]
    versions = {name: version(name) for name in ("ray", "torch", "transformers", "peft", "bitsandbytes")}
    device = {"device": device_name("cpu"), "fp32_gflops_a_second": rate / 1e9}
    result = {"benchmark": "study", **device, "versions": versions, "rows": [*others, row]}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def whole(study: str, executor: str, options: list[str]) -> tuple[float, dict[str, Record]]:
    """Seconds of the command, and its records by trial."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, study, "--storage", f"{folder}/runs", "--executor", executor, *options]
        began = time.perf_counter()
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "VQLORA_CACHE": f"{folder}/cache"})
        seconds = time.perf_counter() - began
        name = Path(study).stem
        return seconds, {record.trial: record for record in find_study(f"{folder}/runs/{name}").read().records}


def shares(seconds: float, records: list[Record], rate: float) -> dict[str, float]:
    """Where the seconds went, summed over trials."""
    inside = sum(record.cost.device_seconds or 0.0 for record in records)
    steps = sum(record.cost.train_seconds or 0.0 for record in records)
    flops = sum(record.cost.train_flops or 0.0 for record in records)
    return {
        "seconds": seconds,
        "trials": len(records),
        "outside_s": seconds - covered(records),
        "trial_median_s": statistics.median(record.cost.device_seconds or 0.0 for record in records),
        "steps_s": steps,
        "other_of_trials_s": inside - steps,
        "step_arithmetic_s": flops / rate,
    }


def covered(records: list[Record]) -> float:
    """Seconds in which at least one trial ran, from its start to its record; both are known to the second."""
    spans = sorted(
        (datetime.fromisoformat(one.started_at).timestamp(), datetime.fromisoformat(one.ended_at).timestamp())
        for one in records
        if one.started_at and one.ended_at
    )
    total, until = 0.0, 0.0
    for start, end in spans:
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def compared(one: dict[str, Record], other: dict[str, Record]) -> dict[str, float | None]:
    """Trials that both have, those whose every score is the same, and the largest difference of a test score."""
    both = [(one[name].metrics, other[name].metrics) for name in one.keys() & other.keys()]
    gaps = [abs(a["test"]["cider"] - b["test"]["cider"]) for a, b in both if "test" in a and "test" in b]
    same = sum(a == b for a, b in both)
    return {"compared": len(both), "same_scores": same, "largest_gap": max(gaps, default=None)}


def product_flops_per_second() -> float:
    """What this machine reaches in a product of the study's size, all cores, fp32; median of `PRODUCTS`."""
    x, weight, seconds = torch.randn(ROWS, WIDTH), torch.randn(WIDTH, WIDTH), []
    for _ in range(PRODUCTS):
        began = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        seconds.append(time.perf_counter() - began)
    return 2 * ROWS * WIDTH * WIDTH / statistics.median(seconds)


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="studies/rank_bits.py")
    parser.add_argument("--executors", nargs="+", choices=("packed", "isolated"), default=["packed", "isolated"])
    parser.add_argument("options", nargs="*")
    given = parser.parse_args()
    return given, given.options


if __name__ == "__main__":
    main()
