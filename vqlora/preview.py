"""What `--dry-run` prints: the trials, their estimated memory and the cost of the whole. Takes no device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vqlora.asked import Asked, ask_points, sample_points
from vqlora.data.sets import open_data
from vqlora.data.shapes import PRESETS
from vqlora.monitor import duration
from vqlora.options import Planned
from vqlora.plan import Plan
from vqlora.planner import is_planned, plan
from vqlora.record import Record
from vqlora.store import StudyStore
from vqlora.study import Study


def print_preview(study: Study, listed: Sequence[Asked], store: StudyStore, device: Planned = "auto") -> None:
    """One line a trial, then the sums. Seconds are those of this study's earlier trials, else as planned for a GPU.

    What a searcher will propose is not known: as many points drawn from the space stand for it, each marked so.
    """
    stored, on = store.read(), planned_device() if device == "auto" else device
    known = {record.fingerprint: record.status.value for record in stored.records}
    drawn = _drawn(study, listed)
    print(f"{study.name} {study.version}: {study.question}")
    print(f"base {study.base} · data {study.data} · storage {store.place.url} · memory as on {on}\n")
    width = max((len(one.trial) for one in (*listed, *drawn)), default=5)
    print(f"{'trial':{width}}  {'method':10}  {'bits':>10}  {'steps':>6}  {'clips':>7}  {'peak GiB':>8}  state")
    plans = estimates([*listed, *drawn], on)
    for one in listed:
        print(_line(one, known.get(one.fingerprint, "to run"), width, plans.get(one.trial)))
    for one in drawn:
        print(_line(one, "drawn from the space", width, plans.get(one.trial)))
    missing = [one for one in listed if one.fingerprint not in stored.answers()] + drawn
    steps, clips = (sum(getattr(one.recipe.schedule, name) for one in missing) for name in ("steps", "clips_seen"))
    is_planned_whole = all(one.trial in plans for one in missing)
    flops = f"{sum(plans[one.trial].train_flops for one in missing):.2g}" if is_planned_whole else "unknown"
    count = len(listed) + len(drawn)
    print(f"\n{count} trials, {len(missing)} to run: {steps} steps, {clips} clips seen, {flops} FLOPs")
    print(_time(missing, stored.records, plans if on == "cuda" and is_planned_whole else {}))


def _drawn(study: Study, listed: Sequence[Asked]) -> list[Asked]:
    """As many points of a searcher's space as it will propose, none of them listed; of a grid none."""
    if not study.searcher:
        return []
    known = {one.fingerprint for one in listed}
    points = ask_points(study, sample_points(study, study.samples))
    return [one for one in points if one.fingerprint not in known]


def planned_device() -> str:
    """'cuda' where this machine has a GPU, else 'cpu'."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def estimates(listed: Sequence[Asked], device: str) -> dict[str, Plan]:
    """{trial: its plan}, without those whose base is not planned.

    Seeds do not matter, so trials that differ in nothing else are computed once.
    """
    keys = {one.trial: replace(one.recipe, seed=0) for one in listed if is_planned(one.recipe.base)}
    distinct = {recipe.fingerprint(): recipe for recipe in keys.values()}
    plans = {key: plan(recipe, device=device) for key, recipe in distinct.items()}
    return {trial: plans[recipe.fingerprint()] for trial, recipe in keys.items()}


def _line(one: Asked, state: str, width: int, planned: Plan | None) -> str:
    recipe = one.recipe
    bits = " ".join(f"{role[0]}{bits}" for role, bits in recipe.bits.plan.items())
    schedule = recipe.schedule
    return (
        f"{one.trial:{width}}  {recipe.method.kind:10}  {bits:>10}  {schedule.steps:>6}  {schedule.clips_seen:>7}  "
        f"{f'{planned.peak_gib:.2f}' if planned else 'unknown':>8}  {state}"
    )


def _time(missing: Sequence[Asked], records: Sequence[Record], plans: Mapping[str, Plan]) -> str:
    """By this study's earlier trials, else by the planner's assumptions about a GPU, which `plans` is for."""
    seconds = [record.cost.device_seconds for record in records if record.cost.device_seconds]
    if seconds:
        mean = sum(seconds) / len(seconds)
        return f"{_hours(mean * len(missing))}, at {duration(mean)} a trial so far"
    if not plans:
        return "no trial of this study has run yet, so its time is not known"
    planned = [plans[one.trial].device_seconds(one.recipe, **evaluated_clips(one.recipe.data)) for one in missing]
    return f"{_hours(sum(planned))}, as planned for an H100 before any trial has run"


def evaluated_clips(data: str) -> dict[str, int]:
    """{split: its clips} that a trial captions."""
    kind, _, preset = data.partition(":")
    if kind == "shapes":  # not opened: that would write them
        return {split: PRESETS[preset][split] for split in ("val", "test")}
    splits = open_data(data)
    return {"val": len(splits.val), "test": len(splits.test)}


def _hours(seconds: float) -> str:
    return f"about {duration(seconds)} ({seconds / 3600:.2f} device-hours)"
