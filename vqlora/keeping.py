"""Which adapters of a study stay in its storage: those of its frontier, all, or none. No record, no loss: an adapter
goes only when its trial has a valid record, and the record says so first (`TrialStore.drop_adapter`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from vqlora.options import Keep
from vqlora.record import Record, Status
from vqlora.store import StudyStore
from vqlora.study import Objective

# Reports draw the score against each cost that the study wants, or else against these.
COSTS = (
    Objective(metric="cost.train_peak_gib", direction="min"),
    Objective(metric="cost.latency_ms", direction="min"),
)


def keep_adapters(store: StudyStore, objectives: Sequence[Objective], keep: Keep) -> tuple[int, int]:
    """Gives up what `keep` does not name; (adapters kept, given up)."""
    records = store.read().records
    wanted = {"all": {one.trial for one in records}, "none": set[str]()}.get(keep)
    if wanted is None:
        wanted = frontier(records, objectives)
    held = [one for one in records if one.adapter is not None]
    for record in held:
        if record.trial not in wanted:
            store.trial(record.trial).drop_adapter()
    kept = sum(record.trial in wanted for record in held)
    return kept, len(held) - kept


def frontier(records: Iterable[Record], objectives: Sequence[Objective]) -> set[str]:
    """Trials of the points that a report may draw on a frontier, all seeds of each.

    A point is in if no other one of its device is better in one and no worse in the others, of all objectives or of the
    score and one cost; seeds averaged, validation only.
    """
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        if record.status is Status.DONE:
            key = (json.dumps(dict(record.point), sort_keys=True), record.provenance.device)
            groups.setdefault(key, []).append(record)
    scores = [one for one in objectives if one.metric.startswith("val.")][:1]
    costs = [one for one in objectives if one.metric.startswith("cost.")] or COSTS
    found: set[str] = set()
    for wanted in [list(objectives), *([*scores, cost] for cost in costs)]:
        values = {key: _means(own, wanted) for key, own in groups.items()}
        known = {key: row for key, row in values.items() if row is not None}
        for key, row in known.items():
            rivals = [other for other_key, other in known.items() if other_key[1] == key[1]]
            if not any(_dominates(other, row) for other in rivals):
                found |= {record.trial for record in groups[key]}
    return found


def _means(records: Sequence[Record], objectives: Sequence[Objective]) -> tuple[float, ...] | None:
    """Of each objective, with its sign turned so that more is better; None where one is missing."""
    row: list[float] = []
    for one in objectives:
        values = [value for record in records if (value := _value(record, one.metric)) is not None]
        if not values:
            return None
        row.append(sum(values) / len(values) * (1 if one.direction == "max" else -1))
    return tuple(row)


def _value(record: Record, metric: str) -> float | None:
    kind, _, name = metric.partition(".")
    if kind == "cost":
        return getattr(record.cost, name, None)
    scores: Mapping[str, float] = record.metrics.get("val", {})
    return scores.get(name)


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)
