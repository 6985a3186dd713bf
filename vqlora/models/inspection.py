"""What a base is made of and what a bit plan and adapters would touch, from its configuration alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from vqlora.models.bits import kept_wide, layer_bits, linear_bytes
from vqlora.models.families import Family, family_of
from vqlora.models.load import meta_model, model_type_of
from vqlora.models.roles import linear_layers, parameters_by_role
from vqlora.recipe import Bits

WIDE = 2  # bytes of a value that is not quantised, as on a GPU
SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Part:
    """A role of a base. quantised: {bits: linear layers}; lora: values that adapters of the asked rank would train."""

    role: str
    parameters: int
    layers: Sequence[str]
    bytes: float
    quantised: dict[int, int]
    lora: int


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """A base by role; kept_wide: {reason: names} of what no plan touches."""

    base: str
    family: Family
    parts: Sequence[Part]
    kept_wide: dict[str, list[str]]

    @property
    def parameters(self) -> int:
        return sum(part.parameters for part in self.parts)


def inspect(base: str, bits: Bits, *, rank: int) -> Inspection:
    """ValueError for an unknown base, or a plan for a role that it lacks."""
    model_type, model = model_type_of(base), meta_model(base)
    plan, layers = layer_bits(model, model_type, bits), linear_layers(model, model_type)
    parts = [
        _part(model, role, names, layers[role], plan, bits, rank)
        for role, names in parameters_by_role(model, model_type).items()
    ]
    return Inspection(base=base, family=family_of(model_type), parts=parts, kept_wide=kept_wide(model, model_type))


def _part(
    model: nn.Module,
    role: str,
    names: Sequence[str],
    layers: Sequence[str],
    plan: dict[str, int],
    bits: Bits,
    rank: int,
) -> Part:
    total, count = 0.0, 0
    for name in names:
        parameter = model.get_parameter(name)
        count += parameter.numel()
        layer, _, leaf = name.rpartition(".")
        if leaf == "weight" and layer in plan:
            rows, columns = parameter.shape
            total += linear_bytes(rows, columns, plan[layer], bits, wide=WIDE)
        else:
            total += WIDE * parameter.numel()
    low = [plan[layer] for layer in layers if plan[layer] < 16]
    shapes = [tuple(model.get_parameter(f"{layer}.weight").shape) for layer in layers]
    return Part(
        role=role,
        parameters=count,
        layers=layers,
        bytes=total,
        quantised={width: low.count(width) for width in sorted(set(low))},
        lora=sum(rank * (rows + columns) for rows, columns in shapes),
    )


def lines(found: Inspection, *, rank: int) -> list[str]:
    """The inspection as text, one table and what stays 16 bits."""
    family = found.family
    out = [
        f"{found.base}: {family.name} ({family.model_type}), {found.parameters / 1e6:.1f} million parameters",
        f"{'role':12} {'million':>9} {'linear':>7} {'MiB':>9}  {'quantised':24} {f'LoRA r={rank}':>12}  such as",
    ]
    for part in found.parts:
        plan = ", ".join(f"{count} at {width} bits" for width, count in part.quantised.items()) or "none"
        example = part.layers[0] if part.layers else "-"
        out.append(
            f"{part.role:12} {part.parameters / 1e6:9.2f} {len(part.layers):7} {part.bytes / 2**20:9.1f}  {plan:24} "
            f"{part.lora:12,}  {example}"
        )
    out.append("16 bits in any plan, and without adapters:")
    for reason, names in found.kept_wide.items():
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        out.append(f"  {reason}: {', '.join(names[:SHOWN])}{more}")
    out.append(f"times reach the model by {family.times}")
    return out + [f"cannot {what}: {why}" for what, why in family.cannot.items()]
