"""Full fine-tuning over several ranks by FSDP2 (arXiv:2304.11277): each holds a part of every trained parameter, of its
gradient and of its moments. Frozen parameters are whole on every rank.

A family calls parts of a model rather than its forward, so what a step runs is one call on the root, `run_whole`,
before which FSDP gathers and after which it lets go. In evaluation ranks write captions of different lengths, where
gathering would wait forever; there all parts are gathered first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, cast

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from transformers.modeling_layers import GradientCheckpointingLayer

from vqlora.adapters import Adapted

RUN = "run_whole"


def shard(adapted: Adapted) -> None:
    """Shards what is trained, in place; `adapted.parameters` then holds the parts, as DTensors."""
    model = adapted.model
    frozen = {parameter for parameter in model.parameters() if not parameter.requires_grad}
    kind = adapted.loaded.device.type
    mesh = dist.device_mesh.init_device_mesh(kind, (dist.get_world_size(),))
    for module in [*_blocks(model), model]:
        if any(parameter not in frozen for parameter in module.parameters()):
            fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=frozen)
    for module in _sharded(model):
        module.set_gradient_divide_factor(1.0)  # a rank's loss is its share of the batch's, so gradients add up
        module.set_force_sum_reduction_for_comms(True)
    setattr(model, RUN, lambda run: run())
    register_fsdp_forward_method(model, RUN)
    parameters = cast("MutableMapping[str, nn.Parameter]", adapted.parameters)
    for name in list(parameters):
        parameters[name] = model.get_parameter(name)


def run_whole(model: Any, run: Callable[[], Tensor]) -> Tensor:
    """`run()` as one forward pass of a sharded model; of any other, simply `run()`."""
    return getattr(model, RUN)(run) if hasattr(model, RUN) else run()


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Inside, every rank holds all parameters and may run any part of the model without the others."""
    parts = _sharded(model)
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


def _blocks(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def _sharded(model: nn.Module) -> list[FSDPModule]:
    return [module for module in model.modules() if isinstance(module, FSDPModule)]
