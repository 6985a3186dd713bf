"""Which records of a study count, each trial once, and which per-clip scores are theirs; what is left out says why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqlora.record import Record, Status

MEANS = ("cider", "rouge_l")  # scores of a split that are the mean of its clips


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Something that does not enter fits, comparisons and frontiers, and why."""

    what: str
    reason: str


def once(records: Sequence[Record]) -> tuple[tuple[Record, ...], list[LeftOut]]:
    """Each trial once: a finished attempt before others, then the latest; and each experiment (fingerprint) once."""
    best: dict[str, Record] = {}
    left_out: list[LeftOut] = []
    for record in sorted(records, key=lambda one: (one.status is not Status.DONE, -one.attempt)):
        chosen = best.setdefault(record.trial, record)
        if chosen is not record:
            reason = f"{record.status.value}; attempt {chosen.attempt} of the same trial counts ({chosen.status.value})"
            left_out.append(LeftOut(what=f"{record.trial}, attempt {record.attempt}", reason=reason))
    kept: dict[str, Record] = {}
    for record in sorted(best.values(), key=lambda one: (one.status is not Status.DONE, one.trial)):
        chosen = kept.setdefault(record.fingerprint, record)
        if chosen is not record:
            left_out.append(LeftOut(what=record.trial, reason=f"the same experiment as {chosen.trial}"))
    return tuple(sorted(kept.values(), key=lambda one: one.trial)), left_out


def agreeing(
    records: Sequence[Record], examples: Mapping[str, Sequence[Mapping[str, Any]]]
) -> tuple[dict[str, tuple[Mapping[str, Any], ...]], list[LeftOut]]:
    """The per-clip scores whose mean is the record's score, and those whose mean is not: they belong to another run."""
    kept: dict[str, tuple[Mapping[str, Any], ...]] = {}
    left_out: list[LeftOut] = []
    for record in records:
        rows = tuple(examples.get(record.trial, ()))
        wrong = [text for split in record.metrics for metric in MEANS if (text := _gap(record, rows, split, metric))]
        if wrong:
            left_out.append(LeftOut(what=f"per-clip scores of {record.trial}", reason=wrong[0]))
        elif rows:
            kept[record.trial] = rows
    return kept, left_out


def _gap(record: Record, rows: Sequence[Mapping[str, Any]], split: str, metric: str) -> str:
    own = [row["scores"][metric] for row in rows if row["split"] == split and metric in row["scores"]]
    said = record.metrics[split].get(metric)
    if not own or said is None or abs(float(np.mean(own)) - said) <= 1e-6 * max(1.0, abs(said)):
        return ""
    return f"they average {np.mean(own):.6g} in {metric} on {split}, the record says {said:.6g}"


def unfinished(record: Record) -> LeftOut:
    """A trial that did not end well, with the last line of its error."""
    words = {
        Status.STOPPED: "stopped by a scheduler: censored, in no fit",
        Status.OUT_OF_MEMORY: "out of memory",
        Status.FAILED: "failed",
    }
    first = (record.error or "").strip().splitlines()
    return LeftOut(what=record.trial, reason=words[record.status] + (f": {first[-1][:200]}" if first else ""))
