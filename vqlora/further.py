"""`vqlora train --from RECORD`: a trial's recipe again, longer or on other data, from its adapter or anew.

The result is a trial of its own in a storage, with record, ledger, adapter and model card; called again it goes on from
its last checkpoint. No ray: one process, one device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vqlora.asked import Asked, trial_name
from vqlora.ledger import Ledger
from vqlora.recall import Found, adapter_weights
from vqlora.recipe import Recipe, ZeroShot
from vqlora.record import Record, Status
from vqlora.restore import check_base
from vqlora.store import ANSWERS, StudyStore, TrialStore, study_store


@dataclass(frozen=True, kw_only=True)
class Terminal:
    """The channel of a trial that nobody schedules: rows to the terminal, checkpoints into the ledger."""

    steps: int

    def send(self, row: Mapping[str, Any]) -> None:
        shown = [f"{name} {value:.4g}" for name, value in row.items() if name != "step" and isinstance(value, float)]
        print(f"step {row['step']}/{self.steps}  {'  '.join(shown[:4])}", flush=True)

    def must_leave(self) -> bool:
        return False

    def save(self, ledger: Ledger, step: int, state: bytes) -> None:
        ledger.write_state(step, state)

    def restore(self, trial: TrialStore) -> bytes | None:
        return trial.read_state()


def further(
    found: Found, *, steps: int, storage: str, device: str, data: str | None, base: str | None, rate: float | None,
    anew: bool,
) -> int:  # fmt: skip
    """Trains and prints where the adapter is; 0 where the trial is done, else 1.

    anew: from the base, not from the record's adapter. ValueError before a device is taken for a record that trained
    nothing, an adapter that was not kept, and another base.
    """
    weights = None if anew else adapter_weights(found)
    recipe = further_recipe(found.recipe, weights, steps=steps, data=data, base=base, rate=rate)
    check_base(found, recipe.base)
    asked = _asked(found.record, recipe)
    store = study_store(storage, asked.study, asked.version)
    store.place.check_writable()
    record = store.trial(asked.trial).record()
    if record is None or record.status not in ANSWERS:
        record = _train(asked, store, device, weights)
    return _say(record, store, asked.trial)


def further_recipe(
    recipe: Recipe, weights: bytes | None, *, steps: int, data: str | None, base: str | None, rate: float | None
) -> Recipe:
    """The recipe with another length, data, base's place or learning rate; `weights` is the adapter it goes on from."""
    from vqlora.adapters.adapted import adapter_digest

    if isinstance(recipe.method, ZeroShot):
        raise ValueError("the record is of zero-shot, which trains nothing; give one with an adapter")
    if steps < 1:
        raise ValueError(f"--steps {steps} must be >= 1")
    schedule = replace(recipe.schedule, steps=steps, learning_rate=rate or recipe.schedule.learning_rate)
    start = None if weights is None else adapter_digest(weights)
    return replace(recipe, schedule=schedule, data=data or recipe.data, base=base or recipe.base, start=start)


def _asked(record: Record, recipe: Recipe) -> Asked:
    fingerprint = recipe.fingerprint()
    point = {**record.point, "start": recipe.start or "base", "data": recipe.data, "steps": recipe.schedule.steps}
    return Asked(
        study=f"{record.study}-further",
        version=record.version,
        trial=trial_name(record.point, recipe.seed, fingerprint),
        point=point,
        seed=recipe.seed,
        recipe=recipe,
        fingerprint=fingerprint,
    )


def _train(asked: Asked, store: StudyStore, device: str, weights: bytes | None) -> Record:
    from vqlora.trial import run_trial

    trials = {one["trial"]: one for one in (store.asked() or {}).get("trials", ())}
    trials[asked.trial] = {"trial": asked.trial, "point": dict(asked.point), "seed": asked.seed}
    question = "What do longer training and other data give?"
    store.write_asked(
        {"study": asked.study, "version": asked.version, "question": question, "trials": [*trials.values()]}
    )
    channel = Terminal(steps=asked.recipe.schedule.steps)
    return run_trial(asked, store, device=device, executor="alone", channel=channel, start=weights)


def _say(record: Record, store: StudyStore, trial: str) -> int:
    where = store.trial(trial).place.url
    if record.status is not Status.DONE:
        print(f"{trial} is {record.status.value}: {(record.error or '').strip().splitlines()[-1:]}")
        return 1
    scores = "  ".join(f"{split}.cider {record.metrics[split]['cider']:.4g}" for split in ("val", "test"))
    print(f"{scores}\nadapter: {where}/{record.adapter}")
    return 0
