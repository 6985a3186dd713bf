"""What a trial costs beyond its training: warm workers by turns, a Train run of its own, a plain Tune function.

Question: what does a study pay a trial for starting, importing, loading and closing? The same trials run one at a time
in three ways on one Ray: packed (`vqlora.packing`), isolated (`vqlora.isolated`) and what a user would write without
Ray Train, a Tune function that calls the fine-tune. Cost beyond training = (seconds of the whole study - trials x
`alone`) / trials, where `alone` is the median of a trial in a warm process. Clips and frames are in the cache. `ratio`
is the other side's cost over packed's, so above 1 packed is cheaper. Trials go up until the start of the warm worker,
paid once a study, no longer rules: two lengths are shown.
Command: python benchmarks/study_overhead.py [--trials 2 8]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ray import tune

from vqlora.asked import expand
from vqlora.launch import run
from vqlora.options import Executor, Runtime
from vqlora.recipe import Bits, Frames, Lora, Recipe, Schedule, recipe_from_json
from vqlora.store import find_study
from vqlora.study import Objective, Study
from vqlora.tuning import ray_connection

RESULT = Path(__file__).parent / "results" / "study_overhead.json"


def recipe(*, rank: int, base: str, data: str, steps: int, seed: int) -> Recipe:
    return Recipe(
        base=base,
        data=data,
        method=Lora(rank={"text": rank}),
        bits=Bits.preset("all4"),
        frames=Frames(budget=4),
        schedule=Schedule(steps=steps),
        max_new_tokens=16,
        seed=seed,
    )


def study(trials: int) -> Study:
    return Study(
        name="overhead",
        version="1",
        question="What does a trial cost beyond its training?",
        space={"rank": tune.grid_search(list(range(1, trials + 1)))},
        recipe=recipe,
        objectives=(Objective(metric="val.loss", direction="min"),),
        base="embedded:videollama",
        data="shapes:tiny",
        steps=4,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[2, 8])
    lengths = parser.parse_args().trials
    with ray_connection(Runtime()):
        alone, device = warm_trial(max(lengths))
        rows = [row for trials in lengths for row in measure(trials, alone)]
    print(f"a trial alone in a warm process: {alone:.2f} s ({device})")
    print(f"{'trials':>7} {'against':>10} {'packed s':>9} {'other s':>9} {'ratio':>7}")
    for row in rows:
        print(
            f"{row['trials']:>7} {row['other']:>10} {row['packed_s']:>9.2f} {row['other_s']:>9.2f} {row['ratio']:>7.2f}"
        )
    names = ("ray", "torch", "transformers", "peft", "bitsandbytes")
    versions = {name: version(name) for name in names} | {"python": platform.python_version()}
    result = {"benchmark": "study_overhead", "device": device, "versions": versions, "alone_s": alone, "rows": rows}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def warm_trial(trials: int) -> tuple[float, str]:
    """(median seconds of a trial on a warm worker, the device); fills the caches on the way."""
    with tempfile.TemporaryDirectory() as storage:
        launched(trials, "packed", storage)
        found = find_study(f"{storage}/overhead").read().records
    seconds = sorted((record.started_at or "", record.cost.device_seconds or 0.0) for record in found)
    return statistics.median(value for _, value in seconds[1:]), found[0].provenance.device


def measure(trials: int, alone: float) -> list[dict[str, Any]]:
    """Seconds a trial beyond `alone`, of each way; one row for each other way against packed."""
    cost = {name: (whole(trials, way) - trials * alone) / trials for name, way in WAYS.items()}
    packed = cost.pop("packed")
    return [
        {"trials": trials, "other": name, "packed_s": packed, "other_s": other, "ratio": other / packed}
        for name, other in cost.items()
    ]


def whole(trials: int, way: Callable[[int, str], None]) -> float:
    with tempfile.TemporaryDirectory() as storage:
        began = time.perf_counter()
        way(trials, storage)
        return time.perf_counter() - began


def launched(trials: int, executor: Executor, storage: str) -> None:
    runtime = Runtime(executor=executor, report=False, concurrency=1)
    assert run(study(trials), ["--storage", storage], runtime) == 0, f"{executor}: a trial failed"


def plain(trials: int, storage: str) -> None:
    """What a user writes: a Tune function, one process a trial."""
    recipes = [one.to_json()["recipe"] for one in expand(study(trials))]
    results = tune.Tuner(
        tune.with_resources(plain_trial, {"cpu": 1}),
        param_space={"recipe": tune.grid_search(recipes)},
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=storage, verbose=0),
    ).fit()
    assert not results.errors, "a plain trial failed"


def plain_trial(config: dict[str, Any]) -> None:
    import torch

    from vqlora.finetune import finetune

    torch.set_num_threads(1)
    outcome = finetune(recipe_from_json(config["recipe"]), device="cpu")
    tune.report({"score": outcome.metrics["val"]["cider"]})


WAYS: dict[str, Callable[[int, str], None]] = {
    "packed": lambda trials, storage: launched(trials, "packed", storage),
    "isolated": lambda trials, storage: launched(trials, "isolated", storage),
    "function": plain,
}

if __name__ == "__main__":
    main()
