import moocore
import numpy as np
import pytest

from analysis.attainment import attained_share, surface
from analysis.choices import best_within, knee, within
from analysis.pareto import cover, non_dominated, not_clearly_dominated


def test_a_budget_picks_the_best_score_inside_it():
    score, gib, ms = [1.0, 1.5, 1.2, np.nan], [10, 40, 20, 1], [100, 300, 350, np.nan]
    inside = within({"gib": gib, "ms": ms}, {"gib": (None, 24), "ms": (None, 300)})
    assert inside.tolist() == [True, False, False, False]
    assert best_within(score, direction="max", inside=inside) == 0
    assert best_within(score, direction="max", inside=within({"gib": gib}, {"gib": (None, 24)})) == 2
    assert best_within(score, direction="max", inside=[False] * 4) is None
    with pytest.raises(ValueError, match="limit on 'watt', which is not one of"):
        within({"gib": gib}, {"watt": (0, 1)})


def test_a_knee_depends_on_the_scale_and_is_absent_from_a_line():
    x = np.geomspace(1, 100, 41)
    hyperbola = np.column_stack([x, 100 / x])
    assert x[knee(hyperbola, directions=["min", "min"])] == pytest.approx(10)
    assert knee(hyperbola, directions=["min", "min"], scales=["log", "log"]) is None
    assert knee([[0, 1], [1, 0]], directions=["min", "min"]) is None
    with pytest.raises(ValueError, match="no logarithm"):
        knee([[0, 1], [1, 0], [0.4, 0.4]], directions=["min", "min"], scales=["log", "linear"])


@pytest.mark.parametrize("objectives", [2, 3])
def test_a_cover_epsilon_dominates_everything_with_few_points_of_the_front(objectives):
    values = np.random.default_rng(0).random((3000, objectives))
    directions = ["max", "min", "max"][:objectives]
    epsilon = [0.05, 0.1, 0.2][:objectives]
    chosen = cover(values, directions=directions, epsilon=epsilon)
    front = non_dominated(values, directions=directions)
    assert not (chosen & ~front).any() and chosen.sum() < front.sum()
    signs = np.where(np.array(directions) == "max", -1, 1)
    reached = (values[chosen][None] * signs <= values[:, None] * signs + epsilon).all(axis=2).any(axis=1)
    assert reached.all()


def test_near_ties_stay_and_clear_losers_go():
    values = [[1.00, 10], [0.99, 10.2], [0.90, 10.1], [0.5, 5]]
    found = not_clearly_dominated(values, directions=["max", "min"], tolerance=[0.02, 0.05], relative=[False, True])
    assert found.tolist() == [True, True, False, True]
    exact = not_clearly_dominated(values, directions=["max", "min"], tolerance=[0, 0])
    assert (exact == non_dominated(values, directions=["max", "min"])).all()


def test_the_surface_is_moocores_and_its_corners_are_just_attained():
    rng = np.random.default_rng(4)
    runs = [rng.random((rng.integers(3, 12), 2)) for _ in range(9)]
    sets = np.repeat(np.arange(9), [len(run) for run in runs])
    for share in (1 / 9, 5 / 9, 1.0):
        found = surface(runs, share=share, directions=["min", "min"])
        other = moocore.eaf(np.concatenate(runs), sets=sets, percentiles=[100 * share])
        assert np.allclose(found, other[np.argsort(other[:, 0]), :2])
        assert (attained_share(found, runs, directions=["min", "min"]) >= share - 1e-9).all()
        assert (attained_share(found - 1e-9, runs, directions=["min", "min"]) < share).all()


def test_directions_flipped_and_data_negated_give_the_same_surface():
    rng = np.random.default_rng(5)
    runs = [rng.random((6, 2)) for _ in range(5)]
    one = surface(runs, share=0.5, directions=["max", "min"])
    other = surface([run * [-1, 1] for run in runs], share=0.5, directions=["min", "min"])
    assert np.allclose(one, (other * [-1, 1])[::-1])


def test_a_run_without_points_attains_nothing_and_no_runs_are_refused():
    empty = np.empty((0, 2))
    assert attained_share([[1, 1]], [empty, [[0, 0]]], directions=["min", "min"]).tolist() == [0.5]
    assert surface([empty, [[0.0, 0.0]]], share=1.0, directions=["min", "min"]).shape == (0, 2)
    with pytest.raises(ValueError, match="at least one"):
        attained_share([[1, 1]], [], directions=["min", "min"])
    with pytest.raises(ValueError, match="use attained_share"):
        surface([np.zeros((1, 3))], share=0.5, directions=["min"] * 3)
