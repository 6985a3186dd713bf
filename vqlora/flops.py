"""FLOPs of what runs inside a counter, those of quantised layers and of attention included; a multiply-add is 2."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, shape_wrapper

ATTENTIONS = ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention")


def _gemm_4bit(a: Any, b: Any, shape: Any, *rest: Any, out_shape: Any = None, **more: Any) -> int:
    return 2 * prod(a[:-1]) * shape[0] * shape[1]


def _int8_scaled_mm(a: Any, b: Any, *rest: Any, out_shape: Any = None, **more: Any) -> int:
    return 2 * prod(a) * b[0]


def _int8_mixed_scaled_mm(a: Any, ca: Any, cb: Any, *rest: Any, out_shape: Any = None, **more: Any) -> int:
    return 2 * prod(a) * cb[0]


def _attention(q: Any, k: Any, v: Any, *rest: Any, out_shape: Any = None, **more: Any) -> int:
    """Shapes [batch, heads, tokens, width]; with grouped queries k and v have fewer heads than q, which do the work."""
    return 2 * prod(q[:3]) * k[2] * (q[3] + v[3])


def _attention_backward(grad: Any, q: Any, k: Any, v: Any, *rest: Any, out_shape: Any = None, **more: Any) -> int:
    """The scores again, their gradient and that of v, then those of q and k."""
    return 2 * prod(q[:3]) * k[2] * (3 * q[3] + 2 * v[3])


def formulas() -> dict[Any, Callable[..., int]]:
    """FLOPs of operators that torch's counter does not know: bitsandbytes' products, attention with grouped queries.

    A quantised product counts like the dense one; dequantisation counts nothing, as a cast would.
    """
    import bitsandbytes  # noqa: F401  # defines the operators below

    return {
        torch.ops.bitsandbytes.gemm_4bit: _gemm_4bit,
        torch.ops.bitsandbytes.gemv_4bit: _gemm_4bit,
        torch.ops.bitsandbytes.int8_scaled_mm: _int8_scaled_mm,
        torch.ops.bitsandbytes.int8_mixed_scaled_mm: _int8_mixed_scaled_mm,
        **{getattr(torch.ops.aten, f"_scaled_dot_product_{name}"): _attention for name in ATTENTIONS},
        **{getattr(torch.ops.aten, f"_scaled_dot_product_{name}_backward"): _attention_backward for name in ATTENTIONS},
    }


class FlopCounter(TorchDispatchMode):
    """Counts what runs inside it, forward and backward, by torch's registry and `formulas`; a multiply-add is 2.

    torch's own FlopCounterMode also decomposes operators it has no formula for; SiLU's backward then rounds otherwise,
    so a counted step would differ from an uncounted one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0
        self._formulas = flop_registry | {op: shape_wrapper(formula) for op, formula in formulas().items()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = self._formulas.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out
