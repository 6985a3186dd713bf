"""A study expands without torch, changes by its options, and refuses bad input before Ray starts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from small_study import recipe, small_study

from vqlora.asked import ask_points, asked_from_json, expand
from vqlora.devices import Devices
from vqlora.launch import run
from vqlora.options import Runtime, read_options
from vqlora.recipe import Bits, Lora
from vqlora.searchers import SafeOptunaSearch
from vqlora.store import find_study

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(path for path in (ROOT / "studies").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_study_expands_without_torch(script: Path) -> None:
    code = (
        f"import runpy, sys; from vqlora.asked import expand; study = runpy.run_path({str(script)!r})['study']; "
        "asked = expand(study); assert (asked or study.searcher) and study.name == sys.argv[1]; "
        "assert 'torch' not in sys.modules; "
        "assert not __import__('ray').is_initialized(); print(len(asked))"
    )
    done = subprocess.run([sys.executable, "-c", code, script.stem], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_rank_and_bits_study_asks_twelve_adapters_and_a_reference() -> None:
    import runpy

    study = runpy.run_path(str(ROOT / "studies" / "rank_bits.py"))["study"]
    asked = expand(study)
    kinds = [one.recipe.method.kind for one in asked]
    assert (kinds.count("lora"), kinds.count("zero_shot"), len(asked)) == (12, 1, 13)
    assert all(one.recipe.schedule.clips_seen >= 256 for one in asked if one.recipe.method.kind == "lora")
    three = expand(read_options(study, ["--seeds", "3"], Runtime())[0])
    assert len(three) == 12 * 3 + 1, "zero-shot is the same experiment at every seed"


def test_a_point_and_a_seed_are_one_trial_with_a_readable_name() -> None:
    asked = expand(small_study(seeds=3))
    assert len(asked) == len({one.trial for one in asked}) == 6
    assert all(re.fullmatch(r"rank[12]-s[012]-[0-9a-f]{8}", one.trial) for one in asked)
    assert [asked_from_json(one.to_json()) for one in asked] == asked


def test_trial_names_are_folders_whatever_the_axes_hold() -> None:
    points = [{"rank": 1, "rate": rate} for rate in (1e-3, 0.123456789)]
    names = [one.trial for one in ask_points(small_study(), points)]
    assert names[0].startswith("rank1-rate0.001-s0-") and names[1].startswith("rank1-rate0.1235-s0-")


def test_equal_points_are_asked_once() -> None:
    study = small_study(space={"rank": tune.grid_search([1, 2, 1])}, points=({"rank": 2},))
    assert [one.point["rank"] for one in expand(study)] == [1, 2]


def test_a_sampled_space_is_the_same_every_time() -> None:
    study = small_study(space={"rank": tune.choice([1, 2, 4, 8]), "rate": tune.loguniform(1e-4, 1e-2)}, samples=6)
    assert expand(study) == expand(study)
    assert len({one.point["rate"] for one in expand(study)}) == 6


def test_another_base_data_or_length_is_another_version_and_seeds_are_not() -> None:
    study = small_study()
    versions = [
        read_options(study, arguments, Runtime())[0].version
        for arguments in ([], ["--seeds", "3"], ["--steps", "9"], ["--steps", "4"], ["--base", "embedded:flamingo"])
    ]
    assert versions[0] == versions[1] == versions[3] == "1"
    assert len(set(versions)) == 3


def test_listed_points_are_narrowed_by_their_values_and_keep_their_version() -> None:
    study = small_study(space={"rank": tune.grid_search([1, 2, 4])}, points=({"rank": 8},))
    narrowed = read_options(study, ["--only", "rank=2,8"], Runtime())[0]
    assert [one.point["rank"] for one in expand(narrowed)] == [2, 8] and narrowed.version == study.version
    assert {one.fingerprint for one in expand(narrowed)} < {one.fingerprint for one in expand(study)}


def test_a_field_is_set_in_every_recipe_and_makes_another_version() -> None:
    changed = read_options(small_study(), ["--set", "frames.size=448", "--set", "task=caption"], Runtime())[0]
    assert {one.recipe.frames.size for one in expand(changed)} == {448}
    assert {one.recipe.frames.budget for one in expand(changed)} == {2} and changed.version != "1"


def bad_role(**point: Any) -> Any:
    made = recipe(**point)
    return type(made)(**{**vars(made), "method": Lora(rank={"audio": 4})})


def bad_bits(**point: Any) -> Any:
    return type(recipe(**point))(**{**vars(recipe(**point)), "bits": Bits(plan={"text": 3})})


BAD = {
    "base": (small_study(), ["--base", "random:nope"], "random base 'nope' is unknown"),
    "data": (small_study(), ["--data", "shapes:huge"], "shapes preset 'huge'"),
    "annotations": (small_study(), ["--data", "msrvtt:/nowhere"], "/nowhere"),
    "kind of data": (small_study(), ["--data", "youtube:all"], "'youtube'"),
    "rank": (small_study(space={"rank": tune.grid_search([-1])}), [], "rank -1"),
    "no rank": (small_study(space={"rank": tune.grid_search([0])}), [], "rank is 0 in every role"),
    "bits": (small_study(recipe=bad_bits), [], "3 bits"),
    "role": (small_study(recipe=bad_role), [], "'audio'"),
    "storage": (small_study(), ["--storage", "/proc/nowhere"], "cannot be written"),
    "empty axis": (small_study(space={"rank": tune.grid_search([])}), [], "no trial"),
    "seeds": (small_study(), ["--seeds", "0"], "seeds 0"),
    "steps": (small_study(), ["--steps", "0"], "--steps 0"),
    "concurrency": (small_study(), ["--concurrency", "0"], "concurrency 0"),
    "axis": (small_study(space={"rank": tune.grid_search([[1]])}), [], "axes hold scalars"),
    "name": (small_study(), ["--name", "../up"], "becomes a folder"),
    "only": (small_study(), ["--only", "rank=3"], "no listed point has {'rank': ('3',)}"),
    "only of no axis": (small_study(), ["--only", "bits=3"], "--only names 'bits'"),
    "set": (small_study(), ["--set", "frames.sise=448"], "no field 'frames.sise'"),
    "set to nonsense": (small_study(), ["--set", "frames.size=3"], "frame size 3"),
    "no pair": (small_study(), ["--set", "frames.size"], "is not NAME=VALUE"),
    "cap": (small_study(), ["--memory-cap-gib", "0"], "memory cap 0"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_line_before_ray_starts(
    case: str, runs: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import ray

    monkeypatch.setenv("VQLORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("ray was started"))
    study, arguments, expected = BAD[case]
    storage = [] if "--storage" in arguments else ["--storage", runs]
    with pytest.raises(ValueError) as caught:
        run(study, [*arguments, *storage], Runtime(report=False))
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_a_study_script_ends_with_status_2_and_one_line_on_bad_input(runs: str) -> None:
    command = [sys.executable, str(ROOT / "studies" / "forkme.py"), "--base", "nope", "--storage", runs]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.startswith("forkme: base 'nope' is unknown") and done.stderr.count("\n") == 1


def test_a_scheduler_that_pauses_or_mutates_trials_is_refused(runs: str) -> None:
    from ray.tune.schedulers import PopulationBasedTraining

    from vqlora.tuning import checked_scheduler

    def pbt() -> Any:
        return PopulationBasedTraining(metric="val.loss", mode="min", hyperparam_mutations={"rank": [1, 2]})

    with pytest.raises(ValueError, match="PopulationBasedTraining pauses or mutates"):
        checked_scheduler(small_study(scheduler=pbt))


def test_a_dry_run_of_a_search_draws_points_in_place_of_the_searchers(
    runs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {"rank": tune.choice([1, 2, 4, 8])}
    searched = small_study(space=space, points=({"rank": 2},), searcher=SafeOptunaSearch, samples=3)
    assert run(searched, ["--dry-run", "cuda", "--storage", runs], Runtime()) == 0
    shown = capsys.readouterr().out
    assert "memory as on cuda" in shown
    assert 1 <= shown.count("drawn from the space") <= 3
    assert "as planned for an H100" in shown


def test_a_dry_run_prints_every_trial_and_takes_nothing(runs: str, capsys: pytest.CaptureFixture[str]) -> None:
    import ray

    was_running = ray.is_initialized()
    assert run(small_study(seeds=2), ["--dry-run", "--storage", runs], Runtime()) == 0
    shown = capsys.readouterr().out
    assert all(one.trial in shown for one in expand(small_study(seeds=2)))
    assert "4 trials, 4 to run: 16 steps, 32 clips seen" in shown
    assert ray.is_initialized() is was_running
    assert not Path(runs).exists()
    with pytest.raises(ValueError):
        find_study(f"{runs}/small")


def test_a_share_of_a_gpu_is_asked_for_and_stands_in_the_executors_name(tmp_path: Path) -> None:
    study, runtime = small_study(), Runtime()
    _, asked = read_options(study, ["--storage", str(tmp_path), "--gpus-per-worker", "0.1"], runtime)
    assert asked.gpus_per_worker == 0.1
    with pytest.raises(ValueError, match="gpus_per_worker"):
        read_options(study, ["--storage", str(tmp_path), "--gpus-per-worker", "0"], runtime)
    shared = Devices(per_worker={"CPU": 1.0, "GPU": 0.1}, count=10, is_gpu=True)
    whole = Devices(per_worker={"CPU": 1.0, "GPU": 1.0}, count=1, is_gpu=True)
    assert shared.label("packed") == "packed, 0.1 of a GPU" and whole.label("packed") == "packed"
    assert Devices(per_worker={"CPU": 0.9}, count=2, is_gpu=False).label("isolated") == "isolated"
