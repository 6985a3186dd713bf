import numpy as np
import pytest

from analysis.bootstrap import mean_interval
from analysis.power import Plan, plan_of


def drawn(rng, effect, configurations=3, seeds=3, clips=60, seed_sd=0.1, clip_sd=0.4):
    clip = rng.normal(0, clip_sd, clips)
    seed = rng.normal(0, seed_sd, (configurations * seeds, 1))
    return effect + clip + seed, np.repeat(np.arange(configurations), seeds).tolist()


def test_the_parts_of_the_noise_are_found():
    found = [
        plan_of(values, groups=groups) for values, groups in (drawn(np.random.default_rng(k), 0.2) for k in range(200))
    ]
    assert np.mean([one.clip_variance for one in found]) == pytest.approx(0.16, rel=0.05)
    assert np.mean([one.seed_variance for one in found]) == pytest.approx(0.01, rel=0.1)


def test_a_detectable_difference_is_found_in_four_of_five_simulated_studies():
    plan = Plan(clip_variance=0.16, seed_variance=0.01, clips=60, configurations=3)
    effect, found = plan.detectable(seeds=3), []
    for repetition in range(400):
        rng = np.random.default_rng(repetition)
        values, groups = drawn(rng, effect)
        found.append(mean_interval(values, groups=groups, rng=rng, resamples=300).clear_of_zero)
    assert 0.70 < np.mean(found) < 0.90


def test_more_seeds_find_less_until_the_clips_are_the_limit():
    plan = Plan(clip_variance=0.16, seed_variance=0.09, clips=400, configurations=1)
    sizes = [plan.detectable(seeds=seeds) for seeds in (2, 4, 16, 64)]
    assert sizes == sorted(sizes, reverse=True)
    assert plan.power(0.2, seeds=plan.seeds_for(0.2)) >= 0.8 > plan.power(0.2, seeds=plan.seeds_for(0.2) - 1)
    assert plan.seeds_for(0.03) is None
    assert "needs more clips, not more seeds" in plan.sentence(0.03, seeds=3)
    assert f"needs {plan.seeds_for(0.2)} seeds" in plan.sentence(0.2, seeds=3)


def test_without_a_second_seed_nothing_is_said_about_seeds():
    plan = plan_of([[0.1, 0.2, 0.4]], groups=["a"])
    assert plan.seed_variance is None
    with pytest.raises(ValueError, match="run a second seed"):
        plan.seeds_for(0.1)
    assert "were there no noise between seeds" in plan.sentence(0.1, seeds=1)
    with pytest.raises(ValueError, match="at least one"):
        plan.detectable(seeds=0)


def test_differences_without_noise_are_found_however_small():
    plan = plan_of([[0.1, 0.1], [0.1, 0.1]], groups=["a", "a"])
    assert plan.detectable(seeds=2) == 0 and plan.power(0.1, seeds=2) == 1
