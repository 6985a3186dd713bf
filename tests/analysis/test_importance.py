from itertools import product

import numpy as np
import pytest

from analysis.importance import importance


def table(score, *, seeds=1, sd=0.0, rng=None, drop=()):
    grid = [point for point in product((2, 4, 8), ("nf4", "int8"), ("a", "b", "c")) if point not in drop]
    rows = [point for point in grid for _ in range(seeds)]
    noise = rng.normal(0, sd, len(rows)) if rng is not None else np.zeros(len(rows))
    columns = dict(zip(("rank", "bits", "place"), zip(*rows, strict=True), strict=True))
    return columns, np.array([score(*point) for point in rows]) + noise


def shares(found):
    return {one.axes: one.share for one in found.shares}


def additive(rank, bits, place):
    return np.log2(rank) + 0.5 * (bits == "nf4")


def test_an_additive_score_is_explained_by_its_axes_alone():
    found = importance(*table(additive))
    own = shares(found)
    total = np.var([1, 2, 3]) + 0.25 * 0.25
    assert own["rank",] == pytest.approx(np.var([1, 2, 3]) / total)
    assert own["bits",] == pytest.approx(0.0625 / total)
    assert sum(own.values()) == pytest.approx(1) and found.rest == pytest.approx(0, abs=1e-9)
    assert found.shares[0].axes == ("rank",) and found.shares[0].spread == pytest.approx(2)
    assert found.shares[0].levels == pytest.approx({2: 1.25, 4: 2.25, 8: 3.25})


def test_a_pure_interaction_belongs_to_the_pair():
    found = importance(*table(lambda rank, bits, place: (np.log2(rank) - 2) * ((bits == "nf4") - 0.5)))
    own = shares(found)
    assert own["rank", "bits"] == pytest.approx(1)
    assert own["rank",] == pytest.approx(0, abs=1e-12)


def test_noise_of_seeds_is_nobodys_importance():
    rng = np.random.default_rng(0)
    found = [importance(*table(lambda *_: 0.0, seeds=3, sd=1.0, rng=rng)) for _ in range(50)]
    assert np.mean([sum(shares(one).values()) for one in found]) < 0.45  # without the correction 0.83
    assert np.mean([one.noise for one in found]) > 0.8
    with_signal = importance(*table(additive, seeds=3, sd=0.3, rng=rng))
    assert shares(with_signal)["rank",] == pytest.approx(0.91, abs=0.08)
    assert importance(*table(additive)).noise is None


def test_levels_weigh_the_same_however_often_they_were_tried():
    columns, score = table(additive)
    often = {name: [*own, *[own[0]] * 20] for name, own in columns.items()}
    assert shares(importance(often, [*score, *[score[0]] * 20])) == pytest.approx(shares(importance(columns, score)))


def test_missing_cells_are_filled_and_counted():
    found = importance(*table(additive, drop={(2, "nf4", "a"), (8, "int8", "c")}))
    assert found.filled == 2 and found.cells == 18
    assert shares(found)["rank",] == pytest.approx(shares(importance(*table(additive)))["rank",])


def test_many_numbers_become_bins_and_failed_trials_are_left_out():
    rng = np.random.default_rng(1)
    rate, bits = rng.uniform(0, 1, 400), rng.integers(0, 2, 400)
    found = importance({"rate": rate.tolist(), "bits": bits.tolist()}, 3 * rate + 0.1 * bits)
    assert shares(found)["rate",] > 0.9 and len(found.shares[0].levels) == 8
    assert importance({"bits": [4, 8, None, 4]}, [1.0, 2.0, 9.0, np.nan]).shares[0].levels == {4: 1.0, 8: 2.0}


def test_a_study_whose_axes_do_not_vary_has_no_answer():
    with pytest.raises(ValueError, match="no axis takes two levels"):
        importance({"rank": [4, 4]}, [1.0, 2.0])
    many = {f"axis{k}": list(range(8)) for k in range(7)}
    with pytest.raises(ValueError, match="cells are too many"):
        importance(many, np.arange(8.0))
