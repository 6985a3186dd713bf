"""Where should the bits be: in the language model, in the tower, or in the groups of layers that feel it most?

Question      At equal memory, does a plan by measured sensitivity beat the same bits everywhere?
Expectation   The tower bears 4 bits worse than the text; `auto` at the memory of v4t8 loses less than v4t8.
Rows          plan: all16, all8, all4, v8t4, v16t4, v4t8 and `auto`, found by `vqlora bits` (Cost); rank 8 throughout.
Columns       seeds.
Cell          CIDEr-D on test; bytes of the base, peak memory and latency beside it.
Cost          7 trials a seed of 64 steps of 4 clips. `auto` reads studies/plans/NAME.json, NAME the base's, made by
              vqlora bits embedded:videollama --data shapes:small --budget 2.8 --file studies/plans/videollama.json
Command       python studies/bit_plans.py --seeds 3
"""

from pathlib import Path

from ray import tune

from vqlora.launch import launch
from vqlora.recipe import Bits, Frames, Lora, Recipe, Schedule
from vqlora.study import Objective, Study

PLANS = Path(__file__).parent / "plans"


def recipe(*, plan: str, base: str, data: str, steps: int, seed: int) -> Recipe:
    """A plan as a fine-tune."""
    file = PLANS / f"{base.rpartition(':')[2]}.json"
    return Recipe(
        base=base,
        data=data,
        method=Lora(rank={"text": 8, "cross_modal": 8}),
        bits=Bits.preset(str(file) if plan == "auto" else plan),
        frames=Frames(budget=8),
        schedule=Schedule(steps=steps, batch_size=4, learning_rate=4e-3),
        max_new_tokens=48,
        seed=seed,
    )


study = Study(
    name="bit_plans",
    version="1",
    question="At equal memory, does a bit plan by measured sensitivity beat the same bits everywhere?",
    space={"plan": tune.grid_search(["all16", "all8", "all4", "v8t4", "v16t4", "v4t8", "auto"])},
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
