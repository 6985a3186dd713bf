"""Gradient checkpointing (arXiv:1604.06174): a block keeps its input only, and is computed again for its gradients.

transformers' own switch works in training mode alone; bases here stay in evaluation mode. Blocks that run without
gradients, such as those of a frozen tower, are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer


@contextmanager
def checkpointed(model: nn.Module) -> Iterator[None]:
    """Inside, forward and backward passes through the model's blocks are checkpointed; the values are the same."""
    blocks = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for block in blocks:
        block.forward = partial(_twice, block.forward)  # an instance's forward goes before its class's
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def _twice(forward: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*inputs, **named)
    return checkpoint(forward, *inputs, use_reentrant=False, **named)
