"""How many frames, which ones, at how many bits: what is the best use of a given memory?

Question      Can a sampler with half the frames stand in for uniform with all of them, and do bits pay for frames?
Expectation   Samplers that follow motion gain most at few frames; at many, uniform sees everything too.
Rows          samplers, random among them as a control; quant_logdet with its two: flat noise and 16-bit features.
Columns       4, 8 and 16 frames x bits 4 and 16.
Cell          CIDEr-D on test; training memory, FLOPs and step time, and the seconds that choosing frames took.
Cost          48 trials a seed.
Command       python studies/frame_budget.py --seeds 5
"""

from ray import tune

from vqlora.launch import launch
from vqlora.recipe import Bits, Frames, Lora, Recipe, Schedule
from vqlora.study import Objective, Study

SAMPLERS = ["uniform", "random", "motion", "entropy", "scene", "quant_logdet", "flat_logdet", "full_logdet"]


def recipe(*, sampler: str, frames: int, bits: int, base: str, data: str, steps: int, seed: int) -> Recipe:
    """Sampler, frames and bits as a fine-tune."""
    return Recipe(
        base=base,
        data=data,
        method=Lora(rank={"text": 8, "cross_modal": 8}),
        bits=Bits.preset(f"all{bits}"),
        frames=Frames(budget=frames, sampler=sampler),
        schedule=Schedule(steps=steps, batch_size=4, learning_rate=4e-3),
        max_new_tokens=48,
        seed=seed,
    )


study = Study(
    name="frame_budget",
    version="1",
    question="Which frames, how many and at how many bits make the best use of a memory?",
    space={
        "sampler": tune.grid_search(SAMPLERS),
        "frames": tune.grid_search([4, 8, 16]),
        "bits": tune.grid_search([4, 16]),
    },
    recipe=recipe,
    objectives=(
        Objective(metric="val.cider", direction="max"),
        Objective(metric="cost.train_peak_gib", direction="min"),
        Objective(metric="cost.train_flops", direction="min"),
    ),
    base="embedded:videollama",
    data="shapes:small",
    steps=64,
)

if __name__ == "__main__":
    launch(study)
