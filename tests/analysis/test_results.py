import json
import shlex
from dataclasses import replace

import numpy as np
import pytest
from known_truth import Maker, Truth, provenance

from analysis import table
from analysis.methods import checklist, paragraph
from analysis.pareto import non_dominated
from analysis.report import answer, report_of
from analysis.reproduce import command, settings
from analysis.results import results
from analysis.tables import costs, coverage, scores
from analysis.verdicts import sentences
from vqlora.recipe import recipe_from_json
from vqlora.record import Status


@pytest.fixture(scope="module")
def found(whole):
    return results(whole)


def test_the_frontier_is_that_of_the_studys_objectives_on_validation(found):
    names, directions = zip(*found.objectives, strict=True)
    (front,) = found.fronts
    values = [[found.configs[row].values[name] for name in names] for row in front.rows]
    mask = non_dominated(values, directions=directions)
    assert list(front.members) == [row for row, keep in zip(front.rows, mask, strict=True) if keep]
    assert names[0] == "val.cider" and len(front.rows) == 12  # zero-shot has no training memory


def test_chances_are_shares_and_members_have_the_larger_ones(found):
    (front,) = found.fronts
    assert all(0 <= chance <= 1 for chance in front.chances.values())
    others = [chance for row, chance in front.chances.items() if row not in front.members]
    assert np.mean([front.chances[row] for row in front.members]) > np.mean(others)
    assert np.isnan([chance for row, chance in enumerate(found.chance) if row not in front.rows]).all()


def test_the_volume_up_to_the_worst_measured_has_an_interval(found):
    (front,) = found.fronts
    assert front.volume.low < front.volume.high and front.volume.estimate > 0
    costs = [found.configs[row].values["cost.train_peak_gib"] for row in front.rows]
    assert front.worst[1] == max(costs)
    said = next(one.basis for one in sentences(found) if "hypervolume" in one.basis)
    assert f"[{front.volume.low:.4g}, {front.volume.high:.4g}]" in said


def test_each_device_has_a_frontier_of_its_own(drawn):
    records, examples = drawn
    moved = [replace(one, provenance=provenance("CPU")) if one.point["bits"] == 4 else one for one in records]
    found = results(table.collect(moved, examples, asked=table.Asked()))
    assert [front.device for front in found.fronts] == ["CPU", "NVIDIA H100 80GB HBM3"]
    assert not set(found.fronts[0].rows) & set(found.fronts[1].rows)


def test_the_best_and_its_ties_are_marked_and_clear_losers_are_not(found):
    tied = {config.name for config, mark in zip(found.configs, found.tied, strict=True) if mark}
    best = max(found.configs, key=lambda config: config.values["test.cider"])
    assert best.name in tied
    assert not any("rank 0" in name for name in tied)


def test_without_per_clip_scores_there_are_no_chances_and_no_ties(drawn):
    found = report_of(table.collect(drawn[0], {}, asked=table.Asked()))
    assert np.isnan(found.results.chance).all() and not any(found.results.tied)
    assert any("no chances without per-clip" in one.basis for one in found.frontier)


def test_tables_hold_every_configuration_and_every_end(whole, found):
    assert len(scores(found).rows) == len(costs(found).rows) == len(found.configs)
    rows = coverage(whole).texts()
    by_rank = [row for row in rows if row[0] == "rank"]
    for place, status in enumerate(Status, 2):
        assert sum(int(row[place]) for row in by_rank) == whole.count(status)


def test_the_least_cost_of_a_device_is_marked(found):
    made = costs(found)
    place = made.keys.index("cost.train_peak_gib")
    values = [row[place].value for row in made.rows]
    assert [row[place].best for row in made.rows] == [value == np.nanmin(values) for value in values]


def test_a_budget_answer_is_within_its_budget_and_best_there_on_validation(found):
    said = [one.sentence for one in sentences(found) if one.sentence.startswith("within ")]
    assert said
    for sentence in said:
        limit = float(sentence.split()[1])
        column = "cost.train_peak_gib" if "memory" in sentence else "cost.latency_ms"
        inside = [c for c in found.configs if c.has(column, "val.cider") and c.values[column] <= limit * 1.001]
        (front,) = found.fronts
        inside = [c for c in inside if found.configs.index(c) in front.rows]
        best = max(inside, key=lambda config: config.values["val.cider"])
        assert f": {best.name}, " in sentence


def test_the_command_runs_the_very_recipe_and_is_one_safe_line(found):
    recipe = {**found.configs[0].recipe, "data": "'; rm -rf / #"}
    line = command(recipe, device="NVIDIA H100", commit="abc")
    words = shlex.split(line)
    assert words[:4] == ["git", "checkout", "abc", "&&"] and words[-1] == "cuda"
    assert json.loads(words[-2]) == recipe and "\n" not in line
    own = found.configs[0].recipe
    text = shlex.split(command(own, device="CPU, AMD EPYC", commit=None))
    assert text[-1] == "cpu" and recipe_from_json(json.loads(text[-2])).fingerprint()
    compile(text[2], "command", "exec")


def test_settings_are_dotted_and_do_not_depend_on_order():
    assert settings({"b": {"y": 1, "x": [2]}, "a": None}) == {"a": None, "b.x": "[2]", "b.y": 1}


def test_words_for_a_paper_have_counts_intervals_and_fourteen_points(whole, found):
    answered = answer(whole)
    text = paragraph(whole, found, answered)
    assert "We ran 27 of 28 planned trials (24 done, 1 stopped, 1 out of memory, 1 failed, 1 without a record)" in text
    points = checklist(whole, found, answered)
    assert len(points) == 14 and all(what and said for what, said in points)
    empty = table.collect([replace(whole.records[0], model={})], {}, asked=table.Asked())
    words = dict(checklist(empty, results(empty), answer(empty)))
    assert "question not in the records" in words["Question, factors, levels, design and counts"]
    assert "effective bits not in the records" in words["Models, adapters, quantisers"]


def test_many_curves_become_a_median_and_a_band_for_each_group():
    records, examples = Maker(Truth(clips=4)).study(seeds=range(6))
    found = report_of(table.collect(records, examples, asked=table.Asked()))
    plot = next(plot for plot in found.plots if plot.id == "curves")
    assert len(plot.lines) == len(plot.bands) == 3 and "bands hold 80%" in plot.summary
    assert all((np.array(band.low) <= band.high).all() for band in plot.bands)
