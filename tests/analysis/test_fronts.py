"""Our algorithms beside moocore's, at sizes where each of their branches runs."""

import moocore
import numpy as np
import pytest

from analysis.pareto import hypervolume, non_dominated, ranks


def cloud(rng, n, m):
    return rng.random((n, m))


def lattice(rng, n, m):
    return rng.integers(0, 40, (n, m)).astype(float)


def sphere(rng, n, m):
    points = np.abs(rng.normal(size=(n, m)))
    return 1 - points / np.linalg.norm(points, axis=1, keepdims=True)


@pytest.mark.parametrize("shape", [cloud, lattice, sphere])
@pytest.mark.parametrize("objectives", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("number", [1, 2, 33, 1200, 20_000])
def test_own_and_moocore_find_the_same_front(shape, objectives, number):
    values = shape(np.random.default_rng(number), number, objectives)
    directions = ["max", "min", "max", "min", "max"][:objectives]
    own, other = (non_dominated(values, directions=directions, engine=engine) for engine in ("own", "moocore"))
    assert own.any() and (own == other).all()


@pytest.mark.parametrize("shape", [cloud, lattice])
@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_ranks_are_moocores_and_rank_zero_is_the_front(shape, objectives):
    values = shape(np.random.default_rng(1), 400, objectives)
    found = ranks(values, directions=["min"] * objectives)
    assert (found == moocore.pareto_rank(values)).all()
    assert ((found == 0) == non_dominated(values, directions=["min"] * objectives)).all()


def test_a_point_with_nan_has_no_rank():
    assert ranks([[1, np.nan], [1, 1], [2, 2]], directions=["min", "min"]).tolist() == [-1, 0, 1]


@pytest.mark.parametrize("shape", [cloud, lattice, sphere])
@pytest.mark.parametrize("objectives", [1, 2, 3, 4, 5])
def test_own_and_moocore_measure_the_same_volume(shape, objectives):
    values = shape(np.random.default_rng(2), 70, objectives)
    reference = values.max(axis=0) + 0.1
    own, other = (
        hypervolume(values, reference=reference, directions=["min"] * objectives, engine=engine)
        for engine in ("own", "moocore")
    )
    assert own == pytest.approx(other, rel=1e-12)


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_infinities_are_ordinary_values_on_a_front(objectives):
    values = np.random.default_rng(3).choice([-np.inf, 0.0, 1.0, np.inf], (60, objectives))
    own, other = (non_dominated(values, directions=["min"] * objectives, engine=e) for e in ("own", "moocore"))
    assert (own == other).all()


def test_an_infinitely_good_point_has_no_volume():
    with pytest.raises(ValueError, match="infinitely good"):
        hypervolume([[-np.inf, 0.5]], reference=[1, 1], directions=["min", "min"])
    assert hypervolume([[np.inf, 0.5]], reference=[1, 1], directions=["min", "min"]) == 0
