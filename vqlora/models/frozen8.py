"""A frozen 8-bit layer that keeps nothing of its input for the backward pass.

bitsandbytes' own keeps it as a plain attribute, past torch's saved-tensor hooks, although a frozen weight has no use
for it: checkpointing would save nothing. The products are its own, so values and gradients are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor


class _Product(torch.autograd.Function):
    """The layer's own product, and its gradient by the dequantised weight. x [..., in]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Any, product: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.state, ctx.shape, ctx.dtype = layer.state, x.shape, x.dtype
        return product(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        state = ctx.state
        weight = state.CB.to(ctx.dtype, copy=True).mul_(state.SCB.unsqueeze(1).mul(1.0 / 127.0))
        flat = gradient.reshape(-1, gradient.shape[-1]).to(ctx.dtype)
        return torch.matmul(flat, weight).view(ctx.shape), None, None


@cache
def frozen8() -> Any:
    """The class, a bitsandbytes.nn.Linear8bitLt. A function, because importing bitsandbytes takes seconds."""
    import bitsandbytes as bnb

    class FrozenLinear8(bnb.nn.Linear8bitLt):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            if torch.is_grad_enabled() and x.requires_grad:
                return _Product.apply(x, self, super().forward)  # type: ignore[return-value]
            return super().forward(x)

    return FrozenLinear8
