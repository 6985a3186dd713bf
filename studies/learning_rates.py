"""At which learning rate is each rank at its best?

Question      Which peak learning rate should each rank get, so that a comparison of ranks does not compare rates?
Expectation   With rsLoRA scaling the best rate falls slowly with rank.
Rows          rank 2, 4, 8, 16 of every adapted layer of text and cross_modal, 16 bits.
Columns       learning rate 2e-3, 4e-3, 8e-3, 1.6e-2: a factor of 2 apart.
Cell          CIDEr-D on validation; `studies/rank_bits.py` takes each row's best; a best at the edge extends its row.
Cost          16 trials of the workload of rank_bits a seed; minutes on two CPU cores.
Command       python studies/learning_rates.py --seeds 2
"""

from ray import tune

from vqlora.launch import launch
from vqlora.recipe import Bits, Lora, Recipe, Schedule
from vqlora.study import Objective, Study


def recipe(*, rank: int, rate: float, base: str, data: str, steps: int, seed: int) -> Recipe:
    """Rank and rate as a fine-tune."""
    return Recipe(
        base=base,
        data=data,
        method=Lora(rank={"text": rank, "cross_modal": rank}),
        bits=Bits.preset("all16"),
        schedule=Schedule(steps=steps, batch_size=4, learning_rate=rate),
        max_new_tokens=48,
        seed=seed,
    )


study = Study(
    name="learning_rates",
    version="1",
    question="Which learning rate should each rank get?",
    space={"rank": tune.grid_search([2, 4, 8, 16]), "rate": tune.grid_search([2e-3, 4e-3, 8e-3, 1.6e-2])},
    recipe=recipe,
    objectives=(Objective(metric="val.cider", direction="max"),),
    base="embedded:videollama",
    data="shapes:small",
    steps=64,
)

if __name__ == "__main__":
    launch(study)
