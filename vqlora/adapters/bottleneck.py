"""Bottleneck adapters: our own layer, since PEFT has none and AdapterHub's library knows no video-language model.

A layer stands after the last linear layer of a block's feed-forward or attention part, whose output is the part's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqlora.adapters.adapted import Adapted, trained_names, unwrap
from vqlora.adapters.places import outputs
from vqlora.methods import Bottleneck
from vqlora.models.load import Loaded
from vqlora.models.roles import check_roles

NAME = "bottleneck"


class BottleneckLinear(nn.Module):
    """A frozen linear layer y, then y + Up(gelu(Down(LayerNorm(y)))); up starts at zero. x [..., in]."""

    def __init__(self, base_layer: Any, width: int, device: torch.device) -> None:
        super().__init__()
        self.base_layer, outer = base_layer, int(base_layer.out_features)
        made = {"device": device, "dtype": torch.float32}
        self.bottleneck = nn.ModuleDict(
            {"norm": nn.LayerNorm(outer, **made), "down": nn.Linear(outer, width, **made),
             "up": nn.Linear(width, outer, **made)}
        )  # fmt: skip
        for part in ("down", "up"):
            nn.init.zeros_(self.bottleneck[part].bias)  # type: ignore[arg-type]
        nn.init.kaiming_uniform_(self.bottleneck["down"].weight, nonlinearity="relu")  # type: ignore[arg-type]
        nn.init.zeros_(self.bottleneck["up"].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        out = self.base_layer(x)
        parts = self.bottleneck
        added = parts["up"](F.gelu(parts["down"](parts["norm"](out.to(parts["norm"].weight.dtype)))))  # type: ignore[arg-type]
        return out + added.to(out.dtype)

    @property
    def weight(self) -> Any:
        """The frozen weight; some models ask a layer for its type."""
        return self.base_layer.weight


def attach_bottleneck(loaded: Loaded, method: Bottleneck, *, seed: int) -> Adapted:
    """Puts an adapter after the parts of every block of the named roles. ValueError for a role without such parts."""
    check_roles(loaded.model_type, method.adapted_roles, "Bottleneck.width")
    devices = [loaded.device] if loaded.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        for role in method.adapted_roles:
            for place in method.places:
                names = outputs(loaded, role, place)
                if not names:
                    raise ValueError(f"Bottleneck.width names {role!r}, which has no {place} part in this base")
                for name in names:
                    layer = BottleneckLinear(loaded.model.get_submodule(name), method.width[role], loaded.device)
                    loaded.model.set_submodule(name, layer)
    parameters = trained_names(loaded.model, f".{NAME}.")
    return Adapted(loaded=loaded, method=method, parameters=parameters, undo=lambda: unwrap(loaded.model))
