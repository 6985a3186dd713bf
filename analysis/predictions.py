"""What could be known before a trial ran, held against what it measured: loss by bits and rank, memory, latency.

The formulas are `theory`'s and the planner's. No measured loss enters a prediction of one: bits and ranks come from the
probe of the untrained base alone. Each modality, and for costs each device, stands for itself. The words: `forecasts`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.agreement import Agreement, agreement, calibrated
from analysis.configs import finished, method_of
from analysis.table import Evidence, config_name
from analysis.theory import Sketch, bit_drift, bit_gap, other_bits_gib, sketched_tail, sustained_ms
from vqlora.record import Record

SECOND, FIRST, RANK = "bits, second order", "bits, first order", "rank"
MEMORY, OTHER_BITS = "memory in training, planned", "memory in training, from that at 16 bits"
LATENCY, SUSTAINED = "latency, planned", "latency, by FLOPs"
EVERY = "all roles"
MOST_POINTS = 400  # of one kind; more say the same, and pairs grow with their square
Rows = Sequence[tuple[str, float, float]]  # name, predicted, measured


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """One kind of prediction for one modality: names, predicted and measured of held-out configurations.

    order: agreement as predicted. scale: each prediction on the line of the others. Both None where `why` says so.
    """

    what: str
    modality: str
    names: Sequence[str]
    predicted: Sequence[float]
    measured: Sequence[float]
    order: Agreement | None = None
    scale: Agreement | None = None
    why: str = ""


def forecasts(evidence: Evidence) -> list[Forecast]:
    """All that can be held against measurements; none in a study whose records keep neither probe nor plan."""
    found: list[Forecast] = []
    for record in finished(evidence):
        if record.probe:
            others = [one for one in finished(evidence) if _workload(one) == _workload(record)]
            untrained = [one for one in others if method_of(one) == "zero_shot"]
            trained = [one for one in others if method_of(one) != "zero_shot"]
            after = [replace(one, modality=f"{one.modality}, trained") for one in _bits(record.probe, trained)]
            found += [*_bits(record.probe, untrained), *after, *_ranks(record.probe, trained)]
    return found + _costs(evidence)


def _bits(probe: Mapping[str, Any], records: Sequence[Record]) -> list[Forecast]:
    """Loss at a plan less loss of the same recipe with one role, then with all, at 16 bits."""
    known = {(_but(one, "bits"), _plan(_schemes(one))): one for one in records}
    roles = sorted({layer["role"] for layer in probe["layers"].values()})
    found: list[Forecast] = []
    for modality, group in (*((role, [role]) for role in roles), (EVERY, roles)):
        rows: dict[str, list[tuple[float, ...]]] = {}
        for one in records:
            schemes = {role: scheme for role, scheme in _schemes(one).items() if role in group}
            plain = {role: scheme for role, scheme in _schemes(one).items() if role not in group}
            reference = known.get((_but(one, "bits"), _plan(plain)))
            if schemes and reference:
                rises = [_loss(one, split) - _loss(reference, split) for split in ("test", "val")]
                rows.setdefault(_but(one, "seed"), []).append((*_gaps(probe, schemes), *rises))
        if rows:
            names = [next(one for one in records if _but(one, "seed") == key) for key in rows]
            means = np.array([np.mean(own, axis=0) for own in rows.values()])
            # what differs between two sets of clips, and between two seeds, is no effect of bits
            clips = float(np.sqrt(np.mean((means[:, 2] - means[:, 3]) ** 2) / 2))
            noise = float(np.hypot(clips, np.sqrt(2) * _seed_noise(records)))
            for place, what in enumerate((SECOND, FIRST)):
                pairs = list(zip(map(_name, names), means[:, place].tolist(), means[:, 2].tolist(), strict=True))
                found += _held(what, modality, pairs, noise)
    return found


def _gaps(probe: Mapping[str, Any], schemes: Mapping[str, str]) -> tuple[float, float]:
    """(second order, first order) of the mean loss, summed over the roles' layers."""
    second = first = 0.0
    for layer in probe["layers"].values():
        scheme = schemes.get(layer["role"])
        if scheme:
            error, tokens = layer["errors"][scheme], layer["tokens"]
            gap = bit_gap([error["output"]], [layer["gradient_energy"]], [layer["width"]], tokens=tokens)
            second += gap.expected
            first += bit_drift([error["along"]])
    return second / probe["labels"], first / probe["labels"]


def _ranks(probe: Mapping[str, Any], records: Sequence[Record]) -> list[Forecast]:
    """Loss of one rank in the same roles, at its best other settings on validation, against the tail of the sketch."""
    tried: dict[str, dict[tuple[int, str], dict[str, list[Record]]]] = {}
    for one in records:
        ranks = {role: rank for role, rank in (_method(one).get("rank") or {}).items() if rank}
        if ranks and len(set(ranks.values())) == 1 and set(ranks) <= set(probe["sketches"]):
            place = (next(iter(ranks.values())), str(_plan(_schemes(one))))
            own = tried.setdefault(" + ".join(sorted(ranks)), {}).setdefault(place, {})
            own.setdefault(_but(one, "seed"), []).append(one)
    found: list[Forecast] = []
    for group, places in sorted(tried.items()):
        blocks: dict[str, list[tuple[str, float, float]]] = {}
        chosen: list[Record] = []
        for (rank, block), settings in sorted(places.items()):
            best = min(settings.values(), key=lambda own: np.mean([_loss(one, "val") for one in own]))
            energy = sum(missed(probe["sketches"][role], rank) for role in group.split(" + "))
            loss = float(np.mean([_loss(one, "test") for one in best]))
            blocks.setdefault(block, []).append((_name(best[0]), energy, loss))
            chosen += best
        pairs = [pair for own in blocks.values() for pair in (_centred(own) if len(blocks) > 1 else own)]
        found += _held(RANK, group, pairs, _seed_noise(chosen))
    return found


def missed(sketch: Mapping[str, Any], rank: int) -> float:
    """Midway between the two estimates of the tail; NaN beyond the sketch."""
    known = Sketch(own=np.array(sketch["own"]), seen=np.array(sketch["seen"]), energy=sketch["energy"])
    if rank > len(known.own):
        return float("nan")
    low, high = sketched_tail(known, [rank])
    return float(low[0] + high[0]) / 2


def _centred(rows: Sequence[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """Blocks of other bits have their own level; only what differs within one is compared."""
    predicted, measured = float(np.nanmean([x for _, x, _ in rows])), float(np.mean([y for *_, y in rows]))
    return [(name, x - predicted, y - measured) for name, x, y in rows]


def _costs(evidence: Evidence) -> list[Forecast]:
    """Memory and latency of each device: by the planner, which runs before a trial on a GPU, and from other trials."""
    found: list[Forecast] = []
    devices: dict[str, list[Record]] = {}
    for one in finished(evidence):
        devices.setdefault(one.provenance.device, []).append(one)
    for device, records in sorted(devices.items()):
        peaks, delays = (lambda one: one.cost.train_peak_gib), (lambda one: one.cost.latency_ms)
        found += _held(MEMORY, device, *_means(records, lambda one: one.cost.planned_train_peak_gib, peaks))
        found += _held(OTHER_BITS, device, *_means(records, _peaks_of_other_bits(records), peaks))
        found += _held(LATENCY, device, *_means(records, lambda one: one.cost.planned_latency_ms, delays))
        found += _held(SUSTAINED, device, *_means(records, _latencies_by_flops(records), delays))
    return found


Number = Callable[[Record], float | None]


def _peaks_of_other_bits(records: Sequence[Record]) -> Number:
    """A trial's peak from that of the same recipe, seed included, with every role at 16 bits; None without one."""
    known = {_but(one, "bits"): one.cost for one in records if not _schemes(one)}

    def predicted(record: Record) -> float | None:
        whole, base = known.get(_but(record, "bits")), record.cost.base_bytes
        if not _schemes(record) or base is None or whole is None or None in (whole.train_peak_gib, whole.base_bytes):
            return None
        return other_bits_gib(whole.train_peak_gib or 0.0, base_bytes=whole.base_bytes or 0, other_base_bytes=base)

    return predicted


def _latencies_by_flops(records: Sequence[Record]) -> Number:
    """A clip's FLOPs at the rate that the device sustained in training; no latency enters."""
    costs = [one.cost for one in records]
    rates = [cost.train_flops / cost.train_seconds for cost in costs if cost.train_flops and cost.train_seconds]

    def predicted(record: Record) -> float | None:
        flops = record.cost.infer_flops
        return sustained_ms(flops, flops_per_second=float(np.median(rates))) if rates and flops else None

    return predicted


def _means(records: Sequence[Record], predicted: Number, measured: Number) -> tuple[Rows, float]:
    """(a row for each configuration that has both, seeds averaged; the noise of a measured mean)."""
    groups: dict[str, list[tuple[Record, float, float]]] = {}
    for one in records:
        both = predicted(one), measured(one)
        if both[0] is not None and both[1] is not None:
            groups.setdefault(_but(one, "seed"), []).append((one, both[0], both[1]))
    rows = [
        (_name(own[0][0]), float(np.mean([x for _, x, _ in own])), float(np.mean([y for *_, y in own])))
        for own in groups.values()
    ]
    return rows, noise_of_means([[y for *_, y in own] for own in groups.values()])


def _held(what: str, modality: str, rows: Rows, noise: float) -> list[Forecast]:
    """The rows as a forecast, none without any; ones that theory says nothing about (NaN) are left out."""
    known = [row for row in rows if np.isfinite(row[1])]
    if not known:
        return []
    known = known[:: -(-len(known) // MOST_POINTS)]
    names, predicted, measured = (list(side) for side in zip(*known, strict=True))
    order = scale = None
    why = ""
    try:
        order = scale = agreement(predicted, measured, seed_sd=noise, rng=np.random.default_rng(0))
        if what == RANK:
            fitted = calibrated(predicted, measured)
            scale = agreement(fitted, measured, seed_sd=noise, rng=np.random.default_rng(0))
    except ValueError as error:
        why = str(error)
    given = {"names": names, "predicted": predicted, "measured": measured}
    return [Forecast(what=what, modality=modality, **given, order=order, scale=scale, why=why)]


def noise_of_means(groups: Sequence[Sequence[float]]) -> float:
    """Standard deviation of a configuration's mean by its seeds, pooled over groups; 0 where none has two."""
    freedom, size = sum(len(own) - 1 for own in groups), sum(map(len, groups))
    squares = sum(float(np.var(own)) * len(own) for own in groups)
    return float(np.sqrt(squares / freedom * len(groups) / size)) if freedom else 0.0


def _seed_noise(records: Sequence[Record]) -> float:
    """Of the test loss."""
    groups: dict[str, list[float]] = {}
    for one in records:
        groups.setdefault(_but(one, "seed"), []).append(_loss(one, "test"))
    return noise_of_means([*groups.values()])


def _schemes(record: Record) -> dict[str, str]:
    """{role: the scheme its layers are quantised in}, as found after building; roles at 16 bits are absent."""
    return {role: next(iter(row["quantised"])) for role, row in record.model.items() if row.get("quantised")}


def _plan(schemes: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(schemes.items()))


def _loss(record: Record, split: str) -> float:
    return record.metrics[split]["loss"]


def _workload(record: Record) -> str:
    return json.dumps([record.recipe.get(part) for part in ("base", "data", "frames", "language")], sort_keys=True)


def _method(record: Record) -> Mapping[str, Any]:
    return record.recipe.get("method") or {}


def _but(record: Record, *parts: str) -> str:
    """The recipe without some of its parts; a probe changes nothing that is measured."""
    method = {name: value for name, value in _method(record).items() if name != "probe"}
    return json.dumps({**{k: v for k, v in record.recipe.items() if k not in parts}, "method": method}, sort_keys=True)


def _name(record: Record) -> str:
    return config_name(record.point, tuple(record.point))
