"""Studies on a real Ray: both executors, both kinds of stopping, and every way to lose a process."""

from __future__ import annotations

import functools
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.util.placement_group import placement_group_table
from small_study import small_study

from vqlora.adapters.export import WEIGHTS
from vqlora.launch import run
from vqlora.options import Executor, Runtime
from vqlora.record import Record, Status
from vqlora.searchers import SafeOptunaSearch
from vqlora.store import find_study
from vqlora.study import Objective, Study

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]
PACKED, ISOLATED = (
    Runtime(executor="packed", report=False, keep="all"),
    Runtime(executor="isolated", report=False, keep="all"),
)


def records(runs: str, name: str = "small") -> dict[str, Record]:
    stored = find_study(f"{runs}/{name}").read()
    assert not stored.broken
    return {record.trial: record for record in stored.records}


def losses(record: Record) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in record.curve if "loss" in row]


def has_a_checkpoint(runs: str) -> bool:
    return any(path.stat().st_size for path in Path(runs).rglob("state-*.bin"))


@contextmanager
def killing(title: str, *, when: Callable[[], bool], times: int = 1) -> Iterator[list[int]]:
    """Kills `times` processes of this test run whose title contains `title`, each once `when` holds."""
    killed: list[int] = []
    ended = threading.Event()

    def hunt() -> None:
        while not ended.is_set() and len(killed) < times:
            for process in psutil.Process().children(recursive=True):
                if not ended.is_set() and len(killed) < times and when() and process.pid not in killed:
                    try:
                        if title in " ".join(process.cmdline()):
                            process.send_signal(signal.SIGKILL)
                            killed.append(process.pid)
                    except psutil.Error:
                        continue
            time.sleep(0.05)

    thread = threading.Thread(target=hunt)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


@pytest.fixture(scope="module")
def packed(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The storage of the small study, run packed and undisturbed."""
    storage = str(tmp_path_factory.mktemp("packed"))
    assert run(small_study(steps=8), ["--storage", storage], PACKED) == 0
    return storage


def test_a_packed_study_leaves_a_whole_record_of_every_trial(packed: str) -> None:
    found = records(packed)
    assert {record.status for record in found.values()} == {Status.DONE}
    assert {record.point["rank"] for record in found.values()} == {1, 2}
    store = find_study(f"{packed}/small")
    for record in found.values():
        assert record.provenance.executor == "packed" and record.provenance.device.endswith("1 thread")
        assert set(record.metrics) == {"val", "test"} and record.cost.device_seconds
        trial = store.trial(record.trial)
        assert {row["split"] for row in trial.examples(record)} == {"val", "test"}
        assert trial.rows()[0] == [dict(row) for row in record.curve]
        assert record.adapter and trial.place.read(f"{record.adapter}/{WEIGHTS}")
    assert store.check() == []
    asked = store.asked()
    assert asked and {one["trial"] for one in asked["trials"]} == set(found) and asked["axes"] == {"rank": [1, 2]}


def test_a_finished_study_launched_again_starts_nothing(packed: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in Path(packed).rglob("record.json")}
    start = time.monotonic()
    assert run(small_study(steps=8), ["--storage", packed], PACKED) == 0
    assert time.monotonic() - start < 5
    assert "2 asked, 2 already done, running 0" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in Path(packed).rglob("record.json")} == before


def test_more_seeds_run_only_what_is_missing(packed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(small_study(steps=8), ["--storage", packed, "--seeds", "2"], PACKED) == 0
    assert "4 asked, 2 already done, running 2" in capsys.readouterr().out
    assert sorted(record.seed for record in records(packed).values()) == [0, 0, 1, 1]


def test_an_isolated_trial_gives_what_the_packed_one_gave_to_the_bit(packed: str, runs: str) -> None:
    study = small_study(steps=8, space={"rank": tune.grid_search([2])})
    assert run(study, ["--storage", runs], ISOLATED) == 0
    (isolated,) = records(runs).values()
    same = records(packed)[isolated.trial]
    assert isolated.provenance.executor == "isolated"
    assert isolated.metrics == same.metrics
    assert losses(isolated) == losses(same)
    adapters = [find_study(f"{where}/small").trial(one.trial).place.read(f"{one.adapter}/{WEIGHTS}") for where, one in
                ((runs, isolated), (packed, same))]  # fmt: skip
    assert adapters[0] == adapters[1]


def test_trials_that_share_their_steps_give_what_they_give_by_turns(packed: str, runs: str) -> None:
    study = small_study(steps=8, space={"rank": tune.grid_search([1, 2, 3])})
    assert run(study, ["--storage", runs], replace(PACKED, together=3, concurrency=1)) == 0
    found, alone = records(runs), records(packed)
    assert len(found) == 3 and {record.status for record in found.values()} == {Status.DONE}
    assert {record.provenance.executor for record in found.values()} == {"packed, steps shared"}
    for trial in found.keys() & alone.keys():
        shared_rows, own_rows = losses(found[trial]), losses(alone[trial])
        assert shared_rows == [(step, pytest.approx(loss, rel=1e-4)) for step, loss in own_rows]
        assert found[trial].cost.train_flops == alone[trial].cost.train_flops


def test_a_trial_on_two_workers_gives_the_loss_of_one(packed: str, runs: str) -> None:
    study = small_study(steps=8, space={"rank": tune.grid_search([2])})
    assert run(study, ["--storage", runs], replace(ISOLATED, workers=2)) == 0
    (shared,) = records(runs).values()
    alone = losses(records(packed)[shared.trial])
    assert losses(shared) == [(step, pytest.approx(loss, rel=1e-4)) for step, loss in alone]


def test_a_fresh_launch_runs_again_and_keeps_what_was(runs: str) -> None:
    study = small_study(steps=2, space={"rank": tune.grid_search([1])})
    for arguments in ([], ["--fresh"]):
        assert run(study, ["--storage", runs, *arguments], PACKED) == 0
    (record,) = records(runs).values()
    folder = Path(runs) / "small" / record.version / record.trial
    assert record.attempt == 1
    assert '"attempt": 0' in (folder / "attempt-0" / "record.json").read_text()
    assert find_study(f"{runs}/small").check() == []


def test_a_killed_worker_costs_nothing_that_was_finished_and_the_curve_goes_on(packed: str, runs: str) -> None:
    study = small_study(steps=8)

    with killing("RayTrainWorker", when=lambda: has_a_checkpoint(runs)) as killed:
        assert run(study, ["--storage", runs], PACKED) == 0
    assert len(killed) == 1
    found = records(runs)
    assert max(record.attempt for record in found.values()) >= 1
    for trial, record in found.items():
        assert losses(record) == losses(records(packed)[trial])
        assert record.metrics == records(packed)[trial].metrics
        assert find_study(f"{runs}/small").trial(trial).rows()[0] == [dict(row) for row in record.curve]


def test_a_trial_whose_recipe_fails_is_a_record_and_the_others_go_on(
    runs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*, rank: int, **given: Any) -> Any:
        made = small_study().recipe(rank=rank, **given)
        # no clip decodes to frames of this size on a tiny base: refused by the trial, not before it
        return made if rank == 1 else type(made)(**{**vars(made), "language": "zz"})

    assert run(small_study(recipe=broken), ["--storage", runs], PACKED) == 1
    found = {record.point["rank"]: record for record in records(runs).values()}
    assert (found[1].status, found[2].status) == (Status.DONE, Status.FAILED)
    assert found[2].error and "zz" in found[2].error
    assert "zz" in capsys.readouterr().err
    assert run(small_study(), ["--storage", runs, "--steps", "4"], PACKED) == 0


def asha() -> Any:
    return ASHAScheduler(time_attr="step", metric="val.loss", mode="min", grace_period=2, reduction_factor=2, max_t=100)


@pytest.mark.parametrize("runtime", [PACKED, ISOLATED], ids=["packed", "isolated"])
def test_a_scheduler_stops_trials_and_they_are_kept_as_stopped(runtime: Runtime, runs: str) -> None:
    rates = [1e-2, 1e-8] if runtime is ISOLATED else [1e-2, 5e-3, 1e-7, 1e-8]
    study = small_study(steps=8, space={"rank": [2][0], "rate": tune.grid_search(rates)}, scheduler=asha)
    assert run(study, ["--storage", runs, "--concurrency", "1"], runtime) == 0
    found = {record.point["rate"]: record for record in records(runs).values()}
    assert len(found) == len(rates)
    assert Status.DONE in {found[rate].status for rate in rates[: len(rates) // 2]}
    assert found[1e-8].status is Status.STOPPED
    stopped = found[1e-8]
    assert 2 <= stopped.curve[-1]["step"] < 8 and "test" not in stopped.metrics
    assert run(study, ["--storage", runs], runtime) == 0


def test_a_search_runs_each_point_at_all_seeds_and_replays_when_launched_again(
    runs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    study = small_study(
        steps=2,
        space={"rank": tune.choice([1, 2, 4])},
        objectives=(
            Objective(metric="val.loss", direction="min"),
            Objective(metric="cost.adapter_bytes", direction="min"),
        ),
        searcher=functools.partial(SafeOptunaSearch, seed=0),
        samples=2,
        seeds=2,
    )
    assert run(study, ["--storage", runs], PACKED) == 0
    found = records(runs)
    assert len({record.point["rank"] for record in found.values()}) == 2 and len(found) == 4
    before = set(find_study(f"{runs}/small").trials())
    capsys.readouterr()
    assert run(study, ["--storage", runs], PACKED) == 0
    assert set(find_study(f"{runs}/small").trials()) == before


def test_no_choice_sees_the_test_split() -> None:
    from vqlora.trial import values

    planted = Record(
        study="s", version="1", trial="t", point={}, seed=0, recipe={}, fingerprint="f", status=Status.DONE,
        provenance=__import__("vqlora.trial", fromlist=["NOWHERE"]).NOWHERE,
        metrics={"val": {"cider": 1.0}, "test": {"cider": 1e9}},
    )  # fmt: skip
    assert 1e9 not in values(planted).values() and values(planted)["val.cider"] == 1.0


@pytest.mark.parametrize(
    ("cpus", "executor", "expected"),
    [
        (1, "packed", "no trial's driver could start for 30 s"),
        (0.9, "packed", "no worker gave a sign for 30 s"),
        (0.9, "isolated", "no worker could be started for 30 s"),
    ],
    ids=["no driver", "no warm worker", "no isolated worker"],
)
def test_a_study_that_gets_no_device_ends_with_a_clear_error_within_its_bound(
    cpus: float, executor: Executor, expected: str, runs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import ray

    @ray.remote(num_cpus=cpus)
    class Squatter:
        def sits(self) -> bool:
            return True

    squatters = [Squatter.remote() for _ in range(2)]
    ray.get([one.sits.remote() for one in squatters])
    start = time.monotonic()
    try:
        runtime = Runtime(executor=executor, report=False, start_limit_seconds=30)
        assert run(small_study(), ["--storage", runs], runtime) == 1
    finally:
        for one in squatters:
            ray.kill(one)
    assert time.monotonic() - start < 30 + 40
    error = capsys.readouterr().err
    assert expected in error and "launch again" in error
    assert not records(runs), "a trial that never started is not a failed one"
    waiting = [one["state"] for one in placement_group_table().values() if one["state"] != "REMOVED"]
    assert not waiting, "what was asked of Ray in vain is taken back though this process goes on"


def test_a_killed_queue_fails_no_trial_and_the_next_launch_goes_on(packed: str, runs: str) -> None:
    study = small_study(steps=8)

    with killing("ray::Board", when=lambda: has_a_checkpoint(runs)) as killed:
        assert run(study, ["--storage", runs], PACKED) == 1
    assert len(killed) == 1
    assert not list(Path(runs).rglob("attempt-*/record.json")), "a trial was called failed and would start anew"
    assert run(study, ["--storage", runs], PACKED) == 0
    for trial, record in records(runs).items():
        assert losses(record) == losses(records(packed)[trial])


def study_of(name: str) -> Study:
    return small_study(name=name)


def test_two_launches_of_one_study_at_a_time_are_refused(runs: str) -> None:
    import ray

    from vqlora.packing.board import Board
    from vqlora.packing.host import NAMESPACE

    other = ray.remote(Board).options(name="twice/1 board", namespace=NAMESPACE).remote(start_limit=1)
    try:
        with pytest.raises(ValueError, match="already runs on this cluster"):
            run(study_of("twice"), ["--storage", runs], PACKED)
    finally:
        ray.kill(other)


def test_the_metrics_of_a_study_are_what_happened(packed: str) -> None:
    from vqlora.monitor import METRICS, Tally

    rows = [json.loads(Path(path).read_text())["record"]["status"] for path in Path(packed).rglob("record.json")]
    tally = Tally(
        asked=5, objective=Objective(metric="val.loss", direction="min"), workers=2,
        finished={"a": {"status": "done", "val.loss": 2.0}, "b": {"status": "done", "val.loss": 1.0},
                  "c": {"status": "out_of_memory"}}, started={"a", "b", "c", "d"},
    )  # fmt: skip
    shown = tally.metrics(3600)
    assert set(shown) == set(METRICS) and set(rows) == {"done"}
    assert shown["vqlora_best_score"] == 1.0 and shown["vqlora_trials_running"] == 1.0
    tally.started |= {"e", "f"}
    assert tally.running == 3  # each on workers of its own
    tally.taken = 2
    assert tally.running == 2  # the third waits for a place
    tally.finished |= {name: {"status": "done"} for name in ("d", "e", "f")}
    assert tally.running == 0
    assert shown["vqlora_device_hours"] == 2.0 and shown["vqlora_trials_out_of_memory"] == 1.0
