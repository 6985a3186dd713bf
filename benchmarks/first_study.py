"""The first study on a new machine: seconds from the command to the printed report, stage by stage.

Question: does `make study`, after installation, give its report within 6 minutes on 2 cores without a GPU? The study
runs in an empty cache and an empty storage, as on a fresh machine. `ratio` is the goal over what was measured, so above
1 the goal is met. The last row is the score that the study is about: LoRA at rank 16 against zero-shot, 16 bits.
Command: python benchmarks/first_study.py [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from analysis.compare import Member, compare, pair
from analysis.table import read

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "first_study.json"
GOAL_SECONDS = 360.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the first study on a new machine.")
    parser.add_argument("--keep", type=Path, help="an empty folder for its cache and storage, kept afterwards")
    kept = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as temporary:
        folder = kept or Path(temporary)
        seconds, report = run(folder)
        whole = seconds["whole"]
        rows: list[dict[str, Any]] = [{"stage": name, "seconds": round(value, 1)} for name, value in seconds.items()]
        rows[-1] |= {"goal_seconds": GOAL_SECONDS, "ratio": round(GOAL_SECONDS / whole, 2)}
        gain = rank_16_over_zero_shot(folder / "runs" / "rank_bits")
        rows.append({"stage": "score", **gain, "report_bytes": report.stat().st_size})
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    versions = {name: version(name) for name in ("ray", "torch", "transformers", "peft", "bitsandbytes")}
    device = f"{processor()}, {os.cpu_count()} cores"
    result = {"benchmark": "first_study", "device": device, "versions": versions, "rows": rows}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def run(folder: Path) -> tuple[dict[str, float], Path]:
    """Seconds per stage of the study in an empty cache and storage, and the report it printed."""
    command = [sys.executable, "-u", str(ROOT / "studies" / "rank_bits.py"), "--storage", str(folder / "runs")]
    start = time.time()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "VQLORA_CACHE": str(folder / "cache")}
    )
    first = last = report_line = None
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        done = re.search(r"(\d+)/\d+ done", line)
        first = time.time() if first is None and done and int(done[1]) else first
        last = time.time() if line.startswith("building the report") else last
        report_line = line if line.startswith("report: ") else report_line
    if process.wait() or first is None or last is None or report_line is None:
        raise SystemExit(f"the study ended with status {process.returncode} and without a report")
    clips = [file.stat().st_mtime for file in (folder / "cache").rglob("*.mp4")]
    stages = {
        "command to first clip": min(clips) - start,
        f"writing {len(clips)} clips": max(clips) - min(clips),
        "last clip to first trial done": first - max(clips),
        "first to last trial done": last - first,
        "report": time.time() - last,
        "whole": time.time() - start,
    }
    return stages, Path(report_line.removeprefix("report: ").strip())


def rank_16_over_zero_shot(study: Path) -> dict[str, Any]:
    """CIDEr-D on test of rank 16 less zero-shot at 16 bits, with its paired 95 % interval over clips."""
    evidence = read(str(study))
    trials = {(record.point["rank"], record.point["bits"]): record for record in evidence.records}
    left, right = trials[16, 16], trials[0, 16]
    pairs = pair([Member(left.trial, 16, left.seed)], [Member(right.trial, 16, None)])
    scores = evidence.scores(split="test", metric="cider")
    found = compare(scores, pairs, left="rank 16", right="zero-shot", rng=np.random.default_rng(0))
    gap = found.difference
    return {"rank_16": found.left_mean, "zero_shot": found.right_mean, "low": gap.low, "high": gap.high}


def processor() -> str:
    """The processor's name."""
    names = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text()) if sys.platform == "linux" else []
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
