"""Where should adapters sit, at equal parameters?

Question      Text, tower, projector or a mixture: where does a parameter of an adapter help most?
Expectation   Text carries most; some in the projector and the tower helps captions of what was never seen.
Rows          placement; each with the parameters of rank 4 on the text, by the nearest ranks.
Columns       bits 4 and 16; seeds.
Cell          CIDEr-D on test; peak memory (a trained tower keeps its activations) and latency beside it.
Cost          12 trials a seed of 64 steps of 4 clips.
Command       python studies/placement.py --seeds 3
"""

from ray import tune

from vqlora.launch import launch
from vqlora.recipe import Bits, Frames, Lora, Recipe, Schedule
from vqlora.study import Objective, Study

# Of the embedded Video-LLaMA, whose adapters then have the parameters of rank 4 on the text, within 6 %.
RANKS = {
    "text": {"text": 4},
    "vision": {"vision": 9},
    "cross_modal": {"cross_modal": 111},
    "text+cross_modal": {"text": 2, "cross_modal": 56},
    "text+vision": {"text": 2, "vision": 4},
    "all": {"text": 2, "vision": 2, "cross_modal": 30},
}


def recipe(*, placement: str, bits: int, base: str, data: str, steps: int, seed: int) -> Recipe:
    """A placement as a fine-tune."""
    return Recipe(
        base=base,
        data=data,
        method=Lora(rank=RANKS[placement]),
        bits=Bits.preset(f"all{bits}"),
        frames=Frames(budget=8),
        schedule=Schedule(steps=steps, batch_size=4, learning_rate=4e-3),
        max_new_tokens=48,
        seed=seed,
    )


study = Study(
    name="placement",
    version="1",
    question="Where does a parameter of an adapter help most?",
    space={"placement": tune.grid_search(list(RANKS)), "bits": tune.grid_search([4, 16])},
    recipe=recipe,
    objectives=(
        Objective(metric="val.cider", direction="max"),
        Objective(metric="cost.train_peak_gib", direction="min"),
        Objective(metric="cost.latency_ms", direction="min"),
    ),
    base="embedded:videollama",
    data="shapes:small",
    steps=64,
)

if __name__ == "__main__":
    launch(study)
