"""Groups of layers that share a rank: role x part of a block x third of the depth, such as 'text.attention.0'."""

from __future__ import annotations

import re
from collections.abc import Iterable

from vqlora.models.load import Loaded
from vqlora.models.roles import linear_layers

BLOCK = re.compile(r"\.(?:layers|layer|blocks|block|gated_cross_attn_layers)\.(\d+)\.")
ATTENTION = re.compile(r"(?:attn|attention)\.|\.(q|k|v|o|out|qkv|output)_proj$|\.(qkv|query|key|value)$")
THIRDS = 3


def group_layers(loaded: Loaded) -> dict[str, list[str]]:
    """{group: full names of its linear layers}; every linear layer but the heads is in exactly one."""
    groups: dict[str, list[str]] = {}
    for role, names in linear_layers(loaded.model, loaded.model_type).items():
        depth = 1 + max((block_of(name) for name in names), default=0)
        for name in names:
            part = "attention" if ATTENTION.search(name) else "mlp"
            groups.setdefault(f"{role}.{part}.{block_of(name) * THIRDS // depth}", []).append(name)
    return groups


def group_costs(loaded: Loaded, roles: Iterable[str]) -> dict[str, int]:
    """Parameters that one rank costs in each group of the roles: inputs + outputs, over its layers."""
    wanted = tuple(f"{role}." for role in roles)
    return {
        group: sum(_sides(loaded, name) for name in names)
        for group, names in group_layers(loaded).items()
        if group.startswith(wanted)
    }


def block_of(name: str) -> int:
    """The number of the block that a layer is in; 0 outside of blocks, such as in a projector."""
    found = BLOCK.search(name)
    return int(found.group(1)) if found else 0


def _sides(loaded: Loaded, name: str) -> int:
    layer = loaded.model.get_submodule(name)
    return int(layer.in_features) + int(layer.out_features)
