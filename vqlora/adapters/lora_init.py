"""Initial values of LoRA that follow the data or the quantisation error, where PEFT's own need what is not at hand.

PEFT's EVA wants a PeftModel and moves ranks between layers, which would undo a study's ranks; its LoftQ wants a GPU and
leaves out LoRA's scale. PiSSA is PEFT's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vqlora.adapters.adapted import ADAPTER
from vqlora.models.bits import dequantised, scheme_of
from vqlora.models.checkpoint import open_checkpoint, sources
from vqlora.models.load import Loaded, base_path, meta_model

ROWS = 512  # inputs of a layer that are kept of one pass, evenly spaced
OVERSAMPLED, ITERATIONS = 8, 4  # of the randomised SVD (arXiv:0909.4061)


@torch.no_grad()
def start_from_inputs(layers: Mapping[str, Any], run: Callable[[], None]) -> None:
    """EVA (arXiv:2410.07170): the rows of A are the first right singular vectors of the layer's inputs; B stays 0.

    run: passes training clips through the model.
    """
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str, module: Any, inputs: tuple[Tensor, ...]) -> None:
        flat = inputs[0].detach().flatten(0, -2)
        places = torch.linspace(0, len(flat) - 1, min(ROWS, len(flat)), device=flat.device).round().long()
        seen[name].append(flat[places].float().cpu())

    handles = [layer.register_forward_pre_hook(partial(keep, name)) for name, layer in layers.items()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    for name, layer in layers.items():
        weight = layer.lora_A[ADAPTER].weight
        vectors = _largest(torch.cat(seen.pop(name)).to(weight.device), len(weight))[2].T
        weight[: len(vectors)] = vectors


@torch.no_grad()
def start_from_quantisation(loaded: Loaded, layers: Mapping[str, Any]) -> None:
    """LoftQ (arXiv:2310.08659), one iteration: s B A is the best approximation of W - Q(W); Q stays as it is loaded."""
    checkpoint = open_checkpoint(base_path(loaded.base))
    held = sources(meta_model(loaded.base), checkpoint)
    for name, layer in layers.items():
        base = layer.base_layer
        if scheme_of(base) is None:
            continue
        a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        lost = checkpoint.read(held[f"{name}.weight"]).to(a.device).float() - dequantised(base)
        left, values, right = _largest(lost, len(a))
        root = (values / layer.scaling[ADAPTER]).sqrt()
        rank = len(values)
        a[:rank] = root[:, None] * right.T
        b[:, :rank] = left * root


def _largest(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """(U [m, r], S [r], V [n, r]) of the largest singular values; r = rank, or fewer where the matrix has fewer."""
    most = min(matrix.shape)
    left, values, right = torch.svd_lowrank(matrix, q=min(rank + OVERSAMPLED, most), niter=ITERATIONS)
    return left[:, :rank], values[:rank], right[:, :rank]
