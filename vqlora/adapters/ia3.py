"""(IA)^3 by PEFT: a trained factor for keys, values and the inner activations of feed-forward parts."""

from __future__ import annotations

from typing import Any

from vqlora.adapters.adapted import ADAPTER, Adapted, declared_quantised, trained_names, unwrap
from vqlora.adapters.places import keys_values, outputs
from vqlora.methods import Ia3
from vqlora.models.load import Loaded
from vqlora.models.roles import check_roles


def ia3_config(scaled: list[str], feeding: list[str]) -> Any:
    """PEFT's configuration by full layer names: those scaled, and those of them whose input is scaled."""
    from peft import IA3Config

    return IA3Config(target_modules=scaled, feedforward_modules=feeding)


def attach_ia3(loaded: Loaded, method: Ia3) -> Adapted:
    """Factors of 1 on keys, values and feed-forward inputs of the roles. ValueError for a role without any."""
    from peft import inject_adapter_in_model

    check_roles(loaded.model_type, method.roles, "Ia3.roles")
    scaled: list[str] = []
    feeding: list[str] = []
    for role in method.roles:
        own = outputs(loaded, role, "mlp")
        if not own:
            raise ValueError(f"Ia3.roles names {role!r}, which has no feed-forward part in this base")
        scaled += [*keys_values(loaded, role), *own]
        feeding += own
    with declared_quantised(loaded.model):
        inject_adapter_in_model(ia3_config(scaled, feeding), loaded.model, adapter_name=ADAPTER)
    parameters = trained_names(loaded.model, ".ia3_l.")
    assert len(parameters) == len(scaled), f"{len(parameters)} layers are scaled, planned {len(scaled)}"
    return Adapted(loaded=loaded, method=method, parameters=parameters, undo=lambda: unwrap(loaded.model))
