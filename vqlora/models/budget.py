"""The bit plan of smallest expected loss under a budget of bytes: `auto`.

Each group of layers, such as text.attn, is quantised alone and the loss measured (as in HAWQ, arXiv:1911.03852, but by
the loss itself); losses of groups are taken to add up, and the best plan of that model is found exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from vqlora.models.bits import linear_bytes, quantised_layer
from vqlora.models.load import Loaded
from vqlora.models.roles import linear_layers, part_of
from vqlora.recipe import Bits

CHOICES = (4, 8, 16)


def groups_of(model: nn.Module, model_type: str) -> dict[str, list[str]]:
    """{group of a bit plan: its layers}: a role's attention, its mlp, and what is neither under the role's own name."""
    out: dict[str, list[str]] = {}
    for role, names in linear_layers(model, model_type).items():
        for name in names:
            part = part_of(name)
            out.setdefault(f"{role}.{part}" if part else role, []).append(name)
    return out


def group_bytes(
    model: nn.Module, groups: Mapping[str, list[str]], bits: Bits, *, wide: int
) -> dict[str, dict[int, float]]:
    """{group: {bits: bytes of its layers' weights}}; wide: bytes of a value at 16 bits."""

    def size(name: str, width: int) -> float:
        rows, columns = model.get_parameter(f"{name}.weight").shape
        return linear_bytes(rows, columns, width, bits, wide=wide)

    return {
        group: {width: sum(size(name, width) for name in names) for width in CHOICES} for group, names in groups.items()
    }


@torch.no_grad()
def sensitivities(loaded: Loaded, bits: Bits, loss: Callable[[], float]) -> dict[str, dict[int, float]]:
    """{group: {bits: what the loss rises by when only this group has so many}}; `loaded` is at 16 bits and stays so.

    loss: of calibration examples under the base as it stands, in nats.
    """
    model: Any = loaded.model
    plain = loss()
    out: dict[str, dict[int, float]] = {}
    for group, names in groups_of(model, loaded.model_type).items():
        dense = {name: model.get_submodule(name) for name in names}
        out[group] = {16: 0.0}
        for width in CHOICES[:-1]:
            for name, layer in dense.items():
                model.set_submodule(name, quantised_layer(layer, width, bits, loaded.device))
            out[group][width] = loss() - plain
            for name, layer in dense.items():
                model.set_submodule(name, layer)
    return out


def choose(
    losses: Mapping[str, Mapping[int, float]], sizes: Mapping[str, Mapping[int, float]], *, budget_bytes: float
) -> dict[str, int]:
    """{group: bits} of the smallest summed loss whose summed bytes stay within the budget; exact.

    Group by group, plans that are worse than another one in bytes and in loss are dropped, and no other. ValueError,
    with the fewest bytes there can be, if none fits.
    """
    plans: list[tuple[float, float, tuple[int, ...]]] = [(0.0, 0.0, ())]
    for group in losses:
        longer = sorted(
            (size + sizes[group][width], loss + losses[group][width], (*chosen, width))
            for size, loss, chosen in plans
            for width in losses[group]
        )
        plans, best = [], float("inf")
        for plan in longer:
            if plan[1] < best and (plan[0] <= budget_bytes or not plans):
                plans.append(plan)
                best = plan[1]
    fitting = [plan for plan in plans if plan[0] <= budget_bytes]
    if not fitting:
        least = sum(min(own.values()) for own in sizes.values())
        raise ValueError(
            f"no bit plan fits {budget_bytes / 2**20:.1f} MiB of linear layers: "
            f"the smallest needs {least / 2**20:.1f} MiB"
        )
    return dict(zip(losses, min(fitting, key=lambda plan: plan[1])[2], strict=True))
