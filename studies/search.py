"""Which of four decisions matters most, and what is the best trade-off of quality, memory and latency?

Question      Bits, rank, placement and frame budget together, with the learning rate: what is worth its cost?
Expectation   Frames and rank buy score, bits buy memory; latency follows the frames.
Rows          16 points that OptunaSearch (TPE) proposes for three objectives; ASHA stops the poor ones early.
Columns       bits 4, 8, 16; rank 2 to 16; placement text, cross_modal or both; 2 to 16 uniform frames; learning rate.
Cell          CIDEr-D on test; peak memory in training and latency per clip beside it.
Cost          16 trials of at most 64 steps of 4 clips; minutes on two CPU cores.
Command       python studies/search.py
"""

import functools

from optuna.samplers import TPESampler
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from vqlora.launch import launch
from vqlora.recipe import Bits, Frames, Lora, Recipe, Schedule
from vqlora.searchers import SafeOptunaSearch
from vqlora.study import Objective, Study

PLACES = {"text": ("text",), "cross_modal": ("cross_modal",), "both": ("text", "cross_modal")}


def recipe(
    *, bits: int, rank: int, placement: str, frames: int, rate: float, base: str, data: str, steps: int, seed: int
) -> Recipe:
    """One point of the four axes and the learning rate as a fine-tune."""
    return Recipe(
        base=base,
        data=data,
        method=Lora(rank=dict.fromkeys(PLACES[placement], rank)),
        bits=Bits.preset(f"all{bits}"),
        frames=Frames(budget=frames, sampler="uniform"),
        schedule=Schedule(steps=steps, batch_size=4, learning_rate=rate, evaluations=4),  # ASHA sees each quarter
        max_new_tokens=48,
        seed=seed,
    )


def searcher() -> SafeOptunaSearch:
    """A third of the trials at random, then Optuna's multi-objective TPE."""
    return SafeOptunaSearch(sampler=TPESampler(seed=0, n_startup_trials=6))


# The first rung is at 12 steps, so that none falls on the last step, where a trial would be stopped as it is done.
asha = functools.partial(
    ASHAScheduler,
    time_attr="step",
    metric="val.cider",
    mode="max",
    grace_period=12,
    reduction_factor=2,
    max_t=10**6,
)

study = Study(
    name="search",
    version="1",
    question="Which of bits, rank, placement and frames matters most, and which trade-off is best?",
    space={
        "bits": tune.choice([4, 8, 16]),
        "rank": tune.choice([2, 4, 8, 16]),
        "placement": tune.choice(["text", "cross_modal", "both"]),
        "frames": tune.choice([2, 4, 8, 16]),
        "rate": tune.loguniform(1e-3, 1.2e-2),
    },
    recipe=recipe,
    objectives=(
        Objective(metric="val.cider", direction="max"),
        Objective(metric="cost.train_peak_gib", direction="min"),
        Objective(metric="cost.latency_ms", direction="min"),
    ),
    base="embedded:videollama",
    data="shapes:small",
    steps=64,
    samples=16,
    searcher=searcher,
    scheduler=asha,
)

if __name__ == "__main__":
    launch(study)
