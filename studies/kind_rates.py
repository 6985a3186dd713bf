"""At which learning rate is each kind of adapter of the headline studies at its best?

Question      Which peak learning rate should temporal adapters, mixers and rules of allocation get each?
Expectation   Close to plain LoRA's for all that are LoRA inside; the mixer, which is no LoRA, may differ.
Rows          kinds of `studies/temporal.py` that learn differently, and three rules of `studies/rank_allocation.py`,
              from mostly text to all vision; 4 bits. Ranks are the rows of `studies/learning_rates.py`.
Columns       learning rate 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2: a factor of 2 apart.
Cell          CIDEr-D on validation; the two studies take each row's best; a best at the edge extends its row.
Cost          35 trials a seed, of as many steps as the headline runs have.
Command       python studies/kind_rates.py --data shapes:medium --steps 200 --set schedule.batch_size=64
"""

from pathlib import Path

from ray import tune

from vqlora.allocated import groups_of, plan_of
from vqlora.launch import launch
from vqlora.recipe import Bits, Lora, Method, Recipe, Schedule, TemporalLora
from vqlora.study import Objective, Study

PLANS = Path(__file__).parent / "allocations"
RANK = {"text": 8, "cross_modal": 8}
KINDS: dict[str, Method] = {
    "plain": Lora(rank=RANK),
    "temporal": TemporalLora(rank=RANK),
    "gate": TemporalLora(rank=RANK, mode="gate"),
    "mixer": TemporalLora(rank=RANK, control="constant", budget=1.0, text=1.0, mixer="time"),
}
RULES = ("sketch", "share 0.5", "share 1")


def recipe(*, kind: str, rate: float, base: str, data: str, steps: int, seed: int) -> Recipe:
    """Kind and rate as a fine-tune. ValueError, with the command to run, for a base without a plan."""
    if kind in RULES:
        method: Method = Lora(groups=groups_of(plan_of(PLANS, base), kind))
    else:
        method = KINDS[kind]
    return Recipe(
        base=base,
        data=data,
        method=method,
        bits=Bits.preset("all4"),
        schedule=Schedule(steps=steps, batch_size=4, learning_rate=rate),
        max_new_tokens=48,
        seed=seed,
    )


study = Study(
    name="kind_rates",
    version="2",  # 1: a mixer alone, and a budget that held the mean rank from above alone
    question="Which learning rate should each kind of adapter get?",
    space={
        "kind": tune.grid_search([*KINDS, *RULES]),
        "rate": tune.grid_search([1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2]),
    },
    recipe=recipe,
    objectives=(Objective(metric="val.cider", direction="max"),),
    base="embedded:videollama",
    data="shapes:small",
    steps=64,
)

if __name__ == "__main__":
    launch(study)
