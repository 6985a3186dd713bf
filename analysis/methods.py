"""What a paper says about its evidence: a methods paragraph and the 14 points of the checklist, from records alone.

Whatever the records do not hold is said to be missing; nothing is assumed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from analysis.configs import label, levels, number
from analysis.plots import Answer
from analysis.reproduce import settings
from analysis.results import Results
from analysis.table import Evidence
from vqlora.record import Record, Status

UNKNOWN = "not in the records"
POINTS = (
    "Question, factors, levels, design and counts",
    "Models, adapters, quantisers",
    "Data: versions, splits, sizes",
    "Hyperparameters and selection",
    "Seeds and their noise",
    "Metrics",
    "Every table",
    "Laws",
    "Choice of a law's form",
    "Frontier",
    "Cost",
    "Threats",
    "Environment, commands, data",
    "Accessibility",
)


def paragraph(evidence: Evidence, found: Results, answered: Answer) -> str:
    """How the numbers were made, in one paragraph for a paper."""
    words, test = label(found.metric), f"test.{found.metric}"
    seeds = sorted({config.seeds for config in found.configs})
    clips = _clips(evidence, found.metric)
    over = f" over {clips} clips" if clips else ""
    measured = sum(config.has(test) for config in found.configs)
    goals = ", ".join(f"{label(name)} ({direction})" for name, direction in found.objectives)
    laws = [one.basis for one in answered.findings if one.basis.startswith("law ")]
    parts = [
        f"We ran {len(evidence.records)} of {evidence.asked_count} planned trials ({counted(evidence)}) on "
        f"{_each(evidence, _device)}.",
        f"{measured} configurations were scored on test with {_range(seeds)} seed{'s' if seeds[-1:] != [1] else ''} "
        f"each; {words} is the mean{over}, its document frequencies frozen where it is CIDEr-D.",
        "Configurations and frontiers are chosen on validation; test scores are reported once.",
        "Intervals are 95% two-level bootstraps (clips drawn once for all configurations, seeds from the pooled "
        "deviations within configurations, 2000 resamples, percentiles widened by Student's t at Satterthwaite's "
        "degrees of freedom).",
        f"Pareto frontiers are over {goals}; the chance to be on one is the share of paired resamples in which a "
        "configuration is not dominated, costs taken as measured.",
        *(f"Fitted: {basis}." for basis in laws),
        "Out-of-memory, failed and stopped trials are counted and enter no fit.",
    ]
    return " ".join(parts)


def checklist(evidence: Evidence, found: Results, answered: Answer) -> list[tuple[str, str]]:
    """The 14 points: (what a journal asks, what this study can answer)."""
    seeds = Counter(config.seeds for config in found.configs)
    laws = [f"{one.sentence} ({one.basis})" for one in answered.findings if one.basis.startswith("law ")]
    hours = sum(record.cost.device_seconds or 0.0 for record in evidence.records) / 3600
    unclear = [one.sentence for one in answered.findings if not one.clear]
    luck = [f"{front.luck:+.3f}" for front in found.fronts if np.isfinite(front.luck)]
    goals = ", ".join(f"{label(name)} {direction}" for name, direction in found.objectives)
    bases = len({record.recipe.get("base") for record in evidence.records})
    answers = (
        f"{_question(evidence)}; {_axes(evidence)}; {_design(evidence)}; {counted(evidence)}",
        f"bases {_each(evidence, _base)}; {_varied(evidence)}; {_bits(evidence)}",
        f"data {_each(evidence, _data)}; {_clips(evidence, found.metric)} clips on test",
        f"{_schedule(evidence)}; chosen on validation, test scored once at a trial's end",
        f"{_seed_counts(seeds)}; noise pooled over configurations, within which it is taken to be alike",
        f"{label(found.metric)}; {_each(evidence, _vqlora)}; document frequencies frozen from all references",
        "n, 95% interval and its method stand in the notes; what ties with the best is marked, Holm at 5%; contrasts "
        "have p before and after Holm, an effect size and the difference that the design finds in 4 of 5 repetitions",
        "; ".join(laws) or "none was fitted",
        "one form for each score, checked by predicting its highest level; others: `analysis fit --compare`"
        if laws
        else "none was fitted",
        f"{goals}; chances by paired resampling; validation flatters its best by {', '.join(luck) or UNKNOWN}; "
        "duplicates stay, a configuration with a missing value is never on it; volume with reference and interval, "
        "budgets and a knee on linear axes stand with it, attainment bands in its figures",
        f"{_each(evidence, _device)}; {number(hours)} device hours in all, failures included; {_how(evidence)}",
        f"not clear of zero: {'; '.join(unclear) or 'nothing'}; {len(evidence.left_out)} left out; bases: {bases}",
        f"commits {_each(evidence, _commit)}; every point has its command; CSV of every table; versions in provenance",
        "every plot has a summary, a table and shapes beside colours; the page works by keyboard",
    )
    return list(zip(POINTS, answers, strict=True))


def counted(evidence: Evidence) -> str:
    """Such as '41 done, 3 out of memory, 1 failed, 2 without a record'."""
    said = [f"{many} {status.value.replace('_', ' ')}" for status in Status if (many := evidence.count(status))]
    waiting = len(set(evidence.asked.trials) - {record.trial for record in evidence.records})
    return ", ".join(said + ([f"{waiting} without a record"] if waiting else []))


def _question(evidence: Evidence) -> str:
    return evidence.asked.question or f"question {UNKNOWN}"


def _axes(evidence: Evidence) -> str:
    points = [record.point for record in evidence.records]
    return "; ".join(f"{axis} in {_listed(map(str, levels(points, axis)))}" for axis in evidence.axes)


def _design(evidence: Evidence) -> str:
    """How much of the grid of all axes was tried."""
    points = {tuple(record.point.get(axis) for axis in evidence.axes) for record in evidence.records}
    sizes = [len({point[place] for point in points}) for place in range(len(evidence.axes))]
    return f"{len(points)} of the {math.prod(sizes)} points of their grid"


def _each(evidence: Evidence, of: Callable[[Record], str]) -> str:
    return _listed(of(record) for record in evidence.records)


def _base(record: Record) -> str:
    digest = record.provenance.base_digest
    return f"{record.recipe.get('base')} ({digest[:12] if digest else 'no digest'})"


def _data(record: Record) -> str:
    digest = record.provenance.data_digest
    return f"{record.recipe.get('data')} ({digest[:12] if digest else 'no digest'})"


def _device(record: Record) -> str:
    return record.provenance.device


def _commit(record: Record) -> str:
    own = record.provenance
    return (own.commit or UNKNOWN)[:12] + (" (working tree differed)" if own.dirty else "")


def _vqlora(record: Record) -> str:
    return f"vqlora {record.provenance.versions.get('vqlora', UNKNOWN)}"


def _varied(evidence: Evidence) -> str:
    """The recipe's settings of method and adapter, those alike in all trials."""
    return "; ".join(_alike(evidence, "method")) or f"method {UNKNOWN}"


def _schedule(evidence: Evidence) -> str:
    return "; ".join(_alike(evidence, "schedule")) or f"schedule {UNKNOWN}"


def _alike(evidence: Evidence, part: str) -> list[str]:
    found: dict[str, set[str]] = {}
    for record in evidence.records:
        for name, value in settings(record.recipe.get(part) or {}).items():
            found.setdefault(name, set()).add(str(value))
    return [f"{name} {_listed(sorted(values))}" for name, values in found.items()]


def _bits(evidence: Evidence) -> str:
    """Effective bits a weight, scales included, where the records hold bytes and parameters."""
    found: set[str] = set()
    for record in evidence.records:
        parts = [part for part in record.model.values() if isinstance(part, dict)]
        weights = sum(part.get("parameters", 0) for part in parts)
        if weights and all("bytes" in part for part in parts):
            found.add(f"{8 * sum(part['bytes'] for part in parts) / weights:.2f}")
    return f"effective bits a weight {_listed(sorted(found))}" if found else f"effective bits {UNKNOWN}"


def _clips(evidence: Evidence, metric: str) -> int:
    scores = evidence.scores(split="test", metric=metric)
    return max((len(own) for own in scores.values()), default=0)


def _seed_counts(seeds: Counter[int]) -> str:
    return ", ".join(
        f"{many} configurations with {size} seed{'s' if size > 1 else ''}" for size, many in sorted(seeds.items())
    )


def _how(evidence: Evidence) -> str:
    words = sorted({f"{label(f'cost.{name}')}: {how}" for r in evidence.records for name, how in r.cost.how.items()})
    return "; ".join(words) or f"how it was measured {UNKNOWN}"


def _listed(values: Iterable[str], most: int = 8) -> str:
    known = list(dict.fromkeys(values))
    return ", ".join(known[:most]) + (f" and {len(known) - most} more" if len(known) > most else "")


def _range(values: Sequence[int]) -> str:
    if not values:
        return "no"
    return str(values[0]) if values[0] == values[-1] else f"{values[0]} to {values[-1]}"
