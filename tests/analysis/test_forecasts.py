"""Predictions of a probe against trials drawn from what it predicts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from known_truth import Maker, Truth

from analysis import forecasts, layout, predictions, table
from analysis.report import report_of
from vqlora.recipe import Bits, Lora, Recipe, Schedule, ZeroShot, to_json
from vqlora.record import Cost

GIB = 2**30
ROLES = ("cross_modal", "text", "vision")
SCHEMES = {"int8": 0.01, "nf4": 1.0, "fp4": 1.7}
LABELS, TOKENS = 20.0, 100.0
DRIFT = {"cross_modal": -3.0, "text": 2.0, "vision": 0.4}  # of nf4; fp4 goes the other way


def probe():
    """One layer a role; to second order fp4 is always worse, to first order it is better where nf4 is worse."""
    layers = {}
    for place, role in enumerate(ROLES):
        along = {"int8": 0.02 * DRIFT[role], "nf4": -DRIFT[role], "fp4": 0.8 * DRIFT[role]}
        errors = {name: {"output": size, "along": along[name], "along_squared": 1.0} for name, size in SCHEMES.items()}
        layers[role] = {"role": role, "width": 64, "tokens": TOKENS, "gradient_energy": 0.1 + place, "errors": errors}
    own = [float(value) for value in np.geomspace(8, 0.01, 16)]
    sketch = {"own": own, "seen": [0.9 * value for value in own], "energy": sum(own) + 0.5}
    return {"clips": 8, "labels": LABELS, "layers": layers, "sketches": dict.fromkeys(ROLES, sketch)}


def made(name, method, schemes, loss, seed=0):
    """A record with this loss on both splits; what it cost does not matter."""
    draft, _ = Maker(Truth(clips=4)).trial(2, 16, seed)
    recipe = Recipe(base="b", data="d", method=method, bits=Bits(plan={}), schedule=Schedule(steps=4), seed=seed)
    plain = to_json(recipe) | {"bits": {"schemes": schemes}}
    model = {role: {"quantised": {schemes[role]: 3} if role in schemes else {}} for role in ROLES}
    other_clips = 1e-6 * (len(name) % 7 - 3)
    metrics = {split: {"loss": loss + off, "cider": 1.0} for split, off in (("test", 0.0), ("val", other_clips))}
    point = {"name": name}
    return replace(
        draft, trial=f"{name}-s{seed}", fingerprint=f"{name}-{seed}", recipe=plain, model=model, metrics=metrics,
        point=point, seed=seed, skipped=[], study="held",
    )  # fmt: skip


def plans(rise):
    """The probed base and every single and double plan, its loss raised by `rise(role, scheme)`."""
    records = [replace(made("plain", ZeroShot(probe=8), {}, 4.0), probe=probe())]
    for role in ROLES:
        for scheme in SCHEMES:
            for other in ({}, {"text": "nf4"} if role != "text" else {"vision": "nf4"}):
                schemes = {role: scheme, **other}
                loss = 4.0 + sum(rise(one, own) for one, own in schemes.items())
                name = "-".join(f"{one}.{own}" for one, own in sorted(schemes.items()))
                records.append(made(name, ZeroShot(), schemes, loss))
    distinct = {record.trial: record for record in records}
    return list(distinct.values())


def first_order(role, scheme):
    return -probe()["layers"][role]["errors"][scheme]["along"] / LABELS


def held(records, what, modality):
    evidence = table.collect(records, {}, asked=table.Asked())
    return next(one for one in predictions.forecasts(evidence) if (one.what, one.modality) == (what, modality))


@pytest.mark.parametrize("modality", [*ROLES, predictions.EVERY])
def test_losses_that_follow_the_first_order_are_predicted_by_it_and_not_by_the_second(modality):
    records = plans(first_order)
    first, second = (held(records, what, modality) for what in (predictions.FIRST, predictions.SECOND))
    assert first.order.concordant == 1 and first.scale.slope == pytest.approx(1)
    assert first.order.spearman > 0.85  # what is predicted alike is measured in any order
    assert second.order.spearman < 0.7


def test_what_differs_between_two_sets_of_clips_is_noise():
    rng = np.random.default_rng(0)
    noisy = [
        replace(one, metrics={split: {"loss": 4 + rng.normal(0, 1), "cider": 1.0} for split in ("val", "test")})
        for one in plans(first_order)
    ]
    found = held(noisy, predictions.FIRST, predictions.EVERY)
    assert found.order.beyond_noise < 0.2 * len(found.names) * (len(found.names) - 1) / 2


def test_ranks_are_held_against_the_tail_calibrated_on_the_others_only():
    sketch = probe()["sketches"]["text"]
    losses = {rank: 0.7 + 0.02 * predictions.missed(sketch, rank) for rank in (1, 2, 4, 8, 16)}
    records = [replace(made("plain", ZeroShot(probe=8), {}, 4.0), probe=probe())]
    records += [
        made(f"rank{rank}", Lora(rank={"text": rank}), {}, loss + 0.001 * seed, seed)
        for rank, loss in losses.items()
        for seed in (0, 1)
    ]
    found = held(records, predictions.RANK, "text")
    assert found.order.spearman == pytest.approx(1) and found.scale.slope == pytest.approx(1)
    assert len(found.names) == 5 and found.order.beyond_noise == 10


def costing(name, schemes, base_bytes, **costs):
    """A trained record with these costs, others None."""
    one = made(name, Lora(rank={"text": costs.pop("rank")}), schemes, 1.0)
    return replace(one, cost=Cost(base_bytes=base_bytes, **costs))


def test_a_peak_at_other_bits_is_predicted_from_the_one_at_sixteen():
    """Six ranks, of which each knows its own peak at 16 bits only."""
    records = []
    for rank in range(1, 7):
        for schemes, size in (({}, 4 * GIB), ({"text": "nf4"}, GIB)):
            peak = size / GIB + 0.5 * rank
            records.append(costing(f"{rank}-{size}", schemes, size, rank=rank, train_peak_gib=peak))
    found = held(records, predictions.OTHER_BITS, records[0].provenance.device)
    assert found.predicted == pytest.approx(found.measured) and len(found.names) == 6
    assert found.order.spearman == pytest.approx(1) and found.scale.slope == pytest.approx(1)


def test_latency_is_held_against_flops_at_the_rate_of_training_and_against_the_plan():
    records = [
        costing(
            str(rank), {}, 1, rank=rank, train_flops=6e12, train_seconds=3.0, infer_flops=1e9 * rank,
            latency_ms=1.5 * rank, planned_latency_ms=7.0 - rank,
        )
        for rank in range(1, 7)
    ]  # fmt: skip
    device = records[0].provenance.device
    found, planned = (held(records, what, device) for what in (predictions.SUSTAINED, predictions.LATENCY))
    assert found.predicted == pytest.approx([0.5 * rank for rank in range(1, 7)])
    assert found.scale.slope == pytest.approx(3) and planned.order.spearman == pytest.approx(-1)
    words = forecasts.findings([found, planned])
    assert "FLOPs counted" in words[0].basis and "promised" not in words[1].sentence


def test_of_many_configurations_some_stand_for_all():
    records = [
        costing(str(rank), {}, 1, rank=rank, latency_ms=1.0 * rank, planned_latency_ms=2.0 * rank)
        for rank in range(1, 2 * predictions.MOST_POINTS)
    ]
    found = held(records, predictions.LATENCY, records[0].provenance.device)
    assert predictions.MOST_POINTS / 2 <= len(found.names) <= predictions.MOST_POINTS


def test_too_few_points_say_so_and_a_study_without_a_probe_says_nothing(whole):
    records = plans(first_order)[:3]
    found = held(records, predictions.FIRST, "cross_modal")
    assert found.order is None and "at least 5" in found.why
    assert "not answered" in forecasts.findings([found])[0].sentence
    assert {one.what for one in predictions.forecasts(whole)} <= {predictions.OTHER_BITS, predictions.SUSTAINED}


def test_the_page_shows_them_with_a_table_and_a_plot_for_each_kind():
    report = report_of(table.collect(plans(first_order), {}, asked=table.Asked()))
    html = layout.html(report)
    assert "<h2>Theory against measurement" in html
    assert {"forecast-bits-first-order", "forecast-bits-second-order"} <= {plot.id for plot in report.plots}
    row = next(one for one in report.tables if one.id == "forecasts").texts()[0]
    assert row[0] == "bits, second order" and row[1] == "cross_modal"
