"""What a study loses when its processes are killed: SIGKILL at random moments, and the same command again until done.

Question: is a finished trial ever run again, a row lost or doubled, a curve changed, a resource kept, a study hung? For
each seed a small study runs on a real Ray cluster (a head and two nodes, in a PID namespace of its own), isolated, by
turns on warm workers or with shared steps; driver, trial actors, Train workers, warm hosts, their controller and
board, raylets, the head or everything at once are killed while it runs. Its storage is then compared with the same
trials run alone in one process: to the bit, or within 1e-4 where steps are shared. `rows` are ranges of seeds, each
with the commit that it ran on; a range that is there is kept and never run twice.
Command: python benchmarks/faults.py --seeds 0:20 [--modes turns isolated] [--victims driver raylet] [--result FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from faults_arena import Arena
from faults_checks import interval, losses, reference
from faults_round import BACK_LIMIT_SECONDS, HANG_SECONDS, MODES, VICTIMS, Round
from faults_study import EVALUATIONS, study

from vqlora.provenance import provenance
from vqlora.record import Record

RESULT = Path(__file__).parent / "results" / "faults.json"
MUST_BE_ZERO = (
    "run_again", "hangs", "trials_missing", "rows_lost", "rows_doubled", "curves_unequal", "scores_unequal",
    "repeated_more_than_an_interval", "back_later_than_10_s", "relaunches_that_started_something",
)  # fmt: skip
BACK_SECONDS = 10.0


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))  # so that the arena ends with this process
    given = _arguments()
    first, last = (int(part) for part in given.seeds.split(":"))
    result = _read(given.result)
    for row in result["rows"]:
        if first < row["seeds"][1] and row["seeds"][0] < last:
            raise SystemExit(f"seeds {first}:{last} overlap {row['seeds']}, which were run; take others")
    alone, started = reference(study), time.monotonic()
    where = provenance("cpu")
    row: dict[str, Any] = {"seeds": [first, first], "commit": where.commit, "dirty": where.dirty, "studies": 0}
    counts: Counter[str] = Counter()
    result |= {"benchmark": "faults", "device": where.device, "versions": _versions()}
    result["rows"].append(row)
    arena = Arena()
    try:
        arena.start()
        for seed in range(first, last):
            counts.update(one_seed(seed, arena, alone, given))
            row |= {"seeds": [first, seed + 1], "studies": row["studies"] + 1, **_nested(counts)}
            row["seconds"] = round(time.monotonic() - started)
            result["totals"] = totals(result["rows"])
            given.result.write_text(json.dumps(result, indent=1) + "\n")
    finally:
        arena.end()
    _print(result)
    return int(any(result["totals"].get(name) for name in MUST_BE_ZERO))


def one_seed(seed: int, arena: Arena, alone: Mapping[str, Record], given: argparse.Namespace) -> Counter[str]:
    """Kills and counts of one study."""
    folder = Path(tempfile.mkdtemp(prefix=f"faults-{seed}-"))
    one = Round(
        seed=seed,
        arena=arena,
        folder=folder,
        only=tuple(given.victims),
        modes=tuple(given.modes),
        kills_limit=given.kills,
    )
    one.run()
    found = losses(one.study, one.store, alone, is_shared=one.mode == "together")
    counts = Counter(one.counts)
    counts.update({f"kills.{victim}": number for victim, number in Counter(one.kills).items()})
    counts.update({f"modes.{one.mode}": 1, "kills": len(one.kills)})
    plain = asdict(found)
    repeated = plain.pop("repeated_steps")
    counts.update(plain)
    counts["restarts"] += len(repeated)
    counts["steps_repeated"] += sum(repeated)
    counts["repeated_more_than_an_interval"] += sum(steps > interval(study, EVALUATIONS) for steps in repeated)
    counts["back_seen"] += len(one.back)
    counts["back_later_than_10_s"] += sum(seconds > BACK_SECONDS for seconds in one.back)
    if seed % given.relaunch_every == 0:
        counts["relaunches"] += 1
        counts["relaunches_that_started_something"] += not one.relaunch_finished()
    bad = {name: counts[name] for name in MUST_BE_ZERO if counts[name]}
    print(f"seed {seed} {one.mode} x{one.concurrency}: {one.kills} statuses {one.statuses} back {one.back} "
          f"repeated {repeated} {'BAD ' + str(bad) if bad else 'ok'}", flush=True)  # fmt: skip
    if bad or given.keep:
        print(f"kept: {folder} and {one.log}", flush=True)
    else:
        shutil.rmtree(folder)
        one.log.unlink()
    return counts


def totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums over all ranges."""
    sums: Counter[str] = Counter()
    for row in rows:
        sums.update({name: value for name, value in row.items() if isinstance(value, int) and name != "dirty"})
        for group in ("victims", "modes_run"):
            sums.update({f"{group}.{name}": value for name, value in row.get(group, {}).items()})
    return dict(sorted(sums.items()))


def _nested(counts: Mapping[str, int]) -> dict[str, Any]:
    plain: dict[str, Any] = {name: value for name, value in counts.items() if "." not in name}
    for group, key in (("victims", "kills."), ("modes_run", "modes.")):
        plain[group] = {name.removeprefix(key): value for name, value in sorted(counts.items()) if name.startswith(key)}
    return plain


def _print(result: Mapping[str, Any]) -> None:
    for name, value in result["totals"].items():
        print(f"{name:40} {value:>7}{'   must be 0' if name in MUST_BE_ZERO else ''}")
    print(json.dumps(result))


def _read(file: Path) -> dict[str, Any]:
    known = json.loads(file.read_text()) if file.exists() else {"rows": []}
    return {**known, "bounds": {"hang_s": HANG_SECONDS, "back_s": BACK_SECONDS, "back_waited_s": BACK_LIMIT_SECONDS,
                                "interval_steps": interval(study, EVALUATIONS), "steps": study.steps}}  # fmt: skip


def _versions() -> dict[str, str]:
    names = ("ray", "torch", "transformers", "peft")
    return {name: version(name) for name in names} | {"python": platform.python_version()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Kill a study's processes and see what is lost.")
    parser.add_argument(
        "--seeds", required=True, metavar="FIRST:LAST", help="a range that has not been run; LAST is out"
    )
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--victims", nargs="+", choices=VICTIMS, default=list(VICTIMS))
    parser.add_argument("--kills", type=int, default=6, help="at most, in one study (%(default)s)")
    parser.add_argument(
        "--relaunch-every", type=int, default=5, metavar="N", help="seeds, launched once more when done"
    )
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--keep", action="store_true", help="storages and logs of good studies too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
