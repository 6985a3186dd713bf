"""`vqlora rerun RECORD`: a trial once more, from its record alone, and whether it gives what it gave."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vqlora.lines import one_line
from vqlora.recall import Found, Span, changed_content, changed_versions, seed_span
from vqlora.recipe import Recipe
from vqlora.record import Status

SPLITS = ("val", "test")
JUDGED = "cider"  # the score that must lie inside the seed interval where bits cannot agree


@dataclass(frozen=True, kw_only=True)
class Row:
    """One score before and now, and the interval of other seeds, None where no two seeds were run."""

    name: str
    old: float
    new: float | None
    span: Span | None

    @property
    def sign(self) -> str:
        """'=' to the bit, 'in' or 'out' of the interval, '?' without one."""
        if self.new == self.old:
            return "="
        if self.span is None or self.new is None:
            return "?"
        return "in" if self.span.low <= self.new <= self.span.high else "out"


def rerun(
    found: Found,
    *,
    device: str,
    seed: int | None = None,
    base: str | None = None,
    data: str | None = None,
    anyway: bool = False,
) -> bool:
    """Prints what differs here, runs the trial, prints both scores; whether the record is confirmed.

    base, data: where they lie now, if elsewhere. Confirmed: equal to the bit, or CIDEr-D of both splits inside the
    seed interval where seed, device or versions differ. ValueError before a device is taken for a trial that gave no
    scores, and for changed data or base unless `anyway`.
    """
    record = found.record
    recipe = _recipe(found, seed, base, data)
    what = f"{record.trial} of {record.study} {record.version}: {recipe.base} on {recipe.data}, seed {recipe.seed}"
    print(one_line(what))
    content = changed_content(record, base=recipe.base, data=recipe.data)
    for line in content:
        print(f"changed: {one_line(line)}", flush=True)
    if content and not anyway:
        raise ValueError(
            f"{content[0]}; give the record's own with --base and --data, or compare all the same with --anyway"
        )
    _set_threads(record.provenance.device, device)
    versions = changed_versions(record, device=device)
    for line in versions:
        print(f"changed: {one_line(line)}", flush=True)
    from vqlora.finetune import finetune

    outcome = finetune(recipe, device=device)
    if outcome.status is not Status.DONE:
        print(f"now {outcome.status.value}: {one_line(outcome.error)}")
        return False
    rows = compare(found, outcome.metrics)
    _print(rows)
    is_same = not (content or versions) and recipe.seed == record.seed and device == "cpu"
    return _verdict(rows, _losses(record.curve) == _losses(outcome.curve), is_same, recipe.seed == record.seed)


def compare(found: Found, metrics: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """Every score of the record beside the new one."""
    record = found.record
    return [
        Row(
            name=f"{split}.{name}",
            old=value,
            new=metrics.get(split, {}).get(name),
            span=seed_span(record, found.study, split, name),
        )
        for split in SPLITS
        for name, value in sorted(record.metrics.get(split, {}).items())
    ]


def _recipe(found: Found, seed: int | None, base: str | None, data: str | None) -> Recipe:
    record, recipe = found.record, found.recipe
    if record.status is not Status.DONE:
        raise ValueError(f"trial {record.trial} is {record.status.value}, so it has no scores to compare with")
    if recipe.start:
        raise ValueError(
            f"trial {record.trial} went on from the adapter {recipe.start}; train it again with `vqlora train --from`"
        )
    return replace(
        recipe,
        seed=recipe.seed if seed is None else seed,
        base=base or recipe.base,
        data=data or recipe.data,
    )


def _set_threads(recorded: str, device: str) -> None:
    """As many as the record's device had: their number changes the last bits of a sum."""
    import torch

    threads = re.search(r"(\d+) threads?$", recorded)
    if device == "cpu" and threads:
        torch.set_num_threads(int(threads[1]))


def _losses(curve: Any) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in curve if "loss" in row]


def _print(rows: list[Row]) -> None:
    width = max(len(row.name) for row in rows)
    print(f"\n{'score':{width}}  {'old':>12}  {'new':>12}  {'':4}seed interval")
    for row in rows:
        new = "absent" if row.new is None else f"{row.new:.6g}"
        span = f"[{row.span.low:.4g}, {row.span.high:.4g}]" if row.span else "one seed only"
        print(f"{row.name:{width}}  {row.old:>12.6g}  {new:>12}  {row.sign:4}{span}")


def _verdict(rows: list[Row], same_losses: bool, is_same: bool, same_seed: bool) -> bool:
    """Prints it. is_same: data, base, versions, device and seed are the record's, so bits must agree."""
    if all(row.sign == "=" for row in rows) and (same_losses or not same_seed):
        print("\nequal to the bit, every score and every step's loss" if same_losses else "\nevery score is equal")
        return True
    if is_same:
        print("\nNOT EQUAL, though data, base, versions, device and seed are those of the record")
        return False
    judged = [row for row in rows if row.name.partition(".")[2] == JUDGED]
    open_ones = [row.name for row in judged if row.sign == "?"]
    outside = [row.name for row in judged if row.sign == "out"]
    if open_ones:
        print(
            f"\nnot equal, and no seed interval for {', '.join(open_ones)}: the study ran one seed; --seeds 2 or more"
        )
        return False
    basis = next((row.span.basis for row in judged if row.span), "")
    print(f"\n{'OUTSIDE' if outside else 'inside'} the seed interval in {JUDGED} ({basis})")
    return not outside
