"""The board loses no trial, gives none to two workers, and ends what cannot run."""

from __future__ import annotations

import random
from typing import Any

import pytest

from vqlora.packing.board import DEATHS, IDLE_DEATHS, Board
from vqlora.packing.keys import pack_key
from vqlora.recipe import Bits, Lora, Recipe, Schedule, to_json


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def board(*names: str, workers: int = 2, limit: float = 60) -> Board:
    made = Board(start_limit=limit, clock=Clock())
    for name in names:
        made.post({"trial": name})
    for place in range(workers):
        made.join(place, f"w{place}")
    return made


def taken(made: Board, worker: str) -> str | None:
    order, asked = made.take(worker)
    return asked["trial"] if order == "run" and asked else None


def restart(made: Board, generation: int, workers: int = 2) -> list[str]:
    tokens = [f"w{place}.{generation}" for place in range(workers)]
    for place, token in enumerate(tokens):
        made.join(place, token)
    return tokens


def reason(made: Board) -> str:
    return str(made.failure())


def test_trials_are_taken_in_order_each_by_one_worker() -> None:
    made = board("a", "b", "c")
    assert [taken(made, "w0"), taken(made, "w1"), taken(made, "w0")] == ["a", "b", "c"]
    assert made.take("w1") == ("wait", None)


def test_a_worker_gets_trials_that_fit_those_it_runs_and_leaves_others_their_share() -> None:
    made = Board(start_limit=60, clock=Clock())
    for bits in (4, 16):
        for rank in (1, 2, 3, 4):
            made.post({"trial": f"{bits}-{rank}", "recipe": recipe_of(rank, bits)})
    made.join(0, "w0")
    made.join(1, "w1")
    first = made.take("w0")[1]
    assert first is not None and first["trial"] == "4-1"
    key = pack_key(first)
    assert key is not None
    second = made.take("w0", key)[1]
    assert second is not None and second["trial"] == "4-2"
    assert made.take("w0", key) == ("wait", None)  # the other two are the other worker's share
    assert taken(made, "w1") == "4-3"


def recipe_of(rank: int, bits: int) -> Any:
    return to_json(
        Recipe(
            base="b",
            data="d",
            method=Lora(rank={"text": rank}),
            bits=Bits.preset(f"all{bits}"),
            schedule=Schedule(steps=1),
        )
    )


def test_rows_reach_the_trial_once_each_and_the_final_row_last() -> None:
    made = board("a")
    taken(made, "w0")
    assert [made.send("a", "w0", {"step": step}) for step in range(3)] == [
        ("go on", 0), ("go on", 1), ("go on", 2)
    ]  # fmt: skip
    assert made.read("a", 0) == ([{"step": 0}, {"step": 1}, {"step": 2}], None)
    made.finish("a", "w0", {"status": "done"})
    assert made.read("a", 3) == ([], {"status": "done"})


def test_a_worker_waits_for_the_scheduler_and_obeys_it() -> None:
    made = board("a")
    taken(made, "w0")
    number = made.send("a", "w0", {"step": 1})[1]
    assert made.verdict("a", "w0", number) == "wait"
    made.read("a", number + 1)
    assert made.verdict("a", "w0", number) == "go on"
    number = made.send("a", "w0", {"step": 2})[1]
    made.drop("a")
    assert made.verdict("a", "w0", number) == "stop"
    assert made.send("a", "w0", {"step": 3})[0] == "stop"
    assert made.read("a", 0)[0] == [{"step": 1}, {"step": 2}]
    assert not made.is_settled()
    made.finish("a", "w0", {"status": "stopped"})
    assert made.is_settled()


def test_a_trial_stopped_before_it_began_is_never_taken() -> None:
    made = board("a", "b")
    made.drop("a")
    assert taken(made, "w0") == "b"


def test_a_dead_workers_trial_is_taken_again_and_the_dead_cannot_speak_for_it() -> None:
    made = board("a")
    taken(made, "w0")
    new, _ = restart(made, 1)
    assert taken(made, new) == "a"
    assert made.send("a", "w0", {"step": 1})[0] == "leave"
    made.finish("a", "w0", {"status": "done"})
    assert made.read("a", 0) == ([], None)
    assert made.take("w0") == ("leave", None)


def test_a_trial_that_kills_its_workers_ends_as_failed_and_takes_no_other_with_it() -> None:
    made = board("poison", "a", "b")
    done: set[str] = set()
    for generation in range(20):
        tokens = restart(made, generation)
        running = {trial: token for token in tokens if (trial := taken(made, token))}
        if "poison" in running:  # dies before its neighbour is done
            assert generation <= DEATHS
            continue
        for trial, token in running.items():
            made.finish(trial, token, {"status": "done"})
            done.add(trial)
    assert done == {"a", "b"}
    final = made.read("poison", 0)[1]
    assert final and final["status"] == "failed" and "died 3 times" in final["error"]


def test_a_trial_that_workers_give_back_ends_as_failed_with_their_reason() -> None:
    made = board("a")
    for attempt in range(DEATHS):
        assert made.read("a", 0)[1] is None
        assert taken(made, "w0") == "a"
        made.give_back("a", "w0", f"OSError: disk full {attempt}")
    final = made.read("a", 0)[1]
    assert final and final["status"] == "failed"
    assert "could not be run 3 times" in final["error"] and "disk full 2" in final["error"]


def test_workers_that_die_before_they_take_anything_end_the_study() -> None:
    made = board("a", workers=1)
    for generation in range(IDLE_DEATHS):  # board() joined once before
        restart(made, generation, workers=1)
    assert "died 3 times in a row" in reason(made)
    assert made.take("w0.2") == ("leave", None)


def test_a_study_without_a_sign_of_any_worker_ends_within_the_stated_bound() -> None:
    clock = Clock()
    made = Board(start_limit=60, clock=clock)
    made.post({"trial": "a"})
    clock.seconds = 60
    assert made.failure() is None
    made.beat()
    clock.seconds = 120
    assert made.failure() is None
    clock.seconds = 121
    assert "no worker gave a sign for 60 s" in reason(made)


def test_a_closed_board_sends_everyone_away() -> None:
    made = board("a", "b")
    taken(made, "w0")
    made.close()
    assert made.take("w1") == ("leave", None)
    assert made.send("a", "w0", {"step": 1})[0] == "leave"


@pytest.mark.parametrize("seed", range(20))
def test_under_random_deaths_every_trial_ends_exactly_once(seed: int) -> None:
    rng = random.Random(seed)
    names = [f"t{number}" for number in range(12)]
    made = board(*names)
    tokens, running, ended, generation = ["w0", "w1"], {}, [], 0
    for _ in range(2000):
        if rng.random() < 0.05:
            generation += 1
            tokens, running = restart(made, generation), {}
        token = rng.choice(tokens)
        if token in running and rng.random() < 0.5:
            made.finish(running[token], token, {"status": "done"})
            ended.append(running.pop(token))
        elif token not in running and (trial := taken(made, token)):
            assert trial not in running.values() and trial not in ended
            running[token] = trial
    finals = {name: made.read(name, 0)[1] for name in names}
    assert all(finals.values())
    assert sorted(ended) == sorted(name for name, final in finals.items() if final and final["status"] == "done")
