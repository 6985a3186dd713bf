"""What a study with kills must keep, read from its storage alone; `benchmarks/faults.py` counts what it lost."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqlora.asked import Asked, expand
from vqlora.further import Terminal
from vqlora.ledger import read_attempt
from vqlora.record import Record, Status, record_from_json
from vqlora.store import ANSWERS, StudyStore, study_store
from vqlora.study import Study
from vqlora.training import evaluation_steps
from vqlora.trial import run_trial
from vqlora.warm import Warm

SHARED_BOUND = 1e-4  # relative, of losses where trials share their steps; `tests/test_studies.py` holds it too


class Quiet(Terminal):
    """Keeps checkpoints and prints nothing."""

    def send(self, row: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Counts of one study; all but the last two must be 0. repeated_steps: by trial and restart, what it did again."""

    trials_missing: int
    rows_lost: int
    rows_doubled: int
    curves_unequal: int
    scores_unequal: int
    broken_seen: int
    repeated_steps: tuple[int, ...]


def reference(study: Study) -> dict[str, Record]:
    """Every trial of the study, run in this process without Ray and undisturbed."""
    import torch

    torch.set_num_threads(1)
    warm = Warm()
    with tempfile.TemporaryDirectory() as folder:
        store = study_store(folder, study.name, study.version)
        return {
            one.trial: run_trial(
                one, store, device="cpu", executor="alone", channel=Quiet(steps=study.steps), warm=warm
            )
            for one in expand(study)
        }


def finished(store: StudyStore) -> dict[str, tuple[bytes, list[int]]]:
    """{trial: (its record as it stands, its attempts)} of trials that need not run again."""
    answered = {record.trial for record in store.read().answers().values()}
    return {
        name: (store.trial(name).place.read("record.json") or b"", store.trial(name).attempts()) for name in answered
    }


def run_again(before: Mapping[str, Any], now: Mapping[str, Any]) -> int:
    """How many trials that were finished are not as they were."""
    return sum(now.get(name) != kept for name, kept in before.items())


def superseded(store: StudyStore) -> int:
    """How many trials were begun again after their record stood, also within one launch."""
    last = {record.trial: record.attempt for record in store.read().answers().values()}
    kept = [store.trial(name).attempt(number).read("record.json") for name in last for number in range(last[name])]
    again = sum(record_from_json(text.decode()).status in ANSWERS for text in kept if text)
    return again + sum(max(store.trial(name).attempts()) > number for name, number in last.items())


def losses(study: Study, store: StudyStore, alone: Mapping[str, Record], *, is_shared: bool) -> Losses:
    """Compares a finished study with the undisturbed one."""
    records = {record.trial: record for record in store.read().records if record.status is Status.DONE}
    counts: Counter[str] = Counter()
    repeated: list[int] = []
    for asked in expand(study):
        record = records.get(asked.trial)
        if record is None:
            counts["trials_missing"] += 1
            continue
        merged, _ = store.trial(asked.trial).rows()
        for rows in (merged, record.curve):
            lost, doubled = _missing_and_doubled(asked, rows)
            counts.update(rows_lost=lost, rows_doubled=doubled)
        same = alone[asked.trial]
        counts["curves_unequal"] += not _agree(record.curve, same.curve, is_shared)
        counts["scores_unequal"] += not is_shared and record.metrics != same.metrics
        repeated += _repeated(store, asked)
    names = ("trials_missing", "rows_lost", "rows_doubled", "curves_unequal", "scores_unequal")
    found = {name: counts[name] for name in names}
    return Losses(**found, broken_seen=len(store.check()), repeated_steps=tuple(repeated))


def interval(study: Study, evaluations: int) -> int:
    """Steps between two checkpoints of a trial."""
    return math.ceil(study.steps / evaluations)


def _missing_and_doubled(asked: Asked, rows: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Of the rows that a whole curve has: training rows of every step, validation rows of every mark."""
    schedule = asked.recipe.schedule
    wanted = {(step, "loss") for step in range(1, schedule.steps + 1)}
    wanted |= {(step, "val") for step in evaluation_steps(schedule)}
    found = Counter((row["step"], "loss" if "loss" in row else "val") for row in rows)
    return len(wanted - found.keys()), sum(number - 1 for number in found.values()) + len(found.keys() - wanted)


def _agree(rows: Sequence[Mapping[str, Any]], alone: Sequence[Mapping[str, Any]], is_shared: bool) -> bool:
    if not is_shared:
        return [dict(row) for row in rows] == [dict(row) for row in alone]
    pairs = [(one.get("loss"), other.get("loss")) for one, other in zip(rows, alone, strict=False)]
    return len(rows) == len(alone) and all(
        math.isclose(one, other, rel_tol=SHARED_BOUND) for one, other in pairs if one is not None and other is not None
    )


def _repeated(store: StudyStore, asked: Asked) -> list[int]:
    """Of each restart that found rows of earlier attempts: how many training steps are in closed parts of both."""
    trial = store.trial(asked.trial)
    counts: list[int] = []
    seen: set[int] = set()
    for number in trial.attempts():
        rows, _ = read_attempt(trial.attempt(number))
        steps = {row["step"] for row in rows if "loss" in row}
        if seen and steps:
            counts.append(len(seen & steps))
        seen |= steps
    return counts


def places(storage: Path, study: Study) -> StudyStore:
    """The study's folder in a local storage."""
    return study_store(str(storage), study.name, study.version)
