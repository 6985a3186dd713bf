"""How does the score grow with rank, placement, bits, frames and clips seen, and with which law?

Question      Exponents of rank, frames and clips in one law, at 4 and 16 bits, and whether placement shifts it.
Expectation   Clips and frames pay most; the exponent of rank is near 0 once the learning rate fits (arXiv:2402.17193).
Rows          rank 1, 2, 4, 16 x clips seen 256, 512, 1024, 4096, on text and projector: a law takes four levels.
Columns       bits 4 and 16; 8 frames; beside the grid 2, 4 and 16 frames, and each place alone, at rank 4.
Cell          CIDEr-D and loss on test.
Cost          36 trials a seed, of up to 1024 steps; another size of base by --base.
Command       python studies/scaling.py --seeds 3
"""

from ray import tune

from vqlora.launch import launch
from vqlora.recipe import Bits, Frames, Lora, Recipe, Schedule
from vqlora.study import Objective, Study

BATCH = 4
RATE = {1: 4e-3, 2: 4e-3, 4: 8e-3, 16: 4e-3}  # best on validation in studies/learning_rates.py; 1 as 2
PLACES = {"text": ("text",), "cross_modal": ("cross_modal",), "both": ("text", "cross_modal")}
MIDDLE = {"rank": 4, "bits": 4, "clips": 1024, "frames": 8, "place": "both"}


def recipe(
    *, rank: int, bits: int, clips: int, frames: int, place: str, base: str, data: str, steps: int, seed: int
) -> Recipe:
    """One point as a fine-tune; `steps` are those of 1024 clips, so a short trial run scales all of them."""
    return Recipe(
        base=base,
        data=data,
        method=Lora(rank=dict.fromkeys(PLACES[place], rank)),
        bits=Bits.preset(f"all{bits}"),
        frames=Frames(budget=frames),
        schedule=Schedule(steps=max(1, steps * clips // 1024), batch_size=BATCH, learning_rate=RATE[rank]),
        max_new_tokens=48,
        seed=seed,
    )


study = Study(
    name="scaling",
    version="1",
    question="With which law does the score grow with rank, frames, clips and bits?",
    space={
        "rank": tune.grid_search([1, 2, 4, 16]),
        "bits": tune.grid_search([4, 16]),
        "clips": tune.grid_search([256, 512, 1024, 4096]),
        "frames": tune.grid_search([8]),
        "place": tune.grid_search(["both"]),
    },
    points=(
        *({**MIDDLE, "frames": frames} for frames in (2, 4, 16)),
        *({**MIDDLE, "place": place} for place in ("text", "cross_modal")),
    ),
    recipe=recipe,
    objectives=(
        Objective(metric="val.cider", direction="max"),
        Objective(metric="cost.train_peak_gib", direction="min"),
        Objective(metric="cost.train_flops", direction="min"),
    ),
    base="embedded:videollama",
    data="shapes:small",
    steps=256,
)

if __name__ == "__main__":
    launch(study)
