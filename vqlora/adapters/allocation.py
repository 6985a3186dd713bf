"""Ranks per group of layers under one budget of parameters: how much each further rank is worth, and what it costs.

Gains come from `sketch`; here are the allocators that spend a budget on them, all at equal parameter count up to one
rank of the cheapest group. numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

ENTROPY_USUAL, ENTROPY_SPREAD, MOST_SPREADS = 0.75, 0.1, 2.0  # of the mean frame entropy, in [0, 1]
VISUAL = ("vision", "cross_modal")
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)

Curves = Mapping[str, np.ndarray]  # {group: gain of its 1st, 2nd, ... rank}, none larger than the one before


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """ranks: {group: rank}. params: that they cost. gain: the sum of their gains, in the unit of the curves."""

    kind: str
    ranks: Mapping[str, int]
    params: int
    gain: float

    def to_json(self) -> dict[str, Any]:
        return {"ranks": dict(self.ranks), "params": self.params, "gain": self.gain}


def by_gain(
    curves: Curves,
    costs: Mapping[str, int],
    budget: int,
    *,
    kind: str = "sketch",
    weights: Mapping[str, float] | None = None,
    per_parameter: bool = True,
) -> Allocation:
    """Greedily one more rank to the group where it gains most, per parameter or (as EVA does) per rank, while it fits.

    For curves that never rise this is the best of the relaxed problem but for the last rank. weights: {role: factor}.
    """
    ranks = dict.fromkeys(curves, 0)
    left = budget
    while True:
        worth = {
            group: (weights or {}).get(group.partition(".")[0], 1.0)
            * float(curve[ranks[group]])
            / (costs[group] if per_parameter else 1)
            for group, curve in curves.items()
            if ranks[group] < len(curve) and costs[group] <= left
        }
        if not worth:
            break
        best = max(worth, key=lambda group: (worth[group], group))
        ranks[best] += 1
        left -= costs[best]
    return _allocation(kind, ranks, curves, costs)


def with_share(curves: Curves, costs: Mapping[str, int], budget: int, share: float) -> Allocation:
    """`share` of the budget to vision and cross_modal, the rest to text, by gain within each."""
    visual = {group: curve for group, curve in curves.items() if group.partition(".")[0] in VISUAL}
    text = {group: curve for group, curve in curves.items() if group not in visual}
    parts = [by_gain(part, costs, round(own * budget)).ranks for part, own in ((visual, share), (text, 1 - share))]
    return _allocation(f"share {share:g}", dict(parts[0]) | dict(parts[1]), curves, costs)


def uniform(curves: Curves, costs: Mapping[str, int], budget: int) -> Allocation:
    """The same rank everywhere, and one more in as many groups as still fit."""
    equal = {group: 1.0 / np.arange(1, 1 + len(curve)) for group, curve in curves.items()}
    found = by_gain(equal, costs, budget, kind="uniform", per_parameter=False)
    return _allocation("uniform", dict(found.ranks), curves, costs)


def at_random(curves: Curves, costs: Mapping[str, int], budget: int, *, seed: int) -> Allocation:
    """Ranks to groups drawn at random while they fit: what an allocation that knows nothing is worth."""
    rng, left = np.random.default_rng(seed), budget
    ranks = dict.fromkeys(curves, 0)
    while open_groups := [g for g in sorted(curves) if ranks[g] < len(curves[g]) and costs[g] <= left]:
        group = open_groups[int(rng.integers(len(open_groups)))]
        ranks[group] += 1
        left -= costs[group]
    return _allocation("random", ranks, curves, costs)


def entropy_weights(entropy: float, strength: float) -> dict[str, float]:
    """Weights of the roles when frames hold this much entropy (mean, in [0, 1]): more for vision where it is high.

    strength 0 is pure sensitivity. The projector's exponent is half of vision's.
    """
    spreads = float(np.clip((entropy - ENTROPY_USUAL) / ENTROPY_SPREAD, -MOST_SPREADS, MOST_SPREADS))
    return {
        "vision": float(np.exp(strength * spreads)),
        "cross_modal": float(np.exp(strength * spreads / 2)),
        "text": 1.0,
    }


def _allocation(kind: str, ranks: Mapping[str, int], curves: Curves, costs: Mapping[str, int]) -> Allocation:
    return Allocation(
        kind=kind,
        ranks=dict(sorted(ranks.items())),
        params=sum(rank * costs[group] for group, rank in ranks.items()),
        gain=float(sum(curves[group][:rank].sum() for group, rank in ranks.items())),
    )
