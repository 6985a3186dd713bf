import re
from dataclasses import replace

import numpy as np
import pytest
from known_truth import Maker, Truth, provenance

from analysis import table, views
from analysis.configs import amount, configurations, number
from analysis.reports import general, rank_bits
from analysis.trends import law_of


@pytest.fixture(scope="module")
def configs(whole):
    return configurations(whole, metric="cider")


def test_seeds_of_a_configuration_are_averaged_and_the_interval_holds_its_score(configs):
    assert len(configs) == 15
    one = next(config for config in configs if config.point == {"rank": 8, "bits": 4})
    assert one.seeds == 2
    assert one.score.low < one.values["test.cider"] < one.score.high
    assert one.score.estimate == pytest.approx(one.values["test.cider"])


def test_the_frontier_is_chosen_on_validation_and_an_absurd_test_score_changes_nothing_but_the_height(configs):
    options = {"metric": "cider", "direction": "max", "cost": "cost.train_peak_gib", "group": "bits", "id": "f"}
    honest = views.frontier(configs, **options)
    planted = [
        replace(one, values={**one.values, "test.cider": 9.9}) if k % 2 else one for k, one in enumerate(configs)
    ]
    absurd = views.frontier(planted, **options)
    assert honest.lines[0].x == absurd.lines[0].x
    assert [row[-1] for row in honest.rows] == [row[-1] for row in absurd.rows]
    assert max(absurd.lines[0].y) == 9.9


def test_the_band_is_what_resamples_attain_within_each_cost(whole, configs):
    """Draws that never differ attain the stairs of the best score so far, and nothing else."""
    options = {"metric": "cider", "direction": "max", "cost": "cost.train_peak_gib", "group": "bits", "id": "f"}
    configs = [one for one in configs if one.has("test.cider", "cost.train_peak_gib")]
    scores = np.array([one.values["test.cider"] for one in configs])
    found = views.frontier(configs, **options, draws=np.tile(scores, (50, 1))).bands[0]
    costs = np.array([one.values["cost.train_peak_gib"] for one in configs])
    for x, low, high in list(zip(found.x, found.low, found.high, strict=True))[::2]:
        assert low == high == scores[costs <= x].max()
    drawn = next(one for one in general.frontiers(whole, configs, group="bits") if one.bands)
    assert all(low < high for low, high in zip(drawn.bands[0].low, drawn.bands[0].high, strict=True))
    assert "Band:" in drawn.summary


def test_the_gap_between_test_and_validation_is_printed(configs):
    plot = views.frontier(configs, metric="cider", direction="max", cost="cost.latency_ms", group="bits", id="f")
    assert "test minus validation" in plot.summary
    row = plot.rows[0]
    assert float(row[5]) == pytest.approx(float(row[3]) - float(row[2]), abs=2e-3)
    assert any("gap" in line for line in plot.marks[0].hovers[0])


def test_memory_of_two_devices_is_never_in_one_frontier(drawn):
    records, examples = drawn
    moved = [replace(one, provenance=provenance("CPU")) if one.seed else one for one in records]
    found = table.collect(moved, examples, asked=table.Asked())
    configs = configurations(found, metric="cider")
    with pytest.raises(ValueError, match="make one frontier per device"):
        views.frontier(configs, metric="cider", direction="max", cost="cost.latency_ms", group="bits", id="f")
    ids = [plot.id for plot in general.frontiers(found, configs, group="bits")]
    assert ids == [f"frontier-{cost}-{k}" for cost in ("train_peak_gib", "latency_ms") for k in (1, 2)]


def test_the_grid_has_a_hole_where_nothing_finished(configs):
    kept = [one for one in configs if one.point != {"rank": 4, "bits": 8}]
    plot = views.grid(kept, metric="cider", across="rank", down="bits")
    line, column = plot.lines.index("8"), plot.columns.index("4")
    assert np.isnan(plot.values[line][column]) and plot.texts[line][column] == ""
    assert np.isfinite(plot.values).sum() == 14


def test_a_stopped_trial_has_a_dashed_curve(whole):
    plot = views.curves(whole, group="bits")
    assert len(plot.lines) == 24
    assert sum(line.dashed for line in plot.lines) == 3
    assert sum(line.in_legend for line in plot.lines) == 3


def test_the_verdict_finds_the_truth(whole):
    found = rank_bits.answer(whole)
    said = {finding.sentence.split(":")[0]: finding for finding in found.findings}
    assert said["LoRA rank 16 is above zero-shot in CIDEr-D on test"].clear
    assert said["rank 16 is above rank 2 in CIDEr-D on test"].clear
    assert not said["QLoRA (bits 4) is not distinguishable from LoRA (bits 16) in CIDEr-D on test"].clear
    assert said["effect of rank on CIDEr-D on test"].clear
    assert "-54%" in said["peak memory in training"].sentence


def test_without_an_effect_of_rank_the_verdict_says_so():
    records, examples = Maker(Truth(amplitude=0.0), seed=3).study()
    found = rank_bits.answer(table.collect(records, examples, asked=table.Asked()))
    sentences = [finding.sentence for finding in found.findings]
    assert any("rank 16 is not distinguishable from rank 2" in one for one in sentences)
    assert any("effect of rank is not distinguishable from zero" in one and "would find" in one for one in sentences)
    law = next(finding for finding in found.findings if "effect of rank" in finding.sentence)
    assert "parameters are not given" in law.basis


def test_what_cannot_be_answered_is_said_with_its_reason():
    maker = Maker(Truth(clips=20))
    records = [maker.trial(rank, 4, 0)[0] for rank in (2, 4)]
    found = rank_bits.answer(table.collect(records, {}, asked=table.Asked()))
    said = {finding.sentence: finding.basis for finding in found.findings}
    assert "nothing can be compared" in said["LoRA rank 4 against zero-shot: not answered"]
    assert "no per-clip scores" in said["rank 4 against rank 2: not answered"]
    assert "2 levels" in said["law of CIDEr-D on test in rank: not answered"]


def test_a_study_of_any_axes_is_answered(whole):
    renamed = [
        replace(r, study="else", point={"frames": r.point["rank"], "plan": r.point["bits"]}) for r in whole.records
    ]
    found = general.answer(table.collect(renamed, whole.examples, asked=table.Asked()))
    assert [plot.id for plot in found.plots] == ["frontier-train_peak_gib", "frontier-latency_ms", "grid", "curves"]
    assert "best on validation of 15 configurations: frames 16" in found.findings[0].sentence
    with pytest.raises(ValueError, match="no axis 'rank'"):
        rank_bits.answer(table.collect(renamed, {}, asked=table.Asked()))


def test_numbers_are_short_and_missing_ones_are_a_dash():
    assert [number(value) for value in (0.123456, 12345.6, 3.1e15, float("nan"))] == [
        "0.1235",
        "12,346",
        "3.1e+15",
        "–",
    ]
    assert amount("cost.latency_ms", 171.25) == "171.2 ms"


def test_thirteen_trials_of_one_seed_are_enough_for_a_verdict():
    records, examples = Maker(Truth()).study(seeds=(0,), bases=(16,))
    found = rank_bits.answer(table.collect(records, examples, asked=table.Asked()))
    assert "LoRA rank 16 (bits 16) is above zero-shot (bits 16)" in found.findings[0].sentence
    assert found.findings[0].clear
    assert "1 pair x 96 clips, clips resampled, so the noise between seeds is not in it" in found.findings[0].basis
    assert "12 configurations" in next(one.basis for one in found.findings if "effect of rank" in one.sentence)


def test_a_law_says_how_it_predicts_its_highest_level_from_the_others(truth):
    maker = Maker(truth)
    made = [maker.trial(rank, bits, seed)[0] for rank in (1, 2, 4, 8, 16, 32) for bits in (4, 16) for seed in (0, 1)]
    evidence = table.collect(made, {}, asked=table.Asked())
    finding, chart = law_of(evidence, list(evidence.records), metric="cider", factor="rank", block="bits")
    said = re.search(r"fitted below rank 32 it predicts ([\d.]+) there, measured ([\d.]+)", finding.basis)
    assert said and float(said[1]) == pytest.approx(truth.score(32, 8), abs=0.06)
    assert [line.dashed for line in chart.lines] == [False, True]
    few = [one for one in made if one.point["rank"] < 16]
    finding, chart = law_of(evidence, few, metric="cider", factor="rank", block="bits")
    assert "extrapolation to rank 8 not checked" in finding.basis and len(chart.lines) == 1
