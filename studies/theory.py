"""Do gradients of the base, seen before any training, predict what fewer bits and a lower rank will cost?

Question      Does `analysis/theory.py`, given a probe of the untrained base, order bit plans and ranks by their loss?
Expectation   Rank correlation of .8 for both where differences exceed seed noise; else the failure is the finding.
Rows          17 bit plans of the untrained base: each role at int8, nf4, fp4, the others at 16 bits or at nf4; and
              rank 1 to 16 in one role, trained at 16 bits, two seeds.
Columns       the role that differs: vision, cross_modal, text.
Cell          loss on test, nats a token; captions are cut at one token, because only the loss is asked for.
Cost          47 trials; minutes on two CPU cores.
Command       python studies/theory.py
"""

from ray import tune

from vqlora.launch import launch
from vqlora.recipe import SCHEMES, Bits, Lora, Recipe, Schedule, ZeroShot
from vqlora.study import Objective, Study

PLACES = ("vision", "cross_modal", "text")
PLAIN = dict.fromkeys(PLACES, "16")
FEW = dict.fromkeys(PLACES, "nf4")
PROBE_CLIPS = 32
LEARNING_RATE = {1: 4e-3, 2: 4e-3, 4: 8e-3, 8: 8e-3, 16: 4e-3}  # from studies/learning_rates.py, rank 1 as rank 2


def recipe(*, base: str, data: str, steps: int, seed: int, rank: int = 0, place: str = "", **schemes: str) -> Recipe:
    """A rank in one role at 16 bits, or the untrained base with a scheme for each role; at 16 bits it is probed."""
    plan = {role: SCHEMES.get(scheme, 16) for role, scheme in schemes.items()}
    scheme4 = "fp4" if "fp4" in schemes.values() else "nf4"
    untrained = ZeroShot() if set(plan.values()) != {16} else ZeroShot(probe=PROBE_CLIPS)
    return Recipe(
        base=base,
        data=data,
        method=Lora(rank={place: rank}) if rank else untrained,
        bits=Bits(plan=plan, scheme4=scheme4),
        schedule=Schedule(steps=steps if rank else 0, batch_size=4, learning_rate=LEARNING_RATE.get(rank, 4e-3)),
        max_new_tokens=1,
        seed=seed if rank else 0,
    )


def plans() -> list[dict[str, str]]:
    """Each role at each scheme around 16 bits, and at 16, int8 and nf4 around nf4: a base has one 4-bit scheme."""
    stars = ((PLAIN, ("16", "int8", "nf4", "fp4")), (FEW, ("16", "int8", "nf4")))
    around = [{**centre, role: scheme} for centre, schemes in stars for role in PLACES for scheme in schemes]
    return [dict(plan) for plan in dict.fromkeys(tuple(one.items()) for one in around)]


study = Study(
    name="theory",
    version="1",
    question="Do gradients of the untrained base predict what fewer bits and a lower rank cost?",
    space={"place": tune.grid_search(list(PLACES)), "rank": tune.grid_search([1, 2, 4, 8, 16])},
    points=tuple(plans()),
    recipe=recipe,
    objectives=(
        Objective(metric="val.loss", direction="min"),
        Objective(metric="cost.base_bytes", direction="min"),
    ),
    base="embedded:videollama",
    data="shapes:small",
    steps=32,
    seeds=2,
)

if __name__ == "__main__":
    launch(study)
