"""What a searcher proposes runs once per point and seed, and the searcher learns the truth of it."""

from __future__ import annotations

import functools
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray import tune
from ray.tune.search import Searcher

from vqlora.asked import ask_points
from vqlora.recipe import Bits, Lora, Recipe, Schedule
from vqlora.searchers import SafeOptunaSearch, StudySearch, with_objectives
from vqlora.study import Objective, Study

SCORE, MEMORY = "val.cider", "cost.train_peak_gib"


def recipe(*, rank: int, bits: int, base: str, data: str, steps: int, seed: int) -> Recipe:
    return Recipe(
        base=base,
        data=data,
        method=Lora(rank={"text": rank}),
        bits=Bits.preset(f"all{bits}"),
        schedule=Schedule(steps=steps),
        seed=seed,
    )


def study(**changes: Any) -> Study:
    plain: dict[str, Any] = {
        "name": "s",
        "version": "1",
        "question": "?",
        "space": {"rank": tune.choice([1, 2, 4]), "bits": tune.choice([4, 8])},
        "recipe": recipe,
        "objectives": (Objective(metric=SCORE, direction="max"), Objective(metric=MEMORY, direction="min")),
        "base": "embedded:videollama",
        "data": "shapes:tiny",
        "steps": 4,
        "samples": 5,
        "searcher": SafeOptunaSearch,
    }
    return Study(**(plain | changes))


def optuna_search(asking: Study, seed: int = 0) -> Any:
    return with_objectives(
        SafeOptunaSearch(sampler=optuna.samplers.TPESampler(seed=seed)), asking.objectives, asking.space
    )


def search(asking: Study, answered: dict[str, Any] | None = None, seed: int = 0) -> StudySearch:
    return StudySearch(
        listed=ask_points(asking, asking.points),
        answered=answered or {},
        searcher=optuna_search(asking, seed),
        ask=lambda point: ask_points(asking, [point]),
        samples=asking.samples,
    )


def told(searching: StudySearch) -> list[tuple[str, Any]]:
    return [(trial.state.name, trial.values) for trial in searching._searcher._ot_study.get_trials()]


def row(asked: dict[str, Any], status: str = "done") -> dict[str, Any]:
    return {"status": status, SCORE: asked["point"]["rank"] + asked["seed"] / 10, MEMORY: 1.0 * asked["point"]["bits"]}


def run(searching: StudySearch, **statuses: str) -> list[dict[str, Any]]:
    """All trials one after another, as Tune would with one at a time."""
    ran: list[dict[str, Any]] = []
    while (config := searching.suggest(f"t{len(ran)}")) != Searcher.FINISHED:
        assert isinstance(config, dict)
        ran.append(config["asked"])
        result = row(ran[-1], statuses.get(f"t{len(ran) - 1}", "done"))
        searching.on_trial_complete(f"t{len(ran) - 1}", result)
    return ran


def test_distinct_points_run_at_all_seeds_and_the_searcher_is_told_the_mean() -> None:
    searching = search(study(seeds=2))
    ran = run(searching)
    fingerprints = [one["fingerprint"] for one in ran]
    assert len(ran) == len(set(fingerprints)) == 5 * 2
    complete = [values for state, values in told(searching) if state == "COMPLETE"]
    assert len(complete) >= 5
    for score, _ in complete:
        assert score % 1 == pytest.approx(0.05)  # the mean of seeds 0 and 1


def test_a_space_smaller_than_the_samples_ends_when_nothing_new_comes() -> None:
    ran = run(search(study(samples=40)))
    assert 4 <= len({(one["point"]["rank"], one["point"]["bits"]) for one in ran}) == len(ran) <= 6


def test_a_search_launched_again_runs_only_what_is_missing() -> None:
    first = run(search(study()))
    answered = {one["fingerprint"]: row(one) for one in first[:3]}
    again = search(study(), answered)
    second = run(again)
    assert not {one["fingerprint"] for one in second} & set(answered)
    assert len(second) == 5 - 3
    assert [one["trial"] for one in second] == [one["trial"] for one in first[3:]]


def test_a_search_launched_again_learns_what_is_known_whatever_it_would_propose_itself() -> None:
    first = run(search(study(seeds=2), seed=0))
    asking = study(seeds=2)
    answered = {one["fingerprint"]: row(one) for one in first[:7]}  # three points whole, one at seed 0 only
    again = StudySearch(
        listed=[],
        answered=answered,
        searcher=optuna_search(asking, seed=9),
        ask=lambda point: ask_points(asking, [point]),
        samples=asking.samples,
        known=[one["point"] for one in first[:7]],
    )
    learned = [values for state, values in told(again) if state == "COMPLETE"]
    assert learned == [
        pytest.approx([one["point"]["rank"] + 0.05, one["point"]["bits"]]) for one in first[:6] if one["seed"] == 0
    ]
    points = {(one["point"]["rank"], one["point"]["bits"]) for one in [*first[:6], *run(again)]}
    assert len(points) == asking.samples


def test_failed_and_stopped_points_never_reach_the_model_as_scores() -> None:
    searching = search(study())
    run(searching, t0="failed", t1="stopped", t2="out_of_memory")
    states = [state for state, _ in told(searching)]
    assert states[:3] == ["FAIL", "PRUNED", "FAIL"] or sorted(states[:3]) == ["FAIL", "FAIL", "PRUNED"]
    assert "RUNNING" not in states


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "high"])
def test_a_score_that_is_no_number_fails_the_optuna_trial(value: Any) -> None:
    asking = study()
    searcher = optuna_search(asking)
    searcher.suggest("a")
    searcher.on_trial_complete("a", {SCORE: value, MEMORY: 1.0, "status": "done"})
    assert [trial.state for trial in searcher._ot_study.get_trials()] == [TrialState.FAIL]


def test_a_point_that_is_running_is_not_started_again_but_told_when_it_ends() -> None:
    asking = study(space={"rank": tune.choice([1]), "bits": tune.choice([4])}, samples=3)
    searching = search(asking)
    config = searching.suggest("t0")
    assert isinstance(config, dict)
    assert searching.suggest("t1") is None
    searching.on_trial_complete("t0", row(config["asked"]))
    assert searching.suggest("t2") == Searcher.FINISHED
    assert {state for state, _ in told(searching)} == {"COMPLETE"}


def test_listed_trials_come_first_and_need_no_searcher() -> None:
    asking = study(points=({"rank": 4, "bits": 16},))
    assert run(search(asking))[0]["point"] == {"rank": 4, "bits": 16}
    listed = ask_points(asking, [{"rank": 1, "bits": 4}, {"rank": 2, "bits": 4}])
    assert len(run(StudySearch(listed=listed, answered={}))) == 2


def test_a_searcher_for_one_objective_is_refused_several() -> None:
    from ray.tune.search.basic_variant import BasicVariantGenerator

    with pytest.raises(ValueError, match="one objective"):
        with_objectives(BasicVariantGenerator(), study().objectives, study().space)


def test_two_searches_with_one_seed_propose_the_same_points() -> None:
    runs = [[one["trial"] for one in run(search(study(), seed=3))] for _ in range(2)]
    assert runs[0] == runs[1]
    assert functools.reduce(set.union, map(set, runs)) == set(runs[0])
