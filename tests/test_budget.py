"""The best bit plan under a budget: exact, within it, and found from measured losses."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from vqlora.contracts import footage
from vqlora.models.bits import layer_bits
from vqlora.models.budget import choose, group_bytes, groups_of, sensitivities
from vqlora.models.load import load
from vqlora.recipe import Bits


@pytest.mark.parametrize("seed", range(20))
def test_the_choice_is_that_of_trying_every_plan(seed: int) -> None:
    """Losses may even fall with fewer bits, as measured ones sometimes do."""
    rng = np.random.default_rng(seed)
    groups = [f"g{number}" for number in range(rng.integers(1, 6))]
    sizes = {group: dict(zip((4, 8, 16), np.sort(rng.integers(1, 30, 3)).tolist(), strict=True)) for group in groups}
    losses = {group: dict(zip((4, 8, 16), rng.normal(0.1, 0.1, 3).tolist(), strict=True)) for group in groups}
    budget = float(rng.uniform(sum(own[4] for own in sizes.values()), sum(own[16] for own in sizes.values()) + 1))

    def total(table: dict[str, dict[int, float]], plan: tuple[int, ...]) -> float:
        return sum(table[group][width] for group, width in zip(groups, plan, strict=True))

    every = [plan for plan in product((4, 8, 16), repeat=len(groups)) if total(sizes, plan) <= budget]
    found = tuple(choose(losses, sizes, budget_bytes=budget).values())
    assert total(sizes, found) <= budget
    assert total(losses, found) == pytest.approx(min(total(losses, plan) for plan in every))


def test_a_budget_below_the_smallest_plan_says_what_that_needs() -> None:
    with pytest.raises(ValueError, match=r"no bit plan fits 1\.0 MiB .* the smallest needs 2\.0 MiB"):
        choose({"text": {4: 0.0}}, {"text": {4: 2.0 * 2**20}}, budget_bytes=2**20)


def test_measuring_leaves_the_base_as_it_was_and_the_plan_found_loads() -> None:
    bits = Bits(plan={})
    loaded = load("random:llava-onevision-tiny", bits, "cpu")
    seen = footage(loaded)
    before = seen.loss().item()
    losses = sensitivities(loaded, bits, lambda: seen.loss().item())
    assert seen.loss().item() == before
    groups = groups_of(loaded.model, loaded.model_type)
    assert {"text.attn", "text.mlp", "vision.attn", "vision.mlp", "cross_modal"} <= set(groups)
    assert sum(map(len, groups.values())) == len(layer_bits(loaded.model, loaded.model_type, bits))
    assert any(abs(own[4]) > 1e-6 for own in losses.values())
    sizes = group_bytes(loaded.model, groups, bits, wide=4)
    least, most = (sum(own[width] for own in sizes.values()) for width in (4, 16))
    plan = choose(losses, sizes, budget_bytes=(least + most) / 2)
    assert set(plan.values()) != {16}
    built = load("random:llava-onevision-tiny", Bits(plan=plan), "cpu")
    assert built.found["text"]["quantised"] or built.found["vision"]["quantised"]
