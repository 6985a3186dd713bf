"""Full fine-tuning: every parameter of the named roles, in fp32 while trained, or in bf16 with a careful update."""

from __future__ import annotations

import torch

from vqlora.adapters.adapted import Adapted
from vqlora.models.load import Loaded
from vqlora.models.roles import check_roles, parameters_by_role
from vqlora.recipe import FullFineTune


def attach_full(loaded: Loaded, method: FullFineTune) -> Adapted:
    """Makes the roles' own parameters trainable.

    In fp32, because bf16 weights would round small updates away. With `method.update` they hold bf16 values, in bf16
    on a GPU, and `vqlora.optimizers` takes care of what is rounded off.
    """
    check_roles(loaded.model_type, method.roles, "FullFineTune.roles")
    names = parameters_by_role(loaded.model, loaded.model_type)
    dtype = torch.float32 if method.update is None else loaded.dtype
    parameters = {}
    for name in (name for role in method.roles for name in names[role]):
        parameter = loaded.model.get_parameter(name)
        values = parameter.data if method.update is None else parameter.data.bfloat16()
        parameter.data = values.to(dtype)
        parameters[name] = parameter.requires_grad_(True)
    return Adapted(loaded=loaded, method=method, parameters=parameters)
