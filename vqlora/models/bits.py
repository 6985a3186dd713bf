"""Bit plans: linear layers replaced by bitsandbytes layers role by role, and what was found after building.

Layers are chosen by full name from the role map, never by a skip list: transformers' skip patterns are anchored and
drop the default `lm_head` skip as soon as a user gives a list. A layer goes to the device as soon as it is quantised,
so the device never holds a 16-bit copy of what is stored in 4 or 8 bit.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from vqlora.models.families import family_of
from vqlora.models.frozen8 import frozen8
from vqlora.models.quantisers import QUANTISERS, own_layer, own_scheme
from vqlora.models.roles import HEADS, check_roles, linear_layers, part_of, role_of, roles_of_base
from vqlora.parts import local_part
from vqlora.recipe import PARTS, Bits

BLOCK, NESTED_BLOCK = 64, 256  # weights per absmax, absmax values per second-level absmax (arXiv:2305.14314)
CODE_BYTES = {"plain": 16 * 4, "nested": 16 * 4 + 256 * 4 + 4 + 4}  # code tables, offset and dtype-free scalars, fp32
DENSE_BYTES = 2**30  # of dequantised copies on a CPU
ADDED = ("lora_A", "ia3_l", "bottleneck", "prefix", "temporal_mixer")  # children that an adapter adds to a module
ADDED_NAMES = re.compile(r"\.(lora_|ia3_l|bottleneck|prefix|temporal_mixer)")
INT8_THRESHOLD = 6.0  # activations above it are multiplied in 16 bit on a GPU (arXiv:2208.07339)

# Notices a user can do nothing about: one per multiplication that bf16 inputs are cast to fp16 (the int8 GPU kernel has
# no other way), and one that an optional CPU kernel, which `quantised_layer` switches off, is not installed.
for _module in ("autograd._functions", "backends.cpu.ops"):
    logging.getLogger(f"bitsandbytes.{_module}").setLevel(logging.ERROR)


def _bitsandbytes() -> Any:
    """Imported late (seconds) and without types: its stubs know neither its parameters' arguments nor its functions."""
    import bitsandbytes

    return bitsandbytes


def layer_bits(model: nn.Module, model_type: str, bits: Bits) -> dict[str, int]:
    """{full name: bits} of the linear layers that a plan may touch; the others are in `kept_wide`."""
    check_roles(model_type, (group.partition(".")[0] for group in bits.plan), "the bit plan")
    return {
        name: _bits_of(bits, model_type, role, part_of(name))
        for role, names in linear_layers(model, model_type).items()
        for name in names
    }


def bits_by_role(bits: Bits, model_type: str) -> dict[str, int]:
    """The fewest bits of every role of this type of base. ValueError if the plan names a role it does not have.

    A plan silent about cross_modal means the text's bits where that is attention (Flamingo), 16 for a projector; one
    silent about audio means the vision's, as of the other tower.
    """
    check_roles(model_type, (group.partition(".")[0] for group in bits.plan), "the bit plan")
    return {
        role: min(_bits_of(bits, model_type, role, part) for part in (None, *PARTS))
        for role in roles_of_base(model_type)
    }


def kept_wide(model: nn.Module, model_type: str) -> dict[str, list[str]]:
    """{reason: names of modules with weights that no plan touches}."""
    touched = {name for names in linear_layers(model, model_type).values() for name in names}
    out: dict[str, list[str]] = {}
    for name, module in model.named_modules():
        if name in touched or not list(module.parameters(recurse=False)):
            continue
        out.setdefault(_why_wide(name, module), []).append(name or type(module).__name__)
    return out


def _why_wide(name: str, module: nn.Module) -> str:
    if isinstance(module, nn.Embedding):
        return "embeddings"
    if name.rpartition(".")[2] in HEADS:
        return "heads of the vocabulary"
    if isinstance(module, (nn.MultiheadAttention, nn.modules.linear.NonDynamicallyQuantizableLinear)):
        return "attention that torch calls as a function: its layers' own forward never runs"
    if "norm" in type(module).__name__.lower():
        return "norms"
    return "convolutions and single parameters"


def _bits_of(bits: Bits, model_type: str, role: str, part: str | None) -> int:
    named = {group.partition(".")[0] for group in bits.plan}
    if role == "cross_modal" and role not in named and family_of(model_type).crosses:
        return bits.of("text", part)
    if role == "audio" and role not in named:
        return bits.of("vision", part)
    return bits.of(role, part)


def quantised_layer(dense: Any, layer_bits: int, bits: Bits, device: torch.device) -> nn.Module:
    """The bitsandbytes layer of a dense one, frozen, on the device; its dense weight is quantised there."""
    if layer_bits == 4 and bits.scheme4 in QUANTISERS:
        return own_layer(dense, bits.scheme4, device)
    bnb = _bitsandbytes()
    shape = {"input_features": dense.in_features, "output_features": dense.out_features, "bias": dense.bias is not None}
    weight = dense.weight.data.to(device)
    with torch.device("meta"):
        layer: Any = (
            frozen8()(**shape, has_fp16_weights=False, threshold=INT8_THRESHOLD)
            if layer_bits == 8
            else bnb.nn.Linear4bit(
                **shape,
                compute_dtype=dense.weight.dtype,
                compress_statistics=bits.double_quant,
                quant_type=bits.scheme4,
            )
        )
    if layer_bits == 8:
        # Int8Params quantises on its way from the host to a device and nowhere else.
        layer.weight = bnb.nn.Int8Params(weight.cpu(), requires_grad=False, has_fp16_weights=False).to(device)
        layer.init_8bit_state()
    else:
        layer.weight = bnb.nn.Params4bit(
            weight, requires_grad=False, compress_statistics=bits.double_quant, quant_type=bits.scheme4, module=layer
        ).to(device)
        # In evaluation bitsandbytes would repack the weight for AVX512 in place; a repacked weight has no gradient.
        layer.support_avx512bf16_for_cpu = False
    layer.bias = None if dense.bias is None else nn.Parameter(dense.bias.data.to(device), requires_grad=False)
    return layer


def settle(model: nn.Module) -> None:
    """Evaluation mode for good: towers are frozen and none of the bases has dropout.

    8-bit layers stay in 'training' mode, in which they compute x W^T with the dequantised weight on a CPU; their CPU
    evaluation path quantises activations too, which is slower and another function than the one trained.
    """
    bnb = _bitsandbytes()
    model.eval()
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear8bitLt):
            module.training = True


@torch.no_grad()
def dequantised(layer: Any) -> Tensor:
    """The weight that a quantised layer multiplies with, [rows, columns], by bitsandbytes' own arithmetic.

    Of 4 bits in the dtype that the layer computes in, of 8 in fp32.
    """
    bnb, scheme = _bitsandbytes(), scheme_of(layer)
    if scheme in QUANTISERS:
        return layer.weight
    if scheme == "int8":
        return layer.state.CB.float() * layer.state.SCB.unsqueeze(1).mul(1.0 / 127.0)
    return bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(layer.compute_dtype)


def dense_copies(model: nn.Module, most_bytes: float = DENSE_BYTES) -> dict[nn.Module, Tensor]:
    """Weights that bitsandbytes would dequantise in every product, for `multiply_dense`; empty past so many bytes."""
    layers, size = _dequantised_always(model)
    return {layer: dequantised(layer) for layer in layers} if size <= most_bytes else {}


def dense_bytes(model: nn.Module) -> int:
    """Of `dense_copies` without a bound."""
    return _dequantised_always(model)[1]


def _dequantised_always(model: nn.Module) -> tuple[list[Any], int]:
    """Layers whose products dequantise the whole weight, and the bytes of those weights.

    On a GPU only those of 4 bits: 8-bit products quantise the activations there, which is another function.
    """
    is_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    schemes, wide = (("nf4", "fp4", "int8"), 4) if is_cpu else (("nf4", "fp4"), 2)
    layers: list[Any] = [module for module in model.modules() if scheme_of(module) in schemes]
    return layers, sum(layer.in_features * layer.out_features * wide for layer in layers)


@contextmanager
def multiply_dense(copies: Mapping[nn.Module, Tensor]) -> Iterator[None]:
    """Inside, layers multiply with weights dequantised once instead of anew each time; the same values to the bit.

    bitsandbytes dequantises the whole weight in every forward and backward: always on a CPU, on a GPU where the batch
    is longer than what its fused kernels are for. Memory and time are never measured in here.
    """
    for layer, weight in copies.items():
        layer.forward = partial(_multiply, weight, layer)  # an instance's forward goes before its class's
    try:
        yield
    finally:
        for layer in copies:
            del layer.forward


def _multiply(weight: Tensor, layer: Any, x: Tensor) -> Tensor:
    return nn.functional.linear(x, weight, layer.bias)


def scheme_of(module: nn.Module) -> str | None:
    """'nf4', 'fp4', 'int8', the name of one's own, or None for a layer that is not quantised."""
    bnb, layer = _bitsandbytes(), cast(Any, module)
    if isinstance(module, bnb.nn.Linear4bit):
        return str(layer.weight.quant_type)
    return "int8" if isinstance(module, bnb.nn.Linear8bitLt) else own_scheme(module)


def tensors_of(module: nn.Module) -> list[Tensor]:
    """All tensors a module keeps, its quantisation constants included (its own, not its children's)."""
    out = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    scheme = scheme_of(module)
    layer: Any = module
    if scheme == "int8":
        out += [t for t in (layer.state.CB, layer.state.SCB, layer.weight.CB, layer.weight.SCB) if t is not None]
    elif scheme is not None and scheme not in QUANTISERS:
        state = layer.weight.quant_state
        out += [state.absmax, state.code]
        out += [state.offset, state.state2.absmax, state.state2.code] if state.nested else []
    return out


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of the distinct storages behind `tensors`; views and tied weights count once."""
    storages = (local_part(tensor).untyped_storage() for tensor in tensors)
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def model_bytes(model: nn.Module, *, trainable: bool | None = None) -> int:
    """Bytes of all weights and constants; with `trainable`, of the parameters that are (or are not) trained."""
    tensors = [tensor for module in model.modules() for tensor in tensors_of(module)]
    return storage_bytes(t for t in tensors if trainable is None or t.requires_grad == trainable)


def linear_bytes(rows: int, columns: int, layer_bits: int, bits: Bits, *, wide: int) -> float:
    """Bytes of a weight [rows, columns] with its quantisation constants; `wide` = bytes of an unquantised value."""
    count = rows * columns
    if layer_bits == 16:
        return count * wide
    if layer_bits == 8:
        return count + 4 * rows
    blocks = -(-count // BLOCK)
    if bits.double_quant:
        return count / 2 + blocks + 4 * -(-blocks // NESTED_BLOCK) + CODE_BYTES["nested"]
    return count / 2 + 4 * blocks + CODE_BYTES["plain"]


def report(model: nn.Module, model_type: str) -> dict[str, dict[str, Any]]:
    """Per role as found: linear layers, those quantised by scheme, those adapted, parameters, trainable, base bytes."""
    out: dict[str, dict[str, Any]] = {
        role: {"linear_layers": 0, "quantised": {}, "adapted_layers": 0, "parameters": 0, "trainable": 0}
        for role in roles_of_base(model_type)
    }
    tensors: dict[str, list[Tensor]] = {role: [] for role in out}
    targets = {name for names in linear_layers(model, model_type).values() for name in names}
    for name, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        is_adapted = any(hasattr(module, mark) for mark in ADDED)
        if not own and not is_adapted:
            continue
        # A model may hold parameters of its own, such as a newline, whose role is not that of what it contains.
        leaves = [f"{name}.{leaf}".lstrip(".") for leaf, _ in module.named_parameters(recurse=False)]
        role = role_of(model_type, leaves[0] if leaves else name)
        row = out[role]
        row["trainable"] += sum(p.numel() for p in own if p.requires_grad)
        row["adapted_layers"] += is_adapted
        if ADDED_NAMES.search(name):
            continue
        tensors[role] += tensors_of(module)
        row["parameters"] += sum(_logical_size(module, p) for p in own)
        row["linear_layers"] += name in targets
        scheme = scheme_of(module)
        if scheme:
            row["quantised"][scheme] = row["quantised"].get(scheme, 0) + 1
    for role, row in out.items():
        row["bytes"] = storage_bytes(tensors[role])
    return out


def check_built(found: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, int], bits: Bits, model_type: str) -> None:
    """Asserts that exactly the planned layers, {name: bits}, are quantised, each role's in the planned schemes."""
    for role, row in found.items():
        planned = Counter(
            scheme_for(own, bits) for name, own in wanted.items() if own < 16 and role_of(model_type, name) == role
        )
        assert row["quantised"] == dict(planned), f"{role}: {row['quantised']} quantised, planned {dict(planned)}"


def scheme_for(layer_bits: int, bits: Bits) -> str:
    """The scheme of fewer than 16 bits."""
    return {8: "int8", 4: bits.scheme4}[layer_bits]


def _logical_size(module: nn.Module, parameter: nn.Parameter) -> int:
    state = getattr(parameter, "quant_state", None)
    return state.shape.numel() if state is not None else parameter.numel()
