"""Which part of a base a parameter belongs to: text, vision, cross_modal or audio, by longest prefix.

The prefixes are in the family's row. Towers nest (a projector inside a vision tower, gated cross-attention beside the
language model), so the longest matching prefix decides and leaf names never do: `q_proj` is in every tower.
Names are those at run time; transformers renames old checkpoints while loading.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn

from vqlora.models.families import family_of

ATTENTION = re.compile(r"attn|attention|\.blocks\.\d+\.0\.[a-z_]*_proj$")  # the last: IDEFICS' resampler
MLP = re.compile(r"mlp|\.fc\d?\b|intermediate|output_query|message_fc|\.blocks\.\d+\.1\.")
HEADS = frozenset({"lm_head"})  # linear layers that are neither quantised nor adapted


def roles_of_base(model_type: str) -> tuple[str, ...]:
    """The roles a base of this type has. ValueError if the type is unknown."""
    return tuple(dict.fromkeys(family_of(model_type).roles.values()))


def role_of(model_type: str, name: str) -> str:
    """The role of the parameter or module `name`. ValueError if no prefix matches."""
    prefixes = family_of(model_type).roles
    found = [prefix for prefix in prefixes if name == prefix or name.startswith(prefix + ".")]
    if not found:
        raise ValueError(f"{name!r} belongs to no role of {model_type}; add its prefix to the family's row")
    return prefixes[max(found, key=len)]


def part_of(name: str) -> str | None:
    """'attn' or 'mlp' for a linear layer of a block, by the names that the families give; None for another one."""
    if ATTENTION.search(name):
        return "attn"
    return "mlp" if MLP.search(name) else None


def parameters_by_role(model: nn.Module, model_type: str) -> dict[str, list[str]]:
    """{role: names of its parameters}; every parameter in exactly one, tied ones once."""
    return _by_role(model_type, (name for name, _ in model.named_parameters()))


def linear_layers(model: nn.Module, model_type: str) -> dict[str, list[str]]:
    """{role: full names of its linear layers}, those that bits and adapters may touch; heads left out.

    Subclasses of nn.Linear that torch calls as a function (MultiheadAttention.out_proj) are no targets: their forward
    never runs, so neither a quantised weight nor an adapter would work there.
    """
    names = (
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and not isinstance(module, nn.modules.linear.NonDynamicallyQuantizableLinear)
        and name.rpartition(".")[2] not in HEADS
    )
    return _by_role(model_type, names)


def check_roles(model_type: str, wanted: Iterable[str], what: str) -> None:
    """ValueError if `what` (a rank, a bit plan) names a role that this type of base does not have."""
    known = roles_of_base(model_type)
    for role in wanted:
        if role not in known:
            raise ValueError(f"{what} names the role {role!r}, which a {model_type} base does not have; it has {known}")


def _by_role(model_type: str, names: Iterable[str]) -> dict[str, list[str]]:
    out: dict[str, list[str]] = {role: [] for role in roles_of_base(model_type)}
    for name in names:
        out[role_of(model_type, name)].append(name)
    return out
