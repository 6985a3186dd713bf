"""What `--dry-run` prints: the trials, their estimated memory and the cost of the whole. Takes no device."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from vqlora.asked import Asked
from vqlora.monitor import duration
from vqlora.record import Record
from vqlora.store import StudyStore
from vqlora.study import Study


def print_preview(study: Study, listed: Sequence[Asked], store: StudyStore) -> None:
    """One line a trial, then the sums. Seconds are those of this study's earlier trials, else unknown."""
    records = store.read().records
    known = {record.fingerprint: record for record in records}
    print(f"{study.name} {study.version}: {study.question}")
    print(f"base {study.base} · data {study.data} · storage {store.place.url}\n")
    width = max((len(one.trial) for one in listed), default=5)
    print(f"{'trial':{width}}  {'method':10}  {'bits':>18}  {'steps':>6}  {'clips':>7}  {'peak GiB':>8}  state")
    for one in listed:
        print(_line(one, known.get(one.fingerprint), width))
    missing = [one for one in listed if one.fingerprint not in store.read().answers()]
    if study.searcher:
        print(f"and {study.samples} points that the searcher proposes, each at {study.seeds} seed(s)")
    steps, clips = (sum(getattr(one.recipe.schedule, name) for one in missing) for name in ("steps", "clips_seen"))
    print(f"\n{len(listed)} trials, {len(missing)} to run: {steps} steps, {clips} clips seen{_hours(missing, records)}")


def _line(one: Asked, record: Record | None, width: int) -> str:
    recipe = one.recipe
    bits = " ".join(f"{role[0]}{bits}" for role, bits in recipe.bits.plan.items())
    peak = peak_gib(one)
    shown = "unknown" if peak is None else f"{peak:.2f}"
    schedule = recipe.schedule
    state = "to run" if record is None else record.status.value
    return (
        f"{one.trial:{width}}  {recipe.method.kind:10}  {bits:>18}  {schedule.steps:>6}  {schedule.clips_seen:>7}  "
        f"{shown:>8}  {state}"
    )


def peak_gib(one: Asked) -> float | None:
    """Estimated peak memory of a trial's training; None where it cannot be estimated."""
    if find_spec("vqlora.planner") is None:
        return None
    from vqlora.planner import plan_peak_gib

    return plan_peak_gib(one.recipe)


def _hours(missing: Sequence[Asked], records: Sequence[Record]) -> str:
    seconds = [record.cost.device_seconds for record in records if record.cost.device_seconds]
    if not seconds:
        return "; no trial of this study has run here, so its time is not known"
    mean = sum(seconds) / len(seconds)
    return f"; about {duration(mean * len(missing))} of one device, at {duration(mean)} a trial so far"
