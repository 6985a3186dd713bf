"""Which method adapts a base best, each at its own learning rate?

Question      Full fine-tuning, LoRA, QLoRA and variants, prefix, bottleneck, IA3, projector: which is worth its cost?
Expectation   LoRA-like methods close together and near full fine-tuning; prefix and IA3 below, with fewer weights.
Rows          method, with bits; zero-shot is the reference.
Columns       five learning rates around the method's usual one, a factor of 2 apart, and as many seeds of each: every
              method has as many trials. A best rate on an edge gets the next one out, and the study says so.
Cell          CIDEr-D on validation chooses the rate; on test, the method at its rate. Memory, latency, FLOPs beside.
Cost          13 methods x 5 rates x 2 seeds and zero-shot: 131 trials of 64 steps of 4 clips.
Command       python studies/baselines.py; `--only method=lora,qlora` for some of them
"""

from dataclasses import dataclass

from ray import tune

from vqlora.recipe import (
    Bits,
    Bottleneck,
    Frames,
    FullFineTune,
    Ia3,
    Lora,
    Method,
    Prefix,
    Recipe,
    Schedule,
    ZeroShot,
)  # fmt: skip
from vqlora.study import Objective, Study
from vqlora.tuned import launch_tuned

BOTH = {"text": 8, "cross_modal": 8}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A method on its bits; rate: the middle of its five."""

    method: Method
    bits: str
    rate: float


ARMS = {
    "full": Arm(method=FullFineTune(), bits="all16", rate=1e-3),
    "full_frozen_projector": Arm(method=FullFineTune(roles=("text",)), bits="all16", rate=1e-3),
    "projector": Arm(method=FullFineTune(roles=("cross_modal",)), bits="v16t4", rate=2e-3),
    "lora": Arm(method=Lora(rank=BOTH), bits="all16", rate=4e-3),
    "qlora": Arm(method=Lora(rank=BOTH), bits="all4", rate=4e-3),
    "qlora_dora": Arm(method=Lora(rank=BOTH, variant="dora"), bits="all4", rate=4e-3),
    "qlora_plus": Arm(method=Lora(rank=BOTH, rate_ratio=4.0), bits="all4", rate=2e-3),
    "qlora_eva": Arm(method=Lora(rank=BOTH, init="eva"), bits="all4", rate=4e-3),
    "qlora_loftq": Arm(method=Lora(rank=BOTH, init="loftq"), bits="all4", rate=4e-3),
    "lora_pissa": Arm(method=Lora(rank=BOTH, init="pissa"), bits="all16", rate=1e-3),
    "prefix": Arm(method=Prefix(tokens=16), bits="all4", rate=2e-2),
    "bottleneck": Arm(method=Bottleneck(width={"text": 64}), bits="all4", rate=4e-3),
    "ia3": Arm(method=Ia3(), bits="all4", rate=2e-2),
}
STEPS_OF_RATE = (0.25, 0.5, 1.0, 2.0, 4.0)


def rates(arm: Arm) -> tuple[float, ...]:
    """The learning rates of an arm, ascending; three significant digits, as they stand in records."""
    return tuple(float(f"{arm.rate * factor:.3g}") for factor in STEPS_OF_RATE)


def recipe(*, method: str, rate: float, base: str, data: str, steps: int, seed: int) -> Recipe:
    """An arm at a rate as a fine-tune; rate 0 is zero-shot."""
    arm = ARMS.get(method)
    return Recipe(
        base=base,
        data=data,
        method=arm.method if arm else ZeroShot(),
        bits=Bits.preset(arm.bits if arm else "all16"),
        frames=Frames(budget=8),
        schedule=Schedule(steps=steps if arm else 0, batch_size=4, learning_rate=rate or 1e-3),
        max_new_tokens=48,
        seed=seed if arm else 0,
    )


POINTS = tuple({"method": name, "rate": rate} for name, arm in ARMS.items() for rate in rates(arm))

study = Study(
    name="baselines",
    version="1",
    question="Which method adapts a base best, each at its own learning rate?",
    space={"method": tune.grid_search(["zero_shot"]), "rate": tune.grid_search([0.0])},
    points=POINTS,  # each method has rates of its own, so they are no grid
    recipe=recipe,
    objectives=(
        Objective(metric="val.cider", direction="max"),
        Objective(metric="cost.train_peak_gib", direction="min"),
        Objective(metric="cost.latency_ms", direction="min"),
    ),
    base="embedded:videollama",
    data="shapes:small",
    steps=64,
    seeds=2,
)

if __name__ == "__main__":
    launch_tuned(study)
