"""`vqlora bits BASE --data D --budget MIB`: the plan of smallest expected loss, groups of layers at 4, 8 or 16 bits.

The loss is measured on training clips of the base at 16 bits with one group quantised at a time; `models.budget` adds
up and chooses. A study takes the file as a plan: `Bits.preset("bits.json")`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vqlora.adapters import Adapted
from vqlora.allocate import first_batches, loss_of
from vqlora.data.example import Example
from vqlora.inputs import Inputs, precision
from vqlora.models.budget import choose, group_bytes, groups_of, sensitivities
from vqlora.recipe import Recipe, ZeroShot
from vqlora.warm import Warm

MIB = 2**20


def best_plan(recipe: Recipe, *, budget_mib: float, device: str) -> dict[str, Any]:
    """Plain values as the file has them, for the base, data, frames and seed of the recipe, whose bits are all 16.

    ValueError for a budget below 4 bits everywhere.
    """
    warm = Warm()
    data, loaded = warm.data(recipe, device), warm.base(recipe, device)
    adapted = Adapted(loaded=loaded, method=ZeroShot(), parameters={})
    inputs = Inputs(adapted=adapted, store=data.store, memory=warm.states(loaded), language=recipe.language)
    batches, began = first_batches(data, recipe), time.perf_counter()
    sizes = group_bytes(
        loaded.model, groups_of(loaded.model, loaded.model_type), recipe.bits, wide=loaded.dtype.itemsize
    )
    choose({group: dict.fromkeys(own, 0.0) for group, own in sizes.items()}, sizes, budget_bytes=budget_mib * MIB)

    def loss() -> float:
        return sum(_loss(inputs, batch) for batch in batches) / len(batches)

    with torch.no_grad():
        plain, rises = loss(), sensitivities(loaded, recipe.bits, loss)
    plan = choose(rises, sizes, budget_bytes=budget_mib * MIB)
    return {
        "base": recipe.base, "base_digest": loaded.digest, "data": recipe.data, "data_digest": data.digest,
        "budget_mib": budget_mib, "clips": sum(map(len, batches)), "seconds": time.perf_counter() - began,
        "loss": plain, "plan": plan,
        "mib": sum(sizes[group][width] for group, width in plan.items()) / MIB,
        "expected_rise": sum(rises[group][width] for group, width in plan.items()),
        "groups": {
            group: {str(width): {"mib": sizes[group][width] / MIB, "rise": own[width]} for width in own}
            for group, own in rises.items()
        },
    }  # fmt: skip


def _loss(inputs: Inputs, batch: Sequence[tuple[Example, int]]) -> float:
    """Of one batch. The tower runs each time and nothing is kept: its states are those of a plan that is only tried."""
    loaded, clips = inputs.adapted.loaded, [inputs.frames(example) for example, _ in batch]
    with precision(loaded.device):
        states = loaded.family.vision_states(loaded.model, loaded.processor, clips)
    return loss_of(inputs, batch, states).item()


def bits_command(recipe: Recipe, *, budget_mib: float, device: str, file: Path) -> int:
    """Prints the plan and writes the file."""
    found = best_plan(recipe, budget_mib=budget_mib, device=device)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=1) + "\n")
    print(
        f"{found['base']}: {found['mib']:.2f} of {budget_mib:g} MiB, loss {found['loss']:.4f} expected to rise by "
        f"{found['expected_rise']:+.4f}"
    )
    print(f"measured on {found['clips']} clips in {found['seconds']:.1f} s; written to {file}")
    print(f"{'group':20} {'bits':>5} {'MiB':>10}   loss at 4 and 8 bits")
    for group, width in found["plan"].items():
        own = found["groups"][group]
        print(
            f"{group:20} {width:>5} {own[str(width)]['mib']:>10.3f}   {own['4']['rise']:+.4f} {own['8']['rise']:+.4f}"
        )
    return 0
