import numpy as np
import pytest

from analysis.pareto import hypervolume, non_dominated, refuse_mixed_devices


def by_definition(values, signs):
    costs = np.asarray(values) * signs
    return np.array([not any((other <= own).all() and (other < own).any() for other in costs) for own in costs])


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_the_front_is_what_the_definition_says_also_with_ties(objectives):
    values = np.random.default_rng(objectives).integers(0, 6, (150, objectives)).astype(float)
    found = non_dominated(values, directions=["min"] * objectives)
    assert (found == by_definition(values, 1)).all()


@pytest.mark.parametrize("objectives", [2, 3])
def test_flipping_directions_and_negating_gives_the_same_front(objectives):
    values = np.random.default_rng(0).random((200, objectives))
    directions = ["max", "min", "max"][:objectives]
    flipped = ["min" if one == "max" else "max" for one in directions]
    assert (non_dominated(values, directions=directions) == non_dominated(-values, directions=flipped)).all()


def test_duplicates_stay_together():
    found = non_dominated([[1, 1], [1, 1], [2, 2]], directions=["min", "min"])
    assert found.tolist() == [True, True, False]


def test_a_point_with_nan_is_never_on_the_front_and_dominates_nothing():
    found = non_dominated([[np.nan, 0], [1, 1], [np.nan, np.nan]], directions=["min", "min"])
    assert found.tolist() == [False, True, False]
    assert not non_dominated(np.empty((0, 2)), directions=["min", "max"]).size


def test_the_input_is_not_touched():
    values = np.random.default_rng(0).random((20, 2))
    kept = values.copy()
    non_dominated(values, directions=["max", "min"])
    hypervolume(values, reference=[0, 1], directions=["max", "min"])
    assert (values == kept).all()


@pytest.mark.parametrize("objectives", [2, 3])
def test_hypervolume_agrees_with_monte_carlo_and_ignores_dominated_points(objectives):
    rng = np.random.default_rng(7)
    points = rng.random((12, objectives))
    directions = ["min"] * objectives
    value = hypervolume(points, reference=[1] * objectives, directions=directions)
    drawn = rng.random((200_000, objectives))
    covered = (drawn[:, None] >= points[None]).all(axis=2).any(axis=1).mean()
    assert value == pytest.approx(covered, abs=0.005)
    front = points[non_dominated(points, directions=directions)]
    assert hypervolume(front, reference=[1] * objectives, directions=directions) == pytest.approx(value)


def test_points_beyond_the_reference_or_with_nan_add_nothing():
    points = [[0.5, 0.5], [2.0, 0.1], [np.nan, 0.1]]
    assert hypervolume(points, reference=[1, 1], directions=["min", "min"]) == pytest.approx(0.25)
    assert hypervolume([[0.8, 10]], reference=[0.5, 20], directions=["max", "min"]) == pytest.approx(3.0)


def test_costs_of_two_devices_are_refused_in_one_frontier():
    with pytest.raises(ValueError, match=r"cost\.latency_ms was measured on A100 and on H100; make one"):
        refuse_mixed_devices(["val.cider", "cost.latency_ms"], ["H100", "A100", "H100"])
    refuse_mixed_devices(["val.cider"], ["H100", "A100"])


@pytest.mark.parametrize(
    ("values", "directions", "message"),
    [([[1, 2]], ["min"], "do not give 1 objectives"), ([[1, 2]], ["min", "up"], "'up' is not 'max' or 'min'")],
)
def test_unclear_objectives_are_refused(values, directions, message):
    with pytest.raises(ValueError, match=message):
        non_dominated(values, directions=directions)
