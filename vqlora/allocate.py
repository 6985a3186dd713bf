"""`vqlora allocate BASE --data D --budget P`: ranks per group of layers at a budget of parameters, by several rules.

Gradients are measured on training clips of the quantised base. The file holds every rule's allocation at equal
parameter count, the curves they come from, and what finding them cost; `allocated` reads one for a recipe.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqlora.adapters import Adapted
from vqlora.adapters.allocation import SHARES, Allocation, at_random, by_gain, entropy_weights, uniform, with_share
from vqlora.adapters.groups import group_costs, group_layers
from vqlora.adapters.sketch import gradient_curves, variance_curves
from vqlora.data.example import Example
from vqlora.inputs import Inputs, precision
from vqlora.models.roles import linear_layers
from vqlora.recipe import Recipe, ZeroShot
from vqlora.training import batch_order, paired
from vqlora.warm import Data, Warm

BATCHES, DRAWS = 4, 3  # of training clips; of random probes
STRENGTHS = (0.5, 1.0)  # of the frames' entropy


def allocate(recipe: Recipe, *, budget: int, device: str, most: int = 32) -> dict[str, Any]:
    """Plain values as allocation.json has them, for the base, data, bits, frames and seed of the recipe.

    budget: parameters of all adapters. most: the greatest rank of a group. ValueError for a budget below one rank of
    every group, which no uniform allocation could be compared at.
    """
    warm = Warm()
    data, loaded = warm.data(recipe, device), warm.base(recipe, device)
    roles = [role for role, names in linear_layers(loaded.model, loaded.model_type).items() if names]
    costs = group_costs(loaded, roles)
    if budget < sum(costs.values()):
        raise ValueError(f"budget {budget} is below {sum(costs.values())}, what rank 1 costs everywhere; raise it")
    inputs = Inputs(
        adapted=Adapted(loaded=loaded, method=ZeroShot(), parameters={}),
        store=data.store, memory=warm.states(loaded), language=recipe.language,
    )  # fmt: skip
    began = time.perf_counter()
    losses = partial(_losses, inputs, data, recipe)
    curves = gradient_curves(loaded, roles, losses, most=most, draws=DRAWS, seed=recipe.seed)
    seconds = {"sketch": time.perf_counter() - began}
    began = time.perf_counter()
    variance = variance_curves(loaded, roles, partial(_run, inputs, data, recipe), most=most)
    seconds["eva"] = time.perf_counter() - began
    entropy = _mean_entropy(data)
    groups = group_layers(loaded)
    return {
        "base": recipe.base, "base_digest": loaded.digest, "data": recipe.data, "data_digest": data.digest,
        "bits": dict(recipe.bits.plan), "budget": budget, "seconds": seconds, "frame_entropy": entropy,
        "clips": BATCHES * recipe.schedule.batch_size,
        "groups": {name: _about(curves[name], costs[name], groups[name]) for name in sorted(costs)},
        "allocations": {one.kind: one.to_json() for one in _all(curves, variance, costs, budget, entropy, recipe)},
    }  # fmt: skip


def _about(curve: np.ndarray, cost: int, layers: Sequence[str]) -> dict[str, Any]:
    return {"cost": cost, "layers": len(layers), "curve": [float(f"{value:.6g}") for value in curve]}


def allocate_command(recipe: Recipe, *, budget: int, device: str, file: Path) -> int:
    """Prints the plan and writes the file."""
    plan = allocate(recipe, budget=budget, device=device)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(plan, indent=1) + "\n")
    print(f"{plan['base']} at {plan['bits']}: {budget} parameters, mean frame entropy {plan['frame_entropy']:.3f}")
    print(f"found on {plan['clips']} clips in {sum(plan['seconds'].values()):.1f} s; written to {file}")
    shown = ("uniform", "sketch", "eva")
    print(f"{'group':26} {'layers':>6} {'a rank costs':>12}" + "".join(f" {kind:>8}" for kind in shown))
    for group, about in plan["groups"].items():
        ranks = "".join(f" {plan['allocations'][kind]['ranks'][group]:>8}" for kind in shown)
        print(f"{group:26} {about['layers']:>6} {about['cost']:>12}{ranks}")
    totals = "".join(f" {plan['allocations'][kind]['params']:>8}" for kind in shown)
    print(f"{'parameters':26} {'':6} {'':12}{totals}")
    return 0


def _all(
    curves: Mapping[str, np.ndarray], variance: Mapping[str, np.ndarray], costs: Mapping[str, int], budget: int,
    entropy: float, recipe: Recipe,
) -> list[Allocation]:  # fmt: skip
    """Every rule at the budget."""
    by_entropy = [
        by_gain(curves, costs, budget, kind=f"entropy {strength:g}", weights=entropy_weights(entropy, strength))
        for strength in STRENGTHS
    ]
    return [
        uniform(curves, costs, budget),
        by_gain(curves, costs, budget),
        *by_entropy,
        by_gain(variance, costs, budget, kind="eva", per_parameter=False),
        at_random(curves, costs, budget, seed=recipe.seed),
        *(with_share(curves, costs, budget, share) for share in SHARES),
    ]


def first_batches(data: Data, recipe: Recipe) -> list[list[tuple[Example, int]]]:
    """The first training batches of the recipe's seed, each example with its reference."""
    examples, size = data.splits["train"], recipe.schedule.batch_size
    orders = (batch_order(len(examples), size, recipe.seed, step) for step in range(BATCHES))
    return [paired(examples, order, recipe.language) for order in orders]


def _losses(inputs: Inputs, data: Data, recipe: Recipe, probe: Adapted) -> Sequence[Callable[[], Tensor]]:
    probed = replace(inputs, adapted=probe)
    return [partial(_remembering, probed, batch) for batch in first_batches(data, recipe)]


def loss_of(inputs: Inputs, batch: Sequence[tuple[Example, int]], states: Sequence[Tensor]) -> Tensor:
    """The mean loss of a batch whose clips have these vision states."""
    loaded, examples = inputs.adapted.loaded, [example for example, _ in batch]
    tokens = inputs.tokens(examples, [reference for _, reference in batch])
    with precision(loaded.device):
        return loaded.family.loss(loaded.model, tokens, states)


def _remembering(inputs: Inputs, batch: Sequence[tuple[Example, int]]) -> Tensor:
    return loss_of(inputs, batch, inputs.states([example for example, _ in batch]))


@torch.no_grad()
def _run(inputs: Inputs, data: Data, recipe: Recipe) -> None:
    for batch in first_batches(data, recipe):
        for example, _ in batch:
            inputs.states([example], fresh=True)  # through the tower too, whose inputs count
        _remembering(inputs, batch)


def _mean_entropy(data: Data) -> float:
    """Of the chosen frames of the training clips."""
    means = [data.store.scores(example.clips[0])["entropy"].mean() for example in data.splits["train"]]
    return float(np.mean(means))
