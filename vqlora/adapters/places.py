"""Where adapters that belong to a part of a block sit: layers by what they do, from their names in all families.

Roles come from `vqlora.models.roles`; here a leaf name only says what a layer is for, never which tower it is in.
"""

from __future__ import annotations

from vqlora.models.load import Loaded
from vqlora.models.roles import linear_layers

# q, k and v in one matrix count as keys and values.
KEYS_VALUES = frozenset({"k_proj", "v_proj", "key", "value", "k", "v", "qkv", "in_proj_qkv"})
ATTENTION_OUT = frozenset({"o_proj", "out_proj", "output_proj", "projection", "projection_layer"})
MLP_OUT = frozenset({"down_proj", "fc2", "linear_fc2", "c_proj"})


def keys_values(loaded: Loaded, role: str) -> list[str]:
    """Layers of a role that make keys or values."""
    return [name for name in _layers(loaded, role) if name.rpartition(".")[2] in KEYS_VALUES]


def outputs(loaded: Loaded, role: str, place: str) -> list[str]:
    """The last layer of each attention ('attention') or feed-forward part ('mlp') of a role's blocks."""
    return [name for name in _layers(loaded, role) if _place(name) == place]


def _layers(loaded: Loaded, role: str) -> list[str]:
    return linear_layers(loaded.model, loaded.model_type)[role]


def _place(name: str) -> str | None:
    """BERT's and ViT's blocks end both parts in a layer called 'dense' or 'proj'; its parents tell them apart."""
    parents, _, leaf = name.rpartition(".")
    if leaf in ATTENTION_OUT:
        return "attention"
    if leaf in MLP_OUT:
        return "mlp"
    above = parents.split(".")
    if leaf in ("dense", "proj") and any(part.startswith(("attn", "attention", "crossattention")) for part in above):
        return "attention"
    return "mlp" if leaf == "dense" and above[-1].startswith("output") else None
