"""The study that `benchmarks/faults.py` kills: a tiny random base, two ranks, seconds a trial."""

from __future__ import annotations

from ray import tune

from vqlora.launch import launch
from vqlora.options import Runtime
from vqlora.recipe import Bits, Frames, Lora, Recipe, Schedule
from vqlora.study import Objective, Study

EVALUATIONS = 4  # checkpoints of a trial, evenly spaced
START_LIMIT_SECONDS = 300.0  # a machine that does other things too starts slowly


def recipe(*, rank: int, base: str, data: str, steps: int, seed: int) -> Recipe:
    return Recipe(
        base=base,
        data=data,
        method=Lora(rank={"text": rank}),
        bits=Bits.preset("all16"),
        frames=Frames(budget=2),
        schedule=Schedule(steps=steps, batch_size=2, learning_rate=3e-3, evaluations=EVALUATIONS),
        max_new_tokens=4,
        seed=seed,
    )


study = Study(
    name="faults",
    version="1",
    question="Is anything lost?",
    space={"rank": tune.grid_search([1, 2])},
    recipe=recipe,
    objectives=(Objective(metric="val.loss", direction="min"),),
    base="random:videollama3-tiny",
    data="shapes:tiny",
    steps=120,
    seeds=2,
)

if __name__ == "__main__":
    launch(study, runtime=Runtime(report=False, keep="all", start_limit_seconds=START_LIMIT_SECONDS))
