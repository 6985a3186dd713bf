"""Does full fine-tuning on bf16 weights with 8-bit moments give what fp32 AdamW gives?

Question: a 7B base fits one 80 GB GPU only with bf16 weights and 8-bit moments. If that trains worse, every comparison
with it flatters the adapters. The same trials on an embedded base: fp32 weights and moments (the reference), 8-bit
moments, and bf16 weights by stochastic rounding and by a Kahan-compensated update, both with 8-bit moments.
Rows: loss and CIDEr-D on test, means over seeds; `ratio` is the reference's loss over the row's, below 1 is worse. On a
CPU weights hold bf16 values in fp32 storage, so arithmetic around the update is that of the reference.
Command: python benchmarks/full_update.py [--seeds 2] [--steps 64]     rows that are there are not run again
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vqlora.finetune import finetune
from vqlora.provenance import device_name
from vqlora.recipe import Bits, FullFineTune, Recipe, Schedule
from vqlora.warm import Warm

RESULT = Path(__file__).parent / "results" / "full_update.json"
ARMS: dict[str, tuple[str | None, str | None]] = {  # update of the weights, moments
    "fp32, AdamW": (None, None),
    "fp32, 8-bit AdamW": (None, "paged_adamw8bit"),
    "bf16 stochastic, 8-bit AdamW": ("stochastic", "paged_adamw8bit"),
    "bf16 Kahan, 8-bit AdamW": ("kahan", "paged_adamw8bit"),
}


def recipe(arm: str, steps: int, seed: int) -> Recipe:
    update, optimizer = ARMS[arm]
    return Recipe(
        base="embedded:videollama",
        data="shapes:small",
        method=FullFineTune(update=update),
        bits=Bits.preset("all16"),
        schedule=Schedule(steps=steps, batch_size=4, learning_rate=1e-3, optimizer=optimizer),
        max_new_tokens=48,
        seed=seed,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--trials", type=Path, default=RESULT.with_suffix(".jsonl"), help="JSON lines to go on from")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    trials = _run(given.trials, given.steps, given.seeds, device)
    rows = [_row(arm, trials) for arm in ARMS]
    for row in rows:
        row["ratio"] = rows[0]["loss"] / row["loss"]
        print(f"{row['arm']:30} loss {row['loss']:.4f}  CIDEr-D {row['cider']:.3f}  {row['train_peak_gib']:.3f} GiB "
              f"ratio {row['ratio']:.4f}")  # fmt: skip
    names = ("torch", "transformers", "bitsandbytes")
    versions = {name: version(name) for name in names} | {"python": platform.python_version()}
    result = {"benchmark": "full_update", "device": device_name(device), "versions": versions, "rows": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def _run(file: Path, steps: int, seeds: int, device: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
    known, warm = {(one["arm"], one["seed"], one["steps"]) for one in found}, Warm()
    for seed in range(seeds):
        for arm in ARMS:
            if (arm, seed, steps) in known:
                continue
            outcome = finetune(recipe(arm, steps, seed), device=device, warm=warm)
            one = {"arm": arm, "seed": seed, "steps": steps, **outcome.metrics["test"]}
            one["train_peak_gib"] = outcome.cost.train_peak_gib
            found.append(one)
            with file.open("a") as stream:
                stream.write(json.dumps(one) + "\n")
    return [one for one in found if one["steps"] == steps and one["seed"] < seeds]


def _row(arm: str, trials: list[dict[str, Any]]) -> dict[str, Any]:
    own = [one for one in trials if one["arm"] == arm]
    means = {name: statistics.mean(one[name] for one in own) for name in ("loss", "cider", "train_peak_gib")}
    spread = statistics.stdev(one["loss"] for one in own) if len(own) > 1 else None
    return {"arm": arm, "seeds": len(own), **means, "loss_deviation": spread}


if __name__ == "__main__":
    main()
