"""Full fine-tuning: every parameter of the named roles, kept in fp32 while it is trained."""

from __future__ import annotations

from vqlora.adapters.adapted import Adapted
from vqlora.models.load import Loaded
from vqlora.models.roles import check_roles, parameters_by_role
from vqlora.recipe import FullFineTune


def attach_full(loaded: Loaded, method: FullFineTune) -> Adapted:
    """Makes the roles' own parameters trainable. fp32: bf16 weights would round small updates away."""
    check_roles(loaded.model_type, method.roles, "FullFineTune.roles")
    names = parameters_by_role(loaded.model, loaded.model_type)
    parameters = {}
    for name in (name for role in method.roles for name in names[role]):
        parameter = loaded.model.get_parameter(name)
        parameter.data = parameter.data.float()
        parameters[name] = parameter.requires_grad_(True)
    return Adapted(loaded=loaded, method=method, parameters=parameters)
