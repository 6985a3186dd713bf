"""Whether the embedded bases mean something: seven lines per family, from real fine-tunes on `shapes`, and its tasks.

    python -m vqlora.models.check --device cuda --out check.json

Each method runs at its own learning rate, chosen on validation among three with seed 0, then with seeds 0, 1, 2.
Scores are CIDEr-D per test clip, averaged over seeds; intervals are paired 95 % bootstraps over clips. Clips are drawn
on the device, with the chroma of a video file (see `pretrain`); model, adapters, training and decoding are those of
every trial. Rows are written as they come, and a row that is there is not run again. A task of pretraining holds if the
base as it is answers it better with the clip than with black frames or another clip, from which only the text speaks.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats

from vqlora.data.shapes_text import order_dependent
from vqlora.metrics.captions import score_captions
from vqlora.models.check_run import Run, Size, examples, run

FAMILIES = ("videollama", "flamingo")
RATES = {"lora": (1e-3, 3e-3, 1e-2), "full": (3e-4, 1e-3, 3e-3)}
SEEDS = (0, 1, 2)

# ---- the plan -------------------------------------------------------------------------------------------------


def first_runs(family: str) -> list[Run]:
    """Every method at each of its learning rates, seed 0, and zero-shot."""
    tuned = [Run(family=family, method=f"rank {rank}", rate=rate) for rank in (1, 4, 16) for rate in RATES["lora"]]
    tuned += [Run(family=family, method="full", rate=rate) for rate in RATES["full"]]
    tuned += [Run(family=family, method="rank 16", rate=rate, start="random") for rate in RATES["lora"]]
    return [*tuned, Run(family=family, method="zero", rate=1.0)]


def second_runs(rows: Sequence[dict[str, Any]], family: str) -> list[Run]:
    """The other seeds at each method's best rate on validation, and rank 16 with 2, 16 and blank frames."""
    best = {name: _run_of(row) for name, row in _best(rows, family).items() if row["method"] != "zero"}
    runs = [replace(job, seed=seed) for job in best.values() for seed in SEEDS[1:]]
    sixteen = best[Run(family=family, method="rank 16", rate=1.0).name]
    for change in ({"frames": 2}, {"frames": 16}, {"view": "blank"}):
        runs += [replace(sixteen, seed=seed, **change) for seed in SEEDS]
    return runs


def _run_of(row: dict[str, Any]) -> Run:
    return Run(**{key: row[key] for key in Run.__dataclass_fields__})


def _best(rows: Sequence[dict[str, Any]], family: str) -> dict[str, dict[str, Any]]:
    """The best row on validation of each kind of run, among seed 0's learning rates."""
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = _run_of(row).name
        if row["family"] == family and row["seed"] == 0 and (name not in best or row["val"] > best[name]["val"]):
            best[name] = row
    return best


# ---- the seven lines ------------------------------------------------------------------------------------------


def lines(rows: Sequence[dict[str, Any]], family: str) -> list[tuple[bool, str]]:
    """The seven lines of a family: whether each holds, and its figures."""
    best = _best(rows, family)

    def clips(method: str, *, seen: str = "true", **change: Any) -> np.ndarray:
        """CIDEr-D per test clip at the method's best rate, averaged over seeds; `seen`: the view when tested."""
        wanted = Run(family=family, method=method, rate=1.0, **change).name
        rate = best[wanted]["rate"]
        found = [r["test"][seen]["cider"] for r in rows if _run_of(r).name == wanted and r["rate"] == rate]
        return np.mean(found, axis=0)

    lora, ceiling = clips("rank 16"), _ceiling(len(clips("rank 16")))
    ordered = np.array([order_dependent(e.attributes) for e in examples("test", len(lora), "true")])
    ladder = [clips(method) for method in ("rank 1", "rank 4", "rank 16", "full")]
    top = max([*ladder, clips("rank 16", frames=16)], key=lambda scores: scores.mean())
    blank, other, shuffled = (clips("rank 16", seen=view) for view in ("blank", "other", "shuffled"))
    guessed = clips("rank 16", view="blank", seen="blank")
    checks: list[tuple[bool, str]] = []
    share = _ratio(lora, clips("rank 16", start="random"))
    checks.append((share.low >= 2, f"(a) pretrained LoRA is {share} times LoRA on random weights; at least 2"))
    share, above = _ratio(clips("zero"), lora), _mean(clips("zero"))
    checks.append(
        (above.low > 0 and share.high < 0.5, f"(b) zero-shot scores {above}, {share} of LoRA; above 0, under half")
    )
    shares = [_ratio(scores, lora) for scores in (blank, other, guessed)]
    text = "(c) blank frames reach {}, another clip's {}, training on blank ones {} of LoRA; at most a third"
    checks.append((all(s.high <= 1 / 3 for s in shares), text.format(*shares)))
    loss = _ratio(lora[ordered] - shuffled[ordered], lora[ordered])
    checks.append((loss.low >= 0.15, f"(d) disorder loses {loss} on order-dependent clips; at least 0.15"))
    gain, rising = (
        _ratio(ladder[2] - ladder[0], ladder[0]),
        [_mean(b - a) for a, b in itertools.pairwise(ladder)],
    )
    holds = gain.low > 0 and gain.point >= 0.05 and rising[0].point > 0 and rising[1].point > 0 and rising[2].high >= 0
    means = " < ".join(f"{scores.mean():.3f}" for scores in ladder[:3]) + f" <= {ladder[3].mean():.3f}"
    steps = ", ".join(str(step) for step in rising)
    checks.append((holds, f"(e) rank 1 < 4 < 16 <= full: {means} (steps {steps}); 16 over 1: {gain}, at least 0.05"))
    gain = _ratio(clips("rank 16", frames=16) - clips("rank 16", frames=2), clips("rank 16", frames=2))
    checks.append((gain.low >= 0.1, f"(f) 16 frames over 2 frames: {gain}; at least 0.1"))
    share = _ratio(top, ceiling)
    checks.append((share.high < 0.9, f"(g) the best score is {share} of the ceiling {ceiling.mean():.3f}; under 0.9"))
    return checks


def task_lines(rows: Sequence[dict[str, Any]], family: str) -> list[tuple[bool, str]]:
    """Each task of pretraining: whether the clip adds to what the text alone gives, and the figures."""
    tasks = next(row["tasks"] for row in rows if row["family"] == family and row["method"] == "zero")
    out = []
    for task, scores in tasks["true"].items():
        alone = max((tasks[view][task] for view in ("blank", "other")), key=np.mean)
        gain = _mean(np.array(scores) - np.array(alone))
        out.append((gain.low > 0, f"{task}: {np.mean(scores):.3f}, text alone {np.mean(alone):.3f}, gain {gain}"))
    return out


def _ceiling(count: int) -> np.ndarray:
    """Per test clip: each reference scored against the other four, averaged over the five."""
    some = examples("test", count, "true")
    out = []
    for place in range(5):
        one = {e.id: e.references["en"][place] for e in some}
        rest = {e.id: [r for i, r in enumerate(e.references["en"]) if i != place] for e in some}
        scores = score_captions(one, rest)
        out.append([scores.per_example[e.id]["cider"] for e in some])
    return np.mean(out, axis=0)


class Bounds(NamedTuple):
    """An estimate and its 95 % interval."""

    point: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.point:.3f} [{self.low:.3f}, {self.high:.3f}]"


def _ratio(top: np.ndarray, bottom: np.ndarray) -> Bounds:
    def share(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return a.mean(axis) / b.mean(axis)

    return _interval((top, bottom), share)


def _mean(values: np.ndarray) -> Bounds:
    return _interval((values,), np.mean)


def _interval(samples: tuple[np.ndarray, ...], statistic: Callable[..., Any]) -> Bounds:
    found = stats.bootstrap(
        samples,
        statistic,
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(0),
    )
    return Bounds(
        float(statistic(*samples)), float(found.confidence_interval.low), float(found.confidence_interval.high)
    )


# ---- the command ----------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description="Check the embedded bases; exit status 1 if a line does not hold.")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--processes", type=int, default=1, help="runs side by side on the device")
    parser.add_argument("--out", type=Path, default=Path("check.jsonl"), help="one row per run; goes on from there")
    for name, value in asdict(Size()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    size = Size(**{name: getattr(given, name) for name in asdict(Size())})
    rows = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    context = get_context("spawn")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    devices, turns = visible.split(","), context.Queue()
    for turn in range(given.processes):
        turns.put(devices[turn % len(devices)])
    with ProcessPoolExecutor(given.processes, context, _take_device, (turns,)) as pool:
        work = partial(_work, pool, partial(run, size=size, device=given.device), given.out, rows)
        work([job for family in given.families for job in first_runs(family)])
        work([job for family in given.families for job in second_runs(rows, family)])
    held = [_print_lines(rows, family) for family in given.families]
    raise SystemExit(0 if all(held) else 1)


def _take_device(turns: Any) -> None:
    """In a new process, before CUDA starts: this process sees one device, the next one in turn."""
    os.environ["CUDA_VISIBLE_DEVICES"] = turns.get()


def _work(
    pool: ProcessPoolExecutor,
    task: Callable[[Run], dict[str, Any]],
    out: Path,
    rows: list[dict[str, Any]],
    jobs: Iterable[Run],
) -> None:
    there = {_run_of(row) for row in rows}
    waiting = {pool.submit(task, job): job for job in jobs if job not in there}
    for done in as_completed(waiting):
        row = done.result()
        rows.append(row)
        with out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        job = waiting[done]
        print(f"{job.name} rate {job.rate:g} seed {job.seed}: val {row['val']:.3f} loss {row['loss']}", flush=True)


def _print_lines(rows: Sequence[dict[str, Any]], family: str) -> bool:
    checks = [*lines(rows, family), *task_lines(rows, family)]
    print(f"\n{family}")
    for holds, text in checks:
        print(f"{'holds' if holds else 'FAILS'}  {text}")
    best = _best(rows, family)
    for name, row in sorted(best.items()):
        content = {key: round(float(np.mean(values)), 3) for key, values in row["test"][row["view"]].items()}
        edge = " (an end of its range)" if row["rate"] in _ends(row["method"]) else ""
        print(f"       {name}: rate {row['rate']:g}{edge}, {content}")
    return all(holds for holds, _ in checks)


def _ends(method: str) -> tuple[float, ...]:
    if method == "zero":
        return ()
    rates = RATES["full" if method == "full" else "lora"]
    return min(rates), max(rates)


if __name__ == "__main__":
    main()
