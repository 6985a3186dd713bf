"""Layers and attention without values that allocate what the real ones allocate on a GPU, for `vqlora.planner`.

Run on fake tensors, which have shape, type and storage size but no memory. A quantised layer keeps nothing of its
input where bitsandbytes keeps nothing, and makes the same temporaries: the dequantised weight at 4 bits, fp16 and int8
copies of the input and int32 sums at 8.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface

SHAPES_ONLY = "shapes_only"
FRAMES_ONLY = "flash_shapes_only"  # 'flash' in the name asks a tower for frame borders


@contextmanager
def bf16_autocast() -> Iterator[None]:
    """bf16 arithmetic around fp32 trained weights as on a GPU; PEFT asks whether it is on for GPUs."""
    torch.set_autocast_enabled("cuda", True)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            yield
    finally:
        torch.set_autocast_enabled("cuda", False)


def fake_tensors(model: nn.Module) -> dict[int, nn.Parameter]:
    """Tensors on the meta device become fake ones, which autocast and autograd treat as real; tied ones stay one.

    Inside a FakeTensorMode. {id of an old parameter: the new one}.
    """
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, old in module._parameters.items():
            if old is not None:
                if id(old) not in made:
                    empty = torch.empty(old.shape, dtype=old.dtype)
                    made[id(old)] = nn.Parameter(empty, requires_grad=old.requires_grad)
                module._parameters[name] = made[id(old)]
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else torch.empty(buffer.shape, dtype=buffer.dtype)
    return made


class _Multiply4(torch.autograd.Function):
    """bitsandbytes' MatMul4Bit at training sizes: the weight is dequantised for each product and then dropped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, outer: int, inner: int) -> Tensor:
        ctx.shape = (outer, inner)
        return F.linear(x, x.new_empty(outer, inner))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return gradient @ gradient.new_empty(ctx.shape), None, None


class _Multiply8(torch.autograd.Function):
    """`models.frozen8` on a GPU: the input in fp16 and int8, int32 sums; the backward pass dequantises the weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, outer: int, inner: int) -> Tensor:
        ctx.shape = (outer, inner)
        flat = x.flatten(0, -2)
        half = flat.half()
        large = half.abs() >= 6.0
        small = flat.new_empty(flat.shape, dtype=torch.int8)
        del large
        sums = flat.new_empty(len(flat), outer, dtype=torch.int32)
        scales = [flat.new_empty(count, dtype=torch.float32) for count in (len(flat), outer)]
        weight = small.new_empty(1).expand(outer, inner)  # the stored one: no memory of its own
        out = torch.ops.bitsandbytes.int8_scaled_mm(small, weight, *scales, dtype=torch.float16).to(x.dtype)
        del half, sums
        return out.unflatten(0, x.shape[:-1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        return gradient @ gradient.new_empty(ctx.shape), None, None


def shadow_layer(dense: Any, layer_bits: int) -> nn.Module:
    """The stand-in of a dense layer's quantised one; of bitsandbytes' class, so that PEFT wraps it as the real one."""
    import bitsandbytes as bnb

    kind, product = (bnb.nn.Linear4bit, _Multiply4) if layer_bits == 4 else (bnb.nn.Linear8bitLt, _Multiply8)

    class Shadow(kind):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.in_features, self.out_features, self.index = dense.in_features, dense.out_features, None
            self.compute_dtype, self.bias = dense.weight.dtype, dense.bias
            self.state = bnb.MatmulLtState()
            weight: Any = nn.Parameter(
                torch.empty(1, dtype=torch.uint8, device=dense.weight.device), requires_grad=False
            )
            weight.compress_statistics, weight.quant_type = True, "nf4"
            self.weight = weight

        def forward(self, x: Tensor) -> Tensor:
            x = x.to(self.compute_dtype)
            return product.apply(x, self.out_features, self.in_features)  # type: ignore[no-any-return]

    return Shadow()


def _shapes_only_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attention as the fused kernels keep it for backward: query, key, value and output, never the score matrix.

    Flash attention takes fewer key heads than query heads as they are.
    """
    borders = kwargs.get("cu_seq_lens_q")
    if borders is not None:
        frames = len(borders) - 1
        query, key, value = (part[0].unflatten(1, (frames, -1)).transpose(0, 1) for part in (query, key, value))
    out = Grouped.apply(query, key, value).transpose(1, 2)
    return (out.flatten(0, 1).unsqueeze(0) if borders is not None else out), None


class Grouped(torch.autograd.Function):
    """Fused attention: saves q, k, v, output and the log of the sums; makes the output, then three gradients."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = _counted_attention(query, key, value)
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        query, key, value, out, sums = ctx.saved_tensors
        wide = [part.repeat_interleave(query.shape[1] // key.shape[1], 1) for part in (key, value)]
        found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            gradient, query, *wide, out, sums, 0.0, True
        )
        narrow = [part.unflatten(1, (key.shape[1], -1)).sum(2) for part in found[1:]]
        return found[0], narrow[0], narrow[1]


def _counted_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """torch's fused operator, whose FLOPs are counted; it wants as many key heads as query heads."""
    wide = (part.repeat_interleave(query.shape[1] // key.shape[1], 1) for part in (key, value))
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, *wide)[0]


AttentionInterface.register(SHAPES_ONLY, _shapes_only_attention)
AttentionInterface.register(FRAMES_ONLY, _shapes_only_attention)
AttentionMaskInterface.register(SHAPES_ONLY, lambda *_, **__: None)
