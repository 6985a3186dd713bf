"""Quantised layers of one's own (`vqlora.extend.add_quantiser`), beside those of bitsandbytes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

QUANTISERS: dict[str, Callable[[nn.Linear, torch.device], nn.Linear]] = {}
MARK = "vqlora_scheme"  # where a layer says which it is


def own_layer(dense: nn.Linear, scheme: str, device: torch.device) -> nn.Linear:
    """A dense layer's quantised one, frozen and marked. ValueError unless it keeps the shape."""
    layer = QUANTISERS[scheme](dense, device).requires_grad_(False)
    if not isinstance(layer, nn.Linear) or layer.weight.shape != dense.weight.shape:
        raise ValueError(f"quantiser {scheme!r} must give an nn.Linear of the shape of the dense one, not {layer}")
    setattr(layer, MARK, scheme)
    return layer


def own_scheme(module: nn.Module) -> str | None:
    """The scheme of such a layer."""
    return getattr(module, MARK, None)
