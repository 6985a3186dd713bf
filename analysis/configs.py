"""Finished trials by configuration: seeds averaged, the test score with its interval. What a plot's mark stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.bootstrap import Interval, seed_noise
from analysis.draws import draw_scores, mean_intervals
from analysis.order import in_order
from analysis.table import COST_COLUMNS, Evidence, config_name
from vqlora.record import Record, Status

MOST_DRAWS, FEWER_DRAWS = 1000, 200  # for up to MOST_ROWS configurations, and for more
MOST_ROWS = 500
LABELS = {
    "cider": ("CIDEr-D", ""),
    "bleu_4": ("BLEU-4", ""),
    "rouge_l": ("ROUGE-L", ""),
    "loss": ("loss", ""),
    "cost.train_peak_gib": ("peak memory in training", "GiB"),
    "cost.train_reserved_gib": ("peak memory in training, reserved", "GiB"),
    "cost.train_process_gib": ("peak memory in training, of the process", "GiB"),
    "cost.infer_peak_gib": ("peak memory in inference", "GiB"),
    "cost.latency_ms": ("latency per clip", "ms"),
    "cost.latency_p90_ms": ("latency per clip, 90th percentile", "ms"),
    "cost.train_seconds": ("training time", "s"),
    "cost.step_seconds": ("time per step", "s"),
    "cost.train_flops": ("FLOPs of training", ""),
    "cost.infer_flops": ("FLOPs per clip", ""),
    "cost.trainable_params": ("trainable parameters", ""),
    "cost.planned_train_peak_gib": ("planned peak memory in training", "GiB"),
    "cost.planned_device_seconds": ("planned time of the trial", "s"),
    "cost.planned_latency_ms": ("planned latency per clip", "ms"),
    "cost.adapter_bytes": ("adapter", "bytes"),
    "cost.base_bytes": ("base", "bytes"),
    "cost.device_seconds": ("device time, all in all", "s"),
    "cost.selection_seconds": ("time to choose all frames", "s"),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """One point on one device. values: val.*, test.* and cost.* averaged over seeds; absent where not measured.

    adapters: those kept, as TRIAL/FOLDER in the study's storage. score: the test score of the metric that
    `configurations` was asked for, resampled over clips and seeds.
    """

    name: str
    point: Mapping[str, Any]
    device: str
    method: str
    recipe: Mapping[str, Any]
    seeds: int
    values: Mapping[str, float]
    score: Interval
    adapters: tuple[str, ...] = ()

    def has(self, *names: str) -> bool:
        """Whether all of these were measured."""
        return all(name in self.values for name in names)


def label(name: str, *, unit: bool = False) -> str:
    """A column's name for readers, with its unit if asked; the name itself where there is no better one."""
    words, measure = LABELS.get(name) or LABELS.get(name.removeprefix("val.").removeprefix("test."), (name, ""))
    return f"{words}, {measure}" if unit and measure else words


def number(value: float) -> str:
    """Four significant digits; '–' for what was not measured."""
    if not np.isfinite(value):
        return "–"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"


def amount(name: str, value: float) -> str:
    """A value with its unit."""
    return f"{number(value)} {LABELS.get(name, ('', ''))[1]}".rstrip()


def finished(evidence: Evidence) -> list[Record]:
    """The trials that may enter a fit, a comparison or a frontier, by point and seed."""
    known = {record.trial: record for record in evidence.records}
    return [known[trial] for trial in evidence.frame["trial"] if known[trial].status is Status.DONE]


def method_of(record: Record) -> str:
    """The kind of the recipe's method; '' if the recipe does not say."""
    return str((record.recipe.get("method") or {}).get("kind") or "")


def configurations(evidence: Evidence, *, metric: str) -> list[Config]:
    """Every finished configuration, each device apart, in the table's order; seed noise is pooled over all of them."""
    grouped: dict[tuple[str, str], list[Record]] = {}
    for record in finished(evidence):
        key = (config_name(record.point, evidence.axes), record.provenance.device)
        grouped.setdefault(key, []).append(record)
    intervals = _intervals(evidence, grouped, metric)
    unknown = Interval(estimate=np.nan, low=np.nan, high=np.nan)
    return [
        Config(
            name=name,
            point=records[0].point,
            device=device,
            method=method_of(records[0]),
            recipe=records[0].recipe,
            seeds=len(records),
            values=_means(records),
            adapters=tuple(f"{one.trial}/{one.adapter}" for one in records if one.adapter),
            score=intervals.get((name, device), unknown),
        )
        for (name, device), records in grouped.items()
    ]


def score_draws(
    evidence: Evidence, configs: Sequence[Config], rows: Sequence[int], *, metric: str, split: str
) -> np.ndarray | None:
    """[resamples, rows] of the split's score; None where not every one of the rows has per-clip scores."""
    place = {(configs[row].name, configs[row].device): row for row in rows}
    own = {
        record.trial: place[key]
        for record in finished(evidence)
        if (key := (config_name(record.point, evidence.axes), record.provenance.device)) in place
    }
    scores = common_scores({t: s for t, s in evidence.scores(split=split, metric=metric).items() if t in own})
    if set(own.values()) != {own[trial] for trial in scores} or not rows:
        return None
    untrained = {
        own[record.trial] for record in finished(evidence) if record.trial in own and method_of(record) == "zero_shot"
    }
    trials = sorted(scores, key=lambda trial: own[trial])
    trained = [trial for trial in trials if own[trial] not in untrained]
    noise = seed_noise([scores[t] for t in trained], groups=[own[t] for t in trained]) if trained else None
    return draw_scores(
        [scores[trial] for trial in trials],
        groups=[own[trial] for trial in trials],
        noise=noise,
        fixed=untrained,
        rng=np.random.default_rng(0),
        resamples=MOST_DRAWS if len(rows) <= MOST_ROWS else FEWER_DRAWS,
    )


def common_scores(scores: Mapping[str, Mapping[str, float]]) -> dict[str, list[float]]:
    """{trial: its scores on the clips that all trials have, in the clips' order}; empty where they share none."""
    common = sorted(set.intersection(*map(set, scores.values()))) if scores else []
    return {trial: [own[clip] for clip in common] for trial, own in scores.items() if common}


def levels(points: Iterable[Mapping[str, Any]], axis: str) -> list[Any]:
    """The values that an axis takes, in order; points without the axis are passed over."""
    return in_order(point[axis] for point in points if point.get(axis) is not None)


def _means(records: Sequence[Record]) -> dict[str, float]:
    """Each number's mean over the seeds that have it."""
    found: dict[str, list[float]] = {}
    for record in records:
        for split, metrics in record.metrics.items():
            for name, value in metrics.items():
                found.setdefault(f"{split}.{name}", []).append(value)
        for column in COST_COLUMNS:
            value = getattr(record.cost, column.removeprefix("cost."))
            if value is not None:
                found.setdefault(column, []).append(float(value))
    return {name: sum(values) / len(values) for name, values in found.items()}


def _intervals(
    evidence: Evidence, grouped: Mapping[tuple[str, str], Sequence[Record]], metric: str
) -> Mapping[Any, Interval]:
    """Of each configuration's test score; a base as it is has no seed noise."""
    rows = common_scores(evidence.scores(split="test", metric=metric))
    known = [(key, one) for key, records in grouped.items() for one in records if one.trial in rows]
    if not known:
        return {}
    untrained = {key for key, one in known if method_of(one) == "zero_shot"}
    trained = [(key, one) for key, one in known if key not in untrained]
    noise = seed_noise([rows[one.trial] for _, one in trained], groups=[key for key, _ in trained]) if trained else None
    return mean_intervals(
        [rows[one.trial] for _, one in known],
        groups=[key for key, _ in known],
        noise=noise,
        fixed=untrained,
        rng=np.random.default_rng(0),
    )
