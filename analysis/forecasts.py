"""Predicted before training against measured: what the probe in a study's records says of its other trials.

The formulas are `theory`'s. No measured trial enters a prediction: bits and ranks come from the probe of the untrained
base alone, memory from the planner. Each modality stands for itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analysis.agreement import Agreement, agreement, calibrated
from analysis.configs import finished, label, method_of
from analysis.plots import Chart, Finding, Marks
from analysis.table import Evidence, config_name
from analysis.tables import Cell, Table
from analysis.theory import Sketch, bit_drift, bit_gap, sketched_tail
from vqlora.record import Record

GOAL = 0.8  # rank correlation
SECOND, FIRST, RANK, MEMORY = "bits, second order", "bits, first order", "rank", "memory"
UNITS = {SECOND: "nats a token", FIRST: "nats a token", RANK: "squared gradient", MEMORY: "GiB"}
EVERY = "all roles"


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
    return found + _memory(evidence)


def findings(found: Sequence[Forecast]) -> list[Finding]:
    """A sentence for each: how alike the order is, and whether that is what the theory promised."""
    return [_finding(one) for one in found]


def table(found: Sequence[Forecast]) -> Table:
    """Rank correlation and calibration slope of each, with their intervals."""
    rows = []
    for one in found:
        order, scale = one.order, one.scale
        rows.append(
            [
                Cell(value=one.what),
                Cell(value=one.modality),
                Cell(value=float(len(one.names))),
                Cell(value=order.spearman, low=order.low, high=order.high) if order else Cell(value=np.nan),
                Cell(value=scale.slope, low=scale.slope_low, high=scale.slope_high) if scale else Cell(value=np.nan),
                Cell(value=float(order.beyond_noise) if order else np.nan),
                Cell(value=order.concordant if order and order.concordant is not None else np.nan),
            ]
        )
    return Table(
        id="forecasts",
        title="Theory against measurement",
        note="Predicted before training, measured after, each modality apart; 95% intervals over configurations. "
        "Slope: of measured on predicted, for rank after each was set on the line of the others; 1 is calibrated. "
        "Beyond noise: pairs that differ by more than twice what seeds and clips make of a difference; alike: the "
        "share of them that the prediction orders so.",
        keys=["prediction", "modality", "points", "spearman", "slope", "beyond_noise", "alike"],
        header=["prediction", "modality", "points", "rank correlation", "slope", "beyond noise", "alike"],
        rows=rows,
    )


def plots(found: Sequence[Forecast]) -> list[Chart]:
    """One for each kind of prediction, marks by modality."""
    return [_chart(what, own) for what in UNITS if (own := [one for one in found if one.what == what])]


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


def _memory(evidence: Evidence) -> list[Forecast]:
    """Peak memory in training, planned and measured; the planner runs before a trial on a GPU."""
    rows: dict[str, list[tuple[str, float, float]]] = {}
    for one in finished(evidence):
        planned, measured = one.cost.planned_train_peak_gib, one.cost.train_peak_gib
        if planned is not None and measured is not None:
            rows.setdefault(one.provenance.device, []).append((_name(one), planned, measured))
    return [one for device, own in sorted(rows.items()) for one in _held(MEMORY, device, own, 0.0)]


def _held(what: str, modality: str, rows: Sequence[tuple[str, float, float]], noise: float) -> list[Forecast]:
    """The rows as a forecast, none without any; ones that theory says nothing about (NaN) are left out."""
    known = [row for row in rows if np.isfinite(row[1])]
    if not known:
        return []
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


def _finding(one: Forecast) -> Finding:
    whole = f"{one.what} of {one.modality}"
    if one.order is None or one.scale is None:
        return Finding(sentence=f"{whole}: not answered", basis=one.why, clear=False)
    span = f"{one.order.spearman:.2f} [{one.order.low:.2f}, {one.order.high:.2f}]"
    reached = "as promised" if one.order.spearman >= GOAL else f"below the {GOAL} that the theory promised"
    share = "" if one.order.concordant is None else f", {one.order.concordant:.0%} of them ordered alike"
    source = "the planner" if one.what == MEMORY else "a probe of the untrained base on training clips"
    return Finding(
        sentence=f"{whole}: rank correlation of predicted and measured {span} over {len(one.names)}, {reached}",
        basis=f"from {source}; {one.order.beyond_noise} pairs differ beyond noise{share}; slope "
        f"{one.scale.slope:.2g} [{one.scale.slope_low:.2g}, {one.scale.slope_high:.2g}], 1 is calibrated",
        clear=one.order.low > 0 or one.order.high < 0,
    )


def _chart(what: str, found: Sequence[Forecast]) -> Chart:
    measured = "peak memory in training, GiB" if what == MEMORY else f"{label('loss')} on test, nats a token"
    said = [f"{one.modality} {one.order.spearman:.2f}" for one in found if one.order]
    return Chart(
        id=f"forecast-{what.replace(', ', '-').replace(' ', '-')}",
        title=f"Predicted against measured: {what}",
        summary=f"Rank correlations: {', '.join(said) or 'too few points for any'}. Each mark is a held-out "
        + (
            "configuration's loss less that of the same one at 16 bits."
            if what in (SECOND, FIRST)
            else "configuration."
        ),
        x_label=f"predicted, {UNITS[what]}",
        y_label=f"rise of {measured}" if what in (SECOND, FIRST) else measured,
        header=("modality", "configuration", "predicted", "measured"),
        rows=[
            (one.modality, name, f"{x:.4g}", f"{y:.4g}")
            for one in found
            for name, x, y in zip(one.names, one.predicted, one.measured, strict=True)
        ],
        marks=[
            Marks(
                name=one.modality,
                x=one.predicted,
                y=one.measured,
                hovers=[[one.modality, name] for name in one.names],
                style=style,
            )
            for style, one in enumerate(found)
        ],
    )


def _seed_noise(records: Sequence[Record]) -> float:
    """Standard deviation of a configuration's mean test loss by its seeds, pooled; 0 where none has two."""
    groups: dict[str, list[float]] = {}
    for one in records:
        groups.setdefault(_but(one, "seed"), []).append(_loss(one, "test"))
    freedom = sum(len(own) - 1 for own in groups.values())
    squares = sum(float(np.var(own)) * len(own) for own in groups.values())
    return float(np.sqrt(squares / freedom * len(groups) / len(records))) if freedom else 0.0


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
