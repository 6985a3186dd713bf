"""A study from the command to its last record, against the same trials by hand.

Question: how many times the trials per hour of one PEFT process a trial does `python studies/rank_bits.py` give, with
all that a user waits for: start, load, quantise, train, caption, write down? Both sides load one checkpoint (random
weights) that is written first, take decoded frames, train rank 16 at 4 bits for 30 steps of batch 1 and caption 32
clips with 20 tokens. Ours also measures each trial's memory and latency and scores the captions; the peer does neither.
The peer runs `--peer` of the trials one after the other; its seconds are scaled to all of them, which the row says.
Command: python benchmarks/whole_study.py --checkpoint FOLDER [--base random:videollama3-7b] [--trials 16] [--peer 3]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from vqlora.record import Status
from vqlora.store import find_study

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "whole_study.json"


def main() -> None:
    given = _arguments()
    shared = {name: getattr(given, name) for name in ("data", "steps", "frames", "size", "tokens", "evaluations")}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:  # so that nothing stays on the device
        apart.submit(write, given.base, given.checkpoint).result()
    with tempfile.TemporaryDirectory() as folder:
        place = {**os.environ, "VQLORA_CACHE": f"{folder}/cache"}
        _timed(
            [*_peer(given.checkpoint, {**shared, "steps": 1}), "--seed", "0"], place
        )  # fills caches of disk and clips
        ours = _timed(_ours(given, shared, Path(folder)), place)
        records = find_study(f"{folder}/runs/rank_bits").read().records
        peers = [_timed([*_peer(given.checkpoint, shared), "--seed", str(seed)], place) for seed in range(given.peer)]
    done = sum(record.status is Status.DONE for record in records)
    if done != given.trials:
        raise SystemExit(f"{done} of {given.trials} trials are done: {[record.error for record in records]}")
    theirs = sum(peers) / len(peers) * given.trials
    common = {"base": given.base, "trials": given.trials, **shared}
    rows = [
        {**common, "side": "this study", "seconds": ours, "measured": given.trials, "ratio": theirs / ours},
        {**common, "side": "a PEFT process a trial", "seconds": theirs, "measured": given.peer, "ratio": 1.0},
    ]
    for row in rows:
        of = "" if row["measured"] == row["trials"] else f" (scaled from {row['measured']})"
        print(f"{row['side']:24} {row['trials']} trials in {row['seconds']:8.1f} s{of}  {row['ratio']:5.1f}x")
    device = records[0].provenance.device
    names = ("ray", "torch", "transformers", "peft", "bitsandbytes")
    versions = {name: version(name) for name in names} | {"python": platform.python_version()}
    result = {"benchmark": "whole_study", "device": device, "versions": versions, "rows": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def write(base: str, folder: Path) -> None:
    """The base's weights in bf16 and its processor, as a checkpoint's folder; nothing if it is there."""
    import torch
    from methods_peer import checkpoint

    from vqlora.models.load import processor_of

    processor_of(base).save_pretrained(folder)
    checkpoint(base, folder, "cuda" if torch.cuda.is_available() else "cpu")


def _ours(given: argparse.Namespace, shared: Mapping[str, Any], folder: Path) -> list[str]:
    settings = {
        "schedule.batch_size": 1,
        "schedule.evaluations": shared["evaluations"],
        "frames.budget": shared["frames"],
        "frames.size": shared["size"],
        "max_new_tokens": shared["tokens"],
    }
    return [
        *(sys.executable, str(ROOT / "studies" / "rank_bits.py"), "--base", str(given.checkpoint)),
        *("--data", shared["data"], "--steps", str(shared["steps"]), "--storage", f"{folder}/runs"),
        *("--only", "rank=16", "--only", "bits=4", "--seeds", str(given.trials), "--keep", "none"),
        *(word for name, value in settings.items() for word in ("--set", f"{name}={value}")),
        *(("--together", str(given.together)) if given.together else ()),
    ]


def _peer(folder: Path, shared: Mapping[str, Any]) -> list[str]:
    options = [word for name, value in shared.items() for word in (f"--{name}", str(value))]
    return [sys.executable, str(ROOT / "benchmarks" / "whole_study_peer.py"), str(folder), *options]


def _timed(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """Wall seconds; SystemExit if it fails."""
    began = time.perf_counter()
    subprocess.run(command, check=True, env=dict(environment))
    return time.perf_counter() - began


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="folder of it, written if it is not there")
    parser.add_argument("--base", default="random:videollama3-7b")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--peer", type=int, default=3)
    parser.add_argument("--together", type=int, help="as the study's option")
    parser.add_argument("--data", default="shapes:tiny")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--evaluations", type=int, default=3, help="of val, 8 clips; with test 32 captions")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--tokens", type=int, default=20)
    return parser.parse_args()


if __name__ == "__main__":
    main()
