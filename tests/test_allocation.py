"""Allocations stay in their budget, spend it where it gains most, and their gradients are those of the model."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from trials import BASES, recipe

from vqlora import cli
from vqlora.adapters import attach
from vqlora.adapters.adapted import Adapted
from vqlora.adapters.allocation import (
    SHARES,
    VISUAL,
    at_random,
    by_gain,
    entropy_weights,
    uniform,
    with_share,
)
from vqlora.adapters.export import _peft_config
from vqlora.adapters.groups import group_costs, group_layers
from vqlora.adapters.sketch import gradient_curves, layer_sketches, variance_curves
from vqlora.allocated import groups_of
from vqlora.models.load import Loaded, load
from vqlora.models.roles import linear_layers
from vqlora.recipe import Bits, Lora

MOST = 6


def instance(seed: int, groups: int, *, equal_costs: bool = False) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    rng = np.random.default_rng(seed)
    names = ["text.attention.0", "text.mlp.1", "vision.attention.0", "cross_modal.mlp.0"][:groups]
    curves = {name: np.sort(rng.exponential(size=MOST))[::-1] for name in names}
    return curves, {name: 10 if equal_costs else int(rng.integers(5, 30)) for name in names}


def gain_of(curves: dict[str, np.ndarray], ranks: tuple[int, ...]) -> float:
    return sum(curve[:rank].sum() for curve, rank in zip(curves.values(), ranks, strict=True))


def test_greedy_is_the_best_of_all_when_ranks_cost_the_same_and_lacks_at_most_one_rank_else() -> None:
    for seed in range(30):
        for equal in (True, False):
            curves, costs = instance(seed, 1 + seed % 4, equal_costs=equal)
            budget = 90
            best = max(
                gain_of(curves, ranks)
                for ranks in product(range(MOST + 1), repeat=len(curves))
                if sum(rank * costs[name] for name, rank in zip(curves, ranks, strict=True)) <= budget
            )
            found = by_gain(curves, costs, budget)
            assert found.params <= budget
            assert found.gain == pytest.approx(gain_of(curves, tuple(found.ranks[name] for name in curves)))
            slack = 0.0 if equal else max(curve[0] for curve in curves.values())
            assert best - slack - 1e-9 <= found.gain <= best + 1e-9


def test_no_rule_exceeds_its_budget_or_leaves_room_for_a_rank_and_gain_grows_with_it() -> None:
    curves, costs = instance(3, 4)
    before = 0.0
    for budget in range(40, 400, 17):
        rules = [by_gain(curves, costs, budget), uniform(curves, costs, budget),
                 at_random(curves, costs, budget, seed=budget)]  # fmt: skip
        for found in rules:
            assert found.params == sum(rank * costs[name] for name, rank in found.ranks.items()) <= budget
            room = [costs[name] for name, rank in found.ranks.items() if rank < MOST]
            assert not room or budget - found.params < min(room)
        assert rules[0].gain >= before - max(curve[0] for curve in curves.values())
        before = rules[0].gain


def test_uniform_ranks_differ_by_one_at_most_and_shares_are_kept() -> None:
    curves, costs = instance(5, 4)
    ranks = uniform(curves, costs, 3 * sum(costs.values()) + 9).ranks.values()
    assert max(ranks) - min(ranks) <= 1 and min(ranks) == 3
    for share in SHARES:
        found = with_share(curves, costs, 200, share)
        visual = sum(rank * costs[name] for name, rank in found.ranks.items() if name.partition(".")[0] in VISUAL)
        assert visual <= share * 200 + 0.5 and found.params - visual <= (1 - share) * 200 + 0.5
    assert all(found.ranks[name] == 0 for name in curves if name.startswith("text"))


def test_entropy_moves_ranks_to_the_visual_side_and_strength_0_moves_nothing() -> None:
    curves, costs = instance(7, 4)
    assert entropy_weights(0.2, 0.0) == {"vision": 1.0, "cross_modal": 1.0, "text": 1.0}
    assert entropy_weights(0.99, 1.0)["vision"] == pytest.approx(np.exp(2.0))

    def visual(entropy: float) -> int:
        found = by_gain(curves, costs, 160, weights=entropy_weights(entropy, 1.0))
        return sum(rank for name, rank in found.ranks.items() if name.partition(".")[0] in VISUAL)

    assert visual(0.95) > visual(0.75) > visual(0.3)


@pytest.mark.parametrize("base", BASES)
def test_every_linear_layer_is_in_one_group_and_a_rank_costs_what_peft_adds(base: str) -> None:
    loaded = load(base, Bits.preset("all4"), "cpu")
    groups = group_layers(loaded)
    layers = [name for names in linear_layers(loaded.model, loaded.model_type).values() for name in names]
    assert sorted(name for names in groups.values() for name in names) == sorted(layers)
    assert {"text.attention.0", "text.mlp.1", "vision.attention.0"} <= set(groups)
    assert all(
        name.rpartition(".")[2] not in ("gate_proj", "fc1")
        for key in groups
        if "attention" in key
        for name in groups[key]
    )
    costs = group_costs(loaded, ("text", "vision", "cross_modal"))
    ranks = {group: 1 + place % 3 for place, group in enumerate(sorted(groups))}
    adapted = attach(loaded, Lora(groups=ranks), seed=0)
    trained = sum(parameter.numel() for parameter in adapted.parameters.values())
    assert trained == sum(rank * costs[group] for group, rank in ranks.items())


def test_ranks_of_groups_go_through_a_recipe_and_through_pefts_configuration() -> None:
    groups = {"text.attention.0": 3, "text.mlp.1": 5, "cross_modal.mlp.0": 0}
    loaded = load(BASES[0], Bits.preset("all16"), "cpu")
    members = group_layers(loaded)
    adapted = attach(loaded, Lora(groups=groups), seed=0)
    assert adapted.method.adapted_roles == ("text",) and adapted.trained_roles == {"text"}
    config = json.loads(_peft_config(adapted.to_bytes(), adapted.method, BASES[0]))
    wanted = {name: rank for group, rank in groups.items() if rank for name in members[group]}
    assert config["rank_pattern"] == wanted and config["target_modules"] == sorted(wanted)
    with pytest.raises(ValueError, match=r"no role\.part\.depth"):
        Lora(groups={"text.all.0": 2})
    with pytest.raises(ValueError, match="give one of them"):
        Lora(rank={"text": 2}, groups=groups)
    with pytest.raises(ValueError, match="which this base does not have"):
        attach(load(BASES[0], Bits.preset("all16"), "cpu"), Lora(groups={"vision.mlp.2": 2}), seed=0)


def through_everything(loaded: Loaded) -> Tensor:
    """A loss that every linear layer of text and projector matters to."""
    generator = torch.Generator().manual_seed(1)
    model = loaded.model
    video = model.model.projector(torch.randn(4, 32, generator=generator))[None]
    embeds = torch.cat([video, model.get_input_embeddings()(torch.arange(10, 22).view(1, -1))], 1)
    hidden = model.model.language_model(inputs_embeds=embeds).last_hidden_state
    return model.lm_head(hidden).logsumexp(-1).mean()


def test_the_sketch_is_an_unbiased_estimate_of_the_full_gradient() -> None:
    loaded = load(BASES[0], Bits.preset("all16"), "cpu")
    roles = ("text", "cross_modal")
    names = [name for role in roles for name in linear_layers(loaded.model, loaded.model_type)[role]]
    full: dict[str, float] = {}
    for name in names:
        weight = loaded.model.get_submodule(name).weight
        weight.requires_grad_(True)
    through_everything(loaded).backward()
    for name in names:
        weight = loaded.model.get_submodule(name).weight
        full[name] = float(weight.grad.square().sum())
        weight.grad = None
        weight.requires_grad_(False)

    def losses(_: Adapted) -> list[object]:
        return [lambda: through_everything(loaded)]

    means = dict.fromkeys(names, 0.0)
    for seed in range(20):
        for name, sketch in layer_sketches(loaded, roles, losses, rows=16, seed=seed).items():  # type: ignore[arg-type]
            means[name] += float(sketch.square().sum()) / 20
    ratios = np.array([means[name] / full[name] for name in names])
    assert ratios.mean() == pytest.approx(1.0, abs=0.1) and ratios.min() > 0.7 and ratios.max() < 1.4
    order = np.corrcoef(*(np.argsort(np.argsort([side[name] for name in names])) for side in (means, full)))[0, 1]
    assert order > 0.95


@pytest.mark.parametrize("plan", ["all4", "all8"])
def test_curves_fall_and_leave_a_quantised_base_as_it_was(plan: str) -> None:
    loaded = load(BASES[0], Bits.preset(plan), "cpu")
    before = through_everything(loaded)
    found = gradient_curves(loaded, ("text", "cross_modal"), lambda _: [lambda: through_everything(loaded)], most=4)
    assert set(found) == set(group_costs(loaded, ("text", "cross_modal")))
    assert all((np.diff(curve) <= 1e-12).all() and curve[0] > 0 for curve in found.values())
    assert torch.equal(through_everything(loaded), before)
    variance = variance_curves(loaded, ("text",), lambda: through_everything(loaded), most=4)
    assert all((np.diff(curve) <= 1e-6).all() and 0 < curve.sum() for curve in variance.values())


def test_the_command_prints_the_plan_and_writes_a_file_that_a_recipe_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plans" / "allocation.json"
    given = ["allocate", BASES[0], "--data", "shapes:tiny", "--budget", "20000", "--frames", "2", "--size", "56"]
    assert cli.main([*given, "--device", "cpu", "--file", str(file)]) == 0
    assert "text.attention.0" in capsys.readouterr().out
    plan = json.loads(file.read_text())
    assert {"uniform", "sketch", "eva", "random", "share 0.25", "entropy 1"} <= set(plan["allocations"])
    assert all(one["params"] <= 20000 for one in plan["allocations"].values())
    most = max(about["cost"] for about in plan["groups"].values())
    assert all(plan["allocations"][kind]["params"] > 20000 - most for kind in ("uniform", "sketch", "eva", "random"))
    method = Lora(groups=groups_of(file, "sketch"))
    assert replace(recipe(), method=method).fingerprint() != recipe().fingerprint()
    with pytest.raises(ValueError, match="is not in"):
        groups_of(file, "magic")
    with pytest.raises(ValueError, match="vqlora allocate"):
        groups_of(tmp_path / "none.json", "sketch")
    assert cli.main([*given[:5], "10", "--device", "cpu"]) == 2
    assert "rank 1 costs everywhere" in capsys.readouterr().err
