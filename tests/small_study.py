"""A study of a tiny random base on a handful of clips: seconds a trial. One test submits it as a job."""

from __future__ import annotations

from typing import Any

from ray import tune

from vqlora.launch import launch
from vqlora.recipe import Bits, Frames, Lora, Recipe, Schedule
from vqlora.study import Objective, Study


def recipe(*, rank: int, base: str, data: str, steps: int, seed: int, rate: float = 3e-3) -> Recipe:
    return Recipe(
        base=base,
        data=data,
        method=Lora(rank={"text": rank}),
        bits=Bits.preset("all16"),
        frames=Frames(budget=2),
        schedule=Schedule(steps=steps, batch_size=2, learning_rate=rate, evaluations=min(4, steps)),
        max_new_tokens=4,
        seed=seed,
    )


def small_study(**changes: Any) -> Study:
    plain: dict[str, Any] = {
        "name": "small",
        "version": "1",
        "question": "Does it run?",
        "space": {"rank": tune.grid_search([1, 2])},
        "recipe": recipe,
        "objectives": (Objective(metric="val.loss", direction="min"),),
        "base": "random:videollama3-tiny",
        "data": "shapes:tiny",
        "steps": 4,
    }
    return Study(**(plain | changes))


if __name__ == "__main__":
    launch(small_study())
