"""AdamW as a recipe asks for it: moments in 32 or 8 bits, and weights that may be bf16.

A bf16 weight has 8 significant bits, so an update below 1/256 of it would be lost. Each is computed in fp32, one
parameter at a time, and then rounded by chance, so that it is right on average, or with what is lost carried along.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from bitsandbytes.optim import AdamW as BitsAdamW
from torch import Tensor, nn

from vqlora.adapters import Adapted
from vqlora.recipe import FullFineTune, Lora, Method, Schedule, TemporalLora

BETAS, EPSILON = (0.9, 0.999), 1e-8
GATE_RATIO = 10.0  # a threshold has to cross the range of scores in the steps of a fine-tune
LOST = 16  # low bits that a float32 has more than a bfloat16


def make_optimizer(
    adapted: Adapted, schedule: Schedule, *, seed: int, parts: Mapping[str, nn.Parameter] | None = None
) -> torch.optim.Optimizer:
    """The optimizer of what is trained, or of this rank's parts of it; groups are in the order of `rate_factors`."""
    common = {"lr": schedule.learning_rate, "betas": BETAS, "eps": EPSILON, "weight_decay": schedule.weight_decay}
    groups = [{"params": group} for group, _ in _grouped(adapted.method, parts or adapted.parameters)]
    update = adapted.method.update if isinstance(adapted.method, FullFineTune) else None
    if schedule.optimizer is None and update is None:
        # torch's other ways on a GPU make as many temporaries as there are parameters
        is_fused = True if adapted.loaded.device.type == "cuda" else None
        return torch.optim.AdamW(groups, fused=is_fused, **common)  # type: ignore[arg-type]
    bits = 32 if schedule.optimizer is None else 8
    # bitsandbytes pages between a GPU and the host only, and warns elsewhere
    paged = schedule.optimizer == "paged_adamw8bit" and adapted.loaded.device.type == "cuda"
    if update is None:
        return BitsAdamW(groups, optim_bits=bits, is_paged=paged, **common)
    return RoundedAdamW(groups, update=update, seed=seed, optim_bits=bits, is_paged=paged, **common)


def rate_factors(adapted: Adapted) -> list[float]:
    """What the schedule's learning rate is multiplied by, per parameter group."""
    return [factor for _, factor in _grouped(adapted.method, adapted.parameters)]


def _grouped(method: Method, parameters: Mapping[str, nn.Parameter]) -> list[tuple[list[nn.Parameter], float]]:
    """One group; with LoRA+ a second one of all B (arXiv:2402.12354), with temporal LoRA one of its few gates."""
    ratio = method.rate_ratio if isinstance(method, Lora) else GATE_RATIO if isinstance(method, TemporalLora) else None
    mark = ".lora_gate." if isinstance(method, TemporalLora) else ".lora_B."
    fast = [name for name in parameters if mark in name]
    if ratio is None or not fast:
        return [(list(parameters.values()), 1.0)]
    return [
        ([value for name, value in parameters.items() if name not in fast], 1.0),
        ([parameters[name] for name in fast], ratio),
    ]


class RoundedAdamW(BitsAdamW):
    """bitsandbytes' AdamW on weights that hold bf16 values, whatever type they are stored in.

    update: 'stochastic' or 'kahan'. Rounding depends on seed, step and parameter only, so every rank and a resumed run
    round alike.
    """

    def __init__(self, params: Any, *, update: str, seed: int, **settings: Any) -> None:
        super().__init__(params, **settings)
        self.update, self.seed = update, seed

    @torch.no_grad()
    def update_step(self, group: Any, p: Any, gindex: int, pindex: int) -> None:
        """One parameter's step, in fp32, and back to bf16."""
        state = self.state[p]
        exact = nn.Parameter(p.detach().to(torch.float32, copy=True))
        if self.update == "kahan":
            exact += state["lost"] if "lost" in state else 0.0
        exact.grad = p.grad.float()
        self.state[exact] = state
        try:
            super().update_step(group, exact, gindex, pindex)
        finally:
            del self.state[exact]
        if self.update == "kahan":
            p.copy_(exact.bfloat16())
            state["lost"] = (exact - p.float()).to(p.dtype)
        else:
            p.copy_(stochastically_rounded(exact, self._draw(p, state["step"], gindex, pindex)))

    def _draw(self, p: Tensor, step: int, gindex: int, pindex: int) -> Tensor:
        generator = torch.Generator(p.device).manual_seed(hash((self.seed, step, gindex, pindex)) % 2**63)
        return torch.randint(0, 1 << LOST, p.shape, generator=generator, device=p.device, dtype=torch.int32)


def stochastically_rounded(exact: Tensor, draw: Tensor) -> Tensor:
    """fp32 values that bf16 has: one of the two neighbours, the nearer one more often, right on average.

    draw: whole numbers in [0, 2^16), int32, of the shape of `exact`.
    """
    return exact.view(torch.int32).add(draw).bitwise_and_(-(1 << LOST)).view(torch.float32)
