"""LoRA by PEFT, with a rank per role.

Layers are named in full from the role map: leaf names leak into other towers (`q_proj` is in all of them). Adapters
are injected into the plain model, so families see it as it is. `prepare_model_for_kbit_training` is not used: it turns
16-bit towers into fp32 and makes frozen towers keep their activations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from vqlora.adapters.adapted import Adapted
from vqlora.models.load import Loaded
from vqlora.models.roles import check_roles, linear_layers
from vqlora.recipe import Lora

ADAPTER = "default"  # PEFT's name for the only adapter; left out of state names


def ranks(loaded: Loaded, method: Lora) -> dict[str, int]:
    """{full name of a linear layer: rank}. ValueError if a role is missing in this base or has no linear layer."""
    wanted = {role: rank for role, rank in method.rank.items() if rank > 0}
    check_roles(loaded.model_type, wanted, "Lora.rank")
    layers = linear_layers(loaded.model, loaded.model_type)
    for role in wanted:
        if not layers[role]:
            raise ValueError(f"Lora.rank gives {role!r} rank {wanted[role]}, but this base has no linear layer there")
    return {name: rank for role, rank in wanted.items() for name in layers[role]}


def lora_config(method: Lora, ranks: Mapping[str, int]) -> Any:
    """PEFT's configuration of adapters on layers by full name, {layer: rank}."""
    from peft import LoraConfig

    return LoraConfig(
        target_modules=list(ranks),
        rank_pattern=dict(ranks),
        lora_alpha=method.alpha,  # type: ignore[arg-type]  # annotated int, used as a number
        use_rslora=method.rslora,
        lora_dropout=method.dropout,
    )


def attach_lora(loaded: Loaded, method: Lora, *, seed: int) -> Adapted:
    """Adds B A to every linear layer of the ranked roles: B = 0, A by PEFT's initialisation from `seed`, both fp32."""
    from peft import inject_adapter_in_model

    model, wanted = loaded.model, ranks(loaded, method)
    config = lora_config(method, wanted)
    # PEFT picks its layers for quantised linears only on models that say so; a mixed plan may hold both.
    model.is_loaded_in_4bit = model.is_loaded_in_8bit = True
    with torch.random.fork_rng(devices=[loaded.device] if loaded.device.type == "cuda" else []):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model, adapter_name=ADAPTER)
    del model.is_loaded_in_4bit, model.is_loaded_in_8bit
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
    assert set(layers) == set(wanted), f"adapters on {set(layers) ^ set(wanted)} differ from the plan"
    adapted = Adapted(loaded=loaded, method=method, parameters=_parameters(layers))
    adapted.dropout(False)
    return adapted


def _parameters(layers: dict[str, nn.Module]) -> dict[str, nn.Parameter]:
    out = {}
    for layer, module in layers.items():
        for kind in ("lora_A", "lora_B"):
            weight = getattr(module, kind)[ADAPTER].weight
            weight.data = weight.data.float()
            out[f"{layer}.{kind}.weight"] = weight.requires_grad_(True)
    return out
