"""Small trials with their record and adapter in a storage, run in this process as an executor would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trials import WARM

from vqlora.asked import Asked, trial_name
from vqlora.further import Terminal
from vqlora.recipe import Recipe
from vqlora.record import Record
from vqlora.store import study_store
from vqlora.trial import run_trial


def keep_trial(
    storage: Path, recipe: Recipe, *, study: str = "kept", device: str = "cpu", **point: Any
) -> tuple[Path, Record]:
    """Runs the recipe as a trial of a study; (the trial's folder, its record)."""
    fingerprint = recipe.fingerprint()
    point = point or {"seed_of": "one"}
    asked = Asked(
        study=study, version="1", trial=trial_name(point, recipe.seed, fingerprint), point=point, seed=recipe.seed,
        recipe=recipe, fingerprint=fingerprint,
    )  # fmt: skip
    store = study_store(str(storage), study, "1")
    channel = Terminal(steps=recipe.schedule.steps)
    record = run_trial(asked, store, device=device, executor="alone", channel=channel, warm=WARM)
    return storage / study / "1" / asked.trial, record
