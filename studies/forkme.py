"""The smallest complete study: copy it, change `space` and `recipe`, run it.    python studies/forkme.py --seeds 2"""

from ray import tune

from vqlora.launch import launch
from vqlora.recipe import Bits, Lora, Recipe, Schedule
from vqlora.study import Objective, Study


def recipe(*, rank: int, base: str, data: str, steps: int, seed: int) -> Recipe:
    """A point of the space as a fine-tune."""
    return Recipe(
        base=base, data=data, method=Lora(rank={"text": rank}), bits=Bits.preset("all4"), seed=seed,
        schedule=Schedule(steps=steps, learning_rate=3e-3),
    )  # fmt: skip


study = Study(
    name="forkme",
    version="1",
    question="Does rank 8 beat rank 1?",
    space={"rank": tune.grid_search([1, 8])},
    recipe=recipe,
    objectives=(Objective(metric="val.cider", direction="max"),),
    base="embedded:videollama",
    data="shapes:tiny",
    steps=16,
)

if __name__ == "__main__":
    launch(study)
