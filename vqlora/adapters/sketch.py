"""How much each layer's loss gradient, or its input, would give a low-rank adapter: curves for `allocation`.

A frozen quantised weight has no gradient, but a probe LoRA with B = 0 and orthonormal rows of A has: dL/dB = G A^T, and
E ||G A^T||^2 = q / d_in ||G||^2 over random A of q rows. Its singular values, scaled, stand for those of G.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqlora.adapters.adapted import ADAPTER, Adapted
from vqlora.adapters.groups import group_layers
from vqlora.adapters.lora import attach_lora
from vqlora.models.load import Loaded
from vqlora.models.roles import linear_layers
from vqlora.recipe import Lora


def gradient_curves(
    loaded: Loaded,
    roles: Sequence[str],
    losses: Callable[[Adapted], Sequence[Callable[[], Tensor]]],
    *,
    most: int,
    draws: int = 3,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """{group: squared singular values of dL/dW, summed over its layers, the `most` largest}, averaged over the draws.

    losses: given the probed base, functions that each give the loss of one batch.
    """
    total: dict[str, np.ndarray] = {}
    for draw in range(draws):
        found = layer_sketches(loaded, roles, losses, rows=most, seed=seed + draw)
        for group, names in group_layers(loaded).items():
            for name in (name for name in names if name in found):
                values = torch.linalg.svdvals(found[name].cpu()).square().numpy()
                own = np.zeros(most)
                own[: len(values)] = values[:most]
                total[group] = total.get(group, 0.0) + own / draws
    return total


def layer_sketches(
    loaded: Loaded,
    roles: Sequence[str],
    losses: Callable[[Adapted], Sequence[Callable[[], Tensor]]],
    *,
    rows: int,
    seed: int,
) -> dict[str, Tensor]:
    """{layer: G A^T sqrt(d_in / q) [d_out, q]} of the mean loss; a layer of fewer inputs than `rows` has q = d_in."""
    probe = attach_lora(loaded, Lora(rank=dict.fromkeys(roles, rows), alpha=float(rows), rslora=False), seed=seed)
    layers = {name: module for name, module in loaded.model.named_modules() if hasattr(module, "lora_A")}
    try:
        generator = torch.Generator().manual_seed(seed)
        for layer in layers.values():
            _make_orthonormal(layer, generator)
        batches = losses(probe)
        for loss in batches:
            (loss() / len(batches)).backward()
        return {name: _sketch(layer) for name, layer in layers.items()}
    finally:
        probe.remove()


@torch.no_grad()
def variance_curves(
    loaded: Loaded, roles: Sequence[str], run: Callable[[], None], *, most: int
) -> dict[str, np.ndarray]:
    """{group: explained-variance ratios of its layers' inputs, summed}, as EVA pools them (arXiv:2410.07170)."""
    names = [name for role in roles for name in linear_layers(loaded.model, loaded.model_type)[role]]
    layers = {name: loaded.model.get_submodule(name) for name in names}
    second: dict[str, Tensor] = {}

    def add(name: str, module: Any, inputs: tuple[Tensor, ...]) -> None:
        flat = inputs[0].detach().flatten(0, -2).float()
        second[name] = second.get(name, 0.0) + flat.T @ flat

    handles = [layer.register_forward_pre_hook(partial(add, name)) for name, layer in layers.items()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    total: dict[str, np.ndarray] = {}
    for group, members in group_layers(loaded).items():
        for name in (name for name in members if name in second):
            values = torch.linalg.eigvalsh(second[name]).flip(0).clamp(min=0)
            ratios = (values / values.sum())[:most].cpu().numpy()
            total[group] = total.get(group, 0.0) + np.pad(ratios, (0, most - len(ratios)))
    return total


@torch.no_grad()
def _make_orthonormal(layer: Any, generator: torch.Generator) -> None:
    weight = layer.lora_A[ADAPTER].weight
    rows = min(weight.shape)
    basis = torch.linalg.qr(torch.randn(weight.shape[1], rows, generator=generator))[0].T
    weight.zero_()
    weight[:rows] = basis.to(weight.device)
    layer.lora_B[ADAPTER].weight.zero_()


def _sketch(layer: Any) -> Tensor:
    weight = layer.lora_A[ADAPTER].weight
    rows = min(weight.shape)
    gradient = layer.lora_B[ADAPTER].weight.grad
    if gradient is None:  # no loss went through the layer
        gradient = torch.zeros_like(layer.lora_B[ADAPTER].weight)
    return gradient[:, :rows].float() * (weight.shape[1] / rows) ** 0.5
