"""Where should the parameters of an adapter go: text, vision, projector, attention, feed-forward, how deep?

Question      Ranks by gradient sketch against fixed splits between the modalities, EVA, uniform and random ranks.
Expectation   The sketch as good as the best split, found at a small part of the cost of trying them all.
Rows          rules of `vqlora allocate`, all at the parameters of the file below.
Columns       one: 4 bits, 8 uniform frames.
Cell          CIDEr-D on test; trained parameters beside it.
Cost          12 trials a seed; those that adapt the vision tower run it in every step.
Command       python studies/rank_allocation.py --seeds 5 --data shapes:medium --steps 200 --set schedule.batch_size=64
"""

from pathlib import Path

from ray import tune

from vqlora.allocated import groups_of, plan_of
from vqlora.launch import launch
from vqlora.recipe import Bits, Frames, Lora, Recipe, Schedule
from vqlora.study import Objective, Study

PLANS = Path(__file__).parent / "allocations"  # one file a base, made by `vqlora allocate`, with the base's digest
SKETCH_RATE = 4e-3  # best on validation in kind_rates
RATE = {"share 0.5": 2e-3, "share 0.75": 2e-3, "share 1": 8e-3}  # as above; 0.75 takes that of 0.5
RULES = [
    "uniform", "sketch", "entropy 0.5", "entropy 1", "eva", "random",
    "share 0", "share 0.1", "share 0.25", "share 0.5", "share 0.75", "share 1",
]  # fmt: skip


def recipe(*, rule: str, base: str, data: str, steps: int, seed: int) -> Recipe:
    """One rule's ranks as a fine-tune. ValueError, with the command to run, for a base without a plan."""
    return Recipe(
        base=base,
        data=data,
        method=Lora(groups=groups_of(plan_of(PLANS, base), rule)),
        bits=Bits.preset("all4"),
        frames=Frames(budget=8),
        schedule=Schedule(steps=steps, batch_size=4, learning_rate=RATE.get(rule, SKETCH_RATE)),
        max_new_tokens=48,
        seed=seed,
    )


study = Study(
    name="rank_allocation",
    version="1",
    question="Does a gradient sketch divide ranks among the modalities as well as the best fixed split?",
    space={"rule": tune.grid_search(RULES)},
    recipe=recipe,
    objectives=(
        Objective(metric="val.cider", direction="max"),
        Objective(metric="cost.trainable_params", direction="min"),
    ),
    base="embedded:videollama",
    data="shapes:small",
    steps=64,
)

if __name__ == "__main__":
    launch(study)
