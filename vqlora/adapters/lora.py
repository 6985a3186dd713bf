"""LoRA by PEFT, with a rank per role, and its variants.

Layers are named in full from the role map: leaf names leak into other towers (`q_proj` is in all of them). Adapters
are injected into the plain model, so families see it as it is. `prepare_model_for_kbit_training` is not used: it turns
16-bit towers into fp32 and makes frozen towers keep their activations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from vqlora.adapters.adapted import ADAPTER, Adapted, declared_quantised, trained_names, unwrap
from vqlora.adapters.groups import group_layers
from vqlora.adapters.lora_init import start_from_inputs, start_from_quantisation
from vqlora.models.bits import scheme_of
from vqlora.models.load import Loaded
from vqlora.models.roles import check_roles, linear_layers
from vqlora.recipe import Lora

PISSA = "pissa_niter_16"  # the iterations of a fast SVD that arXiv:2404.02948 finds enough


def ranks(loaded: Loaded, method: Lora) -> dict[str, int]:
    """{full name of a linear layer: rank}. ValueError if a role or group is missing in this base or has no layer."""
    if method.groups is not None:
        return _grouped_ranks(loaded, method.groups)
    wanted = {role: rank for role, rank in method.rank.items() if rank > 0}
    check_roles(loaded.model_type, wanted, "Lora.rank")
    layers = linear_layers(loaded.model, loaded.model_type)
    for role in wanted:
        if not layers[role]:
            raise ValueError(f"Lora.rank gives {role!r} rank {wanted[role]}, but this base has no linear layer there")
    return {name: rank for role, rank in wanted.items() for name in layers[role]}


def _grouped_ranks(loaded: Loaded, sizes: Mapping[str, int]) -> dict[str, int]:
    members = group_layers(loaded)
    missing = sorted(name for name, rank in sizes.items() if rank and name not in members)
    if missing:
        raise ValueError(f"Lora.groups names {missing[0]!r}, which this base does not have; it has {sorted(members)}")
    return {layer: rank for name, rank in sizes.items() if rank for layer in members[name]}


def lora_config(method: Lora, ranks: Mapping[str, int]) -> Any:
    """PEFT's configuration of adapters on layers by full name, {layer: rank}."""
    from peft import LoraConfig

    return LoraConfig(
        target_modules=list(ranks),
        rank_pattern=dict(ranks),
        lora_alpha=method.alpha,  # type: ignore[arg-type]  # annotated int, used as a number
        use_rslora=method.rslora,
        lora_dropout=method.dropout,
        use_dora=method.variant == "dora",
    )


def attach_lora(loaded: Loaded, method: Lora, *, seed: int, run: Callable[[], None] | None = None) -> Adapted:
    """Adds B A to every linear layer of the ranked roles: B = 0, A by PEFT's initialisation from `seed`, both fp32.

    run: passes training clips through the base, for the initial values that need them; without it they stay as they
    are, for an adapter that is loaded afterwards.
    """
    from peft import inject_adapter_in_model

    model, wanted = loaded.model, ranks(loaded, method)
    _check_dora(loaded, method, wanted)
    config = lora_config(method, wanted)
    if method.init == "pissa":
        config.init_lora_weights = PISSA  # type: ignore[assignment]  # the annotation lists examples
    with torch.random.fork_rng(devices=[loaded.device] if loaded.device.type == "cuda" else []):
        torch.manual_seed(seed)
        with declared_quantised(model):
            inject_adapter_in_model(config, model, adapter_name=ADAPTER)
        layers = {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}
        assert set(layers) == set(wanted), f"adapters on {set(layers) ^ set(wanted)} differ from the plan"
        parameters = trained_names(model, ".lora_")
        if method.init == "loftq":
            start_from_quantisation(loaded, layers)
        if method.init == "eva" and run is not None:
            start_from_inputs(layers, run)
    # PEFT keeps DoRA's magnitudes on disk without '.weight'
    parameters = {name.replace("_vector.weight", "_vector"): value for name, value in parameters.items()}
    adapted = Adapted(loaded=loaded, method=method, parameters=parameters, undo=lambda: unwrap(model))
    adapted.dropout(False)
    return adapted


def _check_dora(loaded: Loaded, method: Lora, layers: Iterable[str]) -> None:
    """PEFT 0.21 dequantises an int8 weight on a CPU by moving it, which loses its scales."""
    if method.variant != "dora" or loaded.device.type != "cpu":
        return
    if any(scheme_of(loaded.model.get_submodule(name)) == "int8" for name in layers):
        raise ValueError("DoRA on 8-bit layers works on a GPU only, in PEFT; give these roles 4 or 16 bits")
