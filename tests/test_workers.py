"""A trial on two Ray Train workers: QLoRA by DDP, full fine-tuning sharded, and one of the workers killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ray import tune
from small_study import recipe as lora_recipe
from small_study import small_study
from test_studies import killing, losses, records

from vqlora.adapters import attach
from vqlora.launch import run
from vqlora.models.load import load
from vqlora.options import Runtime
from vqlora.recall import adapter_weights, find_record
from vqlora.recipe import Bits, FullFineTune
from vqlora.record import Status

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]
RUNTIME = Runtime(executor="isolated", report=False, keep="all")


def recipe(*, method: str, base: str, data: str, steps: int, seed: int) -> Any:
    made = lora_recipe(rank=2, base=base, data=data, steps=steps, seed=seed, rate=1e-3)
    changed = {"full": {"method": FullFineTune()}, "qlora": {"bits": Bits.preset("all4")}}[method]
    return type(made)(**{**vars(made), **changed})


@pytest.mark.parametrize("method", ["full", "qlora"])
def test_two_workers_one_of_them_killed_give_the_loss_of_one(method: str, tmp_path: Path) -> None:
    study = small_study(space={"method": tune.grid_search([method])}, recipe=recipe, steps=8)
    assert run(study, ["--storage", str(tmp_path / "one")], RUNTIME) == 0
    shared = tmp_path / "two"

    def has_a_checkpoint() -> bool:
        return any(path.stat().st_size for path in shared.rglob("state.bin"))

    with killing("RayTrainWorker", when=has_a_checkpoint) as killed:
        assert run(study, ["--storage", str(shared), "--workers", "2"], RUNTIME) == 0
    assert len(killed) == 1
    (alone,), (two,) = records(str(tmp_path / "one")).values(), records(str(shared)).values()
    assert two.status is Status.DONE
    assert losses(two) == [(step, pytest.approx(loss, rel=1e-5)) for step, loss in losses(alone)]
    assert two.metrics["test"]["loss"] == pytest.approx(alone.metrics["test"]["loss"], rel=1e-4)
    found = find_record(str(shared / "small" / two.version / two.trial))
    again = attach(load(found.recipe.base, found.recipe.bits, "cpu"), found.recipe.method, seed=0)
    again.load_bytes(adapter_weights(found))
