"""How much rank, and how many bits, does a video-language model need?

Question      Does a higher LoRA rank still pay when the base is quantised to 8 or 4 bits?
Expectation   16-bit LoRA and QLoRA close together at every rank; more rank helps and saturates; memory falls with bits.
Rows          rank 2, 4, 8, 16 of every adapted layer of text and cross_modal; rank 0 is zero-shot, the reference.
Columns       bits 4 (nf4, double quantisation), 8 (LLM.int8), 16.
Cell          CIDEr-D on test; peak memory, latency and FLOPs beside it. One seed by default, `--seeds 3` for a paper.
Cost          13 trials; 256 clips seen in each, the whole test split captioned; minutes on two CPU cores.
Command       ray job submit --working-dir . -- python studies/rank_bits.py
"""

from ray import tune

from vqlora.launch import launch
from vqlora.recipe import Bits, Frames, Lora, Recipe, Schedule, ZeroShot
from vqlora.study import Objective, Study

LEARNING_RATE = {2: 4e-3, 4: 8e-3, 8: 8e-3, 16: 4e-3}  # best on validation in studies/learning_rates.py


def recipe(*, rank: int, bits: int, base: str, data: str, steps: int, seed: int) -> Recipe:
    """Rank and bits as a fine-tune."""
    return Recipe(
        base=base,
        data=data,
        method=Lora(rank={"text": rank, "cross_modal": rank}) if rank else ZeroShot(),
        bits=Bits.preset(f"all{bits}"),
        frames=Frames(budget=8),
        schedule=Schedule(steps=steps if rank else 0, batch_size=4, learning_rate=LEARNING_RATE.get(rank, 4e-3)),
        max_new_tokens=48,
        seed=seed if rank else 0,  # without training neither steps nor a seed change anything
    )


study = Study(
    name="rank_bits",
    version="1",
    question="How do rank and bits trade caption quality against memory and latency?",
    space={"rank": tune.grid_search([2, 4, 8, 16]), "bits": tune.grid_search([4, 8, 16])},
    points=({"rank": 0, "bits": 16},),
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
