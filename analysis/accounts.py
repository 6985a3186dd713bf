"""What became of a study's trials and with what they ran, in words and rows; `tables` has their results."""

from __future__ import annotations

from collections import Counter

import numpy as np

from analysis.configs import label, number
from analysis.reports import general
from analysis.table import COST_COLUMNS, Evidence
from vqlora.record import Status


def subtitle(evidence: Evidence) -> str:
    """The question and the version, and a warning where no score can mean anything."""
    words = f"{evidence.asked.question or 'A study'} · version {evidence.version}"
    bases = {str(record.recipe.get("base")) for record in evidence.records}
    if bases and all(base.startswith("random:") for base in bases):
        words += " · random weights: costs are true, scores mean nothing"
    return words


def counts(evidence: Evidence) -> str:
    """Such as '45 asked · 41 done · 3 out of memory · 1 failed'."""
    found = [(evidence.count(status), status.value.replace("_", " ")) for status in Status]
    shown = [f"{many} {word}" for many, word in found if many or word == "done"]
    open_trials = len(set(evidence.asked.trials) - {record.trial for record in evidence.records})
    waiting = [f"{open_trials} without a record"] if open_trials else []
    return " · ".join([f"{evidence.asked_count} asked", *shown, *waiting])


def left_out(evidence: Evidence) -> list[tuple[str, str]]:
    """Trials, records and clips that count nowhere, each with its reason."""
    clips = Counter((clip["id"], clip["reason"]) for record in evidence.records for clip in record.skipped)
    trials = [(one.what, one.reason) for one in evidence.left_out]
    return trials + [(f"clip {id}", f"{reason} ({many} trials)") for (id, reason), many in sorted(clips.items())]


def trial_table(evidence: Evidence, *, short: bool = False) -> tuple[list[str], list[list[str]]]:
    """All trials with every column that holds anything; `short`: only what the general objectives name."""
    frame = evidence.frame
    metric = general.score(evidence)[0]
    wanted = {f"val.{metric}", f"test.{metric}", *(name for name, _ in general.OBJECTIVES)}
    measured = set(frame.columns[frame.notna().any()])
    numbers = [name for name in frame.columns if name.startswith(("val.", "test.")) or name in COST_COLUMNS]
    shown = [name for name in numbers if name in measured and (not short or name in wanted)]
    names = ["trial", "method", *evidence.axes, "seed", "status", *shown]
    columns: list[list[str]] = []
    for name in names:
        columns.append([number(value) if isinstance(value, float) else _text(value) for value in frame[name].tolist()])
    return names, [list(row) for row in zip(*columns, strict=True)]


def provenance(evidence: Evidence) -> list[tuple[str, str, str]]:
    """With what the trials ran: each distinct value and how many trials had it."""
    found: Counter[tuple[str, str]] = Counter()
    for record in evidence.records:
        own = record.provenance
        commit = f"{own.commit or 'unknown'}{' (working tree differed)' if own.dirty else ''}"
        found.update(
            [("commit", commit), ("device", own.device), ("platform", own.platform)]
            + [("versions", ", ".join(f"{name} {value}" for name, value in sorted(own.versions.items())))]
            + [("data digest", own.data_digest or "–"), ("base digest", own.base_digest or "–")]
            + ([("clips digest", own.clips_digest)] if own.clips_digest else [])
            + [("decoder", own.decoder or "–"), ("executor", own.executor or "–")]
            + [("base", str(record.recipe.get("base"))), ("data", str(record.recipe.get("data")))]
            + [(f"how {label('cost.' + name)} was measured", how) for name, how in record.cost.how.items()]
        )
    rows = [(what, value, str(many)) for (what, value), many in sorted(found.items())]
    times = sorted(stamp for record in evidence.records for stamp in (record.started_at, record.ended_at) if stamp)
    return rows + ([("from, to", f"{times[0]}, {times[-1]}", str(len(evidence.records)))] if times else [])


def _text(value: object) -> str:
    return "–" if value is None or (isinstance(value, float) and np.isnan(value)) else str(value)
