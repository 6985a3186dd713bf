"""What a verdict says: differences after correction, margins, power."""

from __future__ import annotations

import numpy as np
import pytest
from known_truth import Maker, Truth

from analysis import contrasts, table
from analysis.contrasts import Contrast
from analysis.reports import rank_bits


def study(**truth):
    records, examples = Maker(Truth(**truth)).study(seeds=(0, 1, 2))
    return table.collect(records, examples, asked=table.Asked())


def at(evidence, **wanted):
    return [one for one in evidence.records if all(one.point[axis] == value for axis, value in wanted.items())]


def sides(evidence, left, right, **more):
    lefts, rights = at(evidence, **left), at(evidence, **right)
    return Contrast(left=str(left), lefts=lefts, right=str(right), rights=rights, by=("rank",), **more)


def test_four_bits_that_lose_little_are_not_worse_and_those_that_lose_much_are_not_shown_to_be():
    for gap, expected in ((0.0, True), (0.5, False)):
        evidence = study(bits_gap=gap, seed_sd=0.005)
        asked = sides(evidence, {"bits": 4}, {"bits": 16}, in_margin=True)
        _, margin = contrasts.findings(evidence, [asked], metric="cider", direction="max")
        assert margin.clear is expected
        assert ("is not shown" in margin.sentence) is not expected
        assert "5% of the score" in margin.basis


def test_a_difference_that_only_chance_makes_among_many_is_not_clear():
    """Twenty contrasts of configurations that do not differ: single intervals miss zero now and then, Holm does not."""
    claimed = lone = 0
    for seed in range(6):
        maker = Maker(Truth(bits_gap=0.0, seed_sd=0.0, clips=40), seed=seed)
        records, examples = maker.study(seeds=(0, 1))
        evidence = table.collect(records, examples, asked=table.Asked())
        pairs = [(rank, few, many) for rank in (2, 4, 8, 16) for few, many in ((4, 8), (4, 16), (8, 16))]
        asked = [sides(evidence, {"rank": r, "bits": few}, {"rank": r, "bits": many}) for r, few, many in pairs]
        found = contrasts.findings(evidence, asked, metric="cider", direction="max")
        claimed += sum(one.clear for one in found)
        lone += sum("does not survive" in one.sentence for one in found)
        assert all("by Holm over 12 contrasts" in one.basis for one in found)
    assert claimed <= 2 and lone >= 1


def test_each_verdict_says_what_its_design_can_find():
    evidence = study()
    found = rank_bits.answer(evidence).findings
    assert sum("is found in 4 of 5 repetitions" in one.basis for one in found[:4]) == 3


def test_a_contrast_without_scores_says_why_and_is_in_no_family():
    evidence = study()
    asked = [sides(evidence, {"bits": 4}, {"bits": 16}), sides(evidence, {"bits": 4}, {"bits": 99})]
    found = contrasts.findings(evidence, asked, metric="cider", direction="max")
    assert "not answered" in found[1].sentence and "Holm" not in found[0].basis


@pytest.mark.parametrize(("value", "text"), [(0.04321, "0.043"), (0.0, "below 0.0001")])
def test_p_is_written_to_two_digits_and_never_as_zero(value, text):
    assert contrasts.p_text(value) == text
    assert not np.isnan(value)
