"""Does a quantised language model retrieve as well as it does at 16 bits?

Question      How much recall do rank and bits cost when a video-language model retrieves by its last states?
Expectation   Zero-shot near chance; LoRA far above it; 4 bits within the interval of 16 at every rank.
Rows          rank 4, 16 of every adapted layer of text and cross_modal; rank 0 is zero-shot, the reference.
Columns       bits 4 (nf4, double quantisation), 16.
Cell          R@1, R@5, R@10 on test, text to video and back, median rank; memory and latency of one clip beside it.
Cost          5 trials; 512 pairs seen in each, 128 clips with 5 captions each searched; minutes on two CPU cores.
Command       ray job submit --working-dir . -- python studies/retrieval.py
"""

from ray import tune

from vqlora.launch import launch
from vqlora.recipe import Bits, Frames, Lora, Recipe, Schedule, ZeroShot
from vqlora.study import Objective, Study


def recipe(*, rank: int, bits: int, base: str, data: str, steps: int, seed: int) -> Recipe:
    """Rank and bits as a contrastive fine-tune."""
    return Recipe(
        base=base,
        data=data,
        task="retrieval",
        method=Lora(rank={"text": rank, "cross_modal": rank}) if rank else ZeroShot(),
        bits=Bits.preset(f"all{bits}"),
        frames=Frames(budget=8),
        schedule=Schedule(steps=steps if rank else 0, batch_size=16, learning_rate=2e-3),  # more pairs, more negatives
        seed=seed if rank else 0,  # without training neither steps nor a seed change anything
    )


study = Study(
    name="retrieval",
    version="1",
    question="What do rank and bits cost a video-language model that retrieves?",
    space={"rank": tune.grid_search([4, 16]), "bits": tune.grid_search([4, 16])},
    points=({"rank": 0, "bits": 16},),
    recipe=recipe,
    objectives=(
        Objective(metric="val.t2v_r5", direction="max"),
        Objective(metric="cost.train_peak_gib", direction="min"),
        Objective(metric="cost.latency_ms", direction="min"),
    ),
    base="embedded:videollama",
    data="shapes:small",
    steps=32,
)

if __name__ == "__main__":
    launch(study)
