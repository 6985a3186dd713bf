"""A user's own parts keep the contracts of their kinds; a study carries them to its workers (test_jobs: a job)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import outside_study as outside
import pytest
import torch

from analysis.laws import fit
from vqlora import extend
from vqlora.adapters import OWN
from vqlora.contracts import CASES, Case, check_data, check_family, check_sampler, check_score, examine
from vqlora.data.sets import SETS, open_data
from vqlora.evaluation import OWN_SCORES
from vqlora.methods import METHODS
from vqlora.models.families import FAMILIES
from vqlora.models.quantisers import QUANTISERS
from vqlora.models.skeletons import skeleton
from vqlora.recipe import SAMPLERS, SCHEMES, Bits
from vqlora.video.samplers import SAMPLERS as CHOOSERS

ROOT = Path(__file__).parent.parent
TABLES: tuple[dict, ...] = (OWN, SETS, OWN_SCORES, METHODS, FAMILIES, QUANTISERS, SCHEMES, CHOOSERS)


@pytest.fixture(scope="module", autouse=True)
def added() -> Iterator[None]:
    """The parts are there for these tests only."""
    before = [dict(table) for table in TABLES]
    outside.mine()
    yield
    for table, rows in zip(TABLES, before, strict=True):
        for name in set(table) - set(rows):
            del table[name]
    SAMPLERS.remove("late")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_my_base(tmp_path_factory.mktemp("base"))


def save_my_base(folder: Path) -> str:
    torch.manual_seed(0)
    model, processor = skeleton("llava-onevision-tiny")
    fields = {key: value for key, value in model.config.to_dict().items() if key != "model_type"}
    outside.MyLlava(outside.MyConfig(**fields)).save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def save_my_data(folder: Path) -> str:
    """Embedded clips in a layout of the user's own."""
    splits, lines = open_data("shapes:tiny"), []
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        for example in getattr(splits, split)[:count]:
            file = Path(example.clips[0].path)
            (folder / file.name).symlink_to(file)
            lines.append(f"{split}\t{file.name}\t{example.references['en'][0]}")
    (folder / "clips.txt").write_text("\n".join(lines) + "\n")
    return f"lines:{folder}"


def test_the_family_keeps_its_contract(base: str) -> None:
    check_family(base)


def test_the_quantiser_works_under_lora(base: str) -> None:
    found = examine(base, CASES["LoRA, text"], Bits(plan={"text": 4}, scheme4="levels"))
    assert found.refused is None and found.trained > 0


def test_the_method_works_on_quantised_layers_and_trains_biases_only(base: str) -> None:
    found = examine(base, Case(outside.Biases(), 1e-1), Bits(plan={"text": 4}, scheme4="levels"))
    assert found.refused is None and 0 < found.trained < 2000


def test_the_sampler_keeps_its_contract() -> None:
    path = open_data("shapes:tiny").val[0].clips[0].path
    check_sampler("late", path)


def test_the_data_set_and_the_score_keep_their_contracts(tmp_path: Path) -> None:
    check_data(save_my_data(tmp_path))
    check_score(outside.brevity)


def test_the_law_is_fitted_as_those_with_names_are() -> None:
    rank = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    found = fit(outside.my_law, rank, 2.0 + 3.0 * np.exp(-0.2 * rank))
    assert found.params["rate"] == pytest.approx(0.2, rel=1e-3) and found.params["E"] == pytest.approx(2.0, rel=1e-3)


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(ValueError, match="sampler 'late' is there already"):
        extend.add_sampler("late", outside.late)
    with pytest.raises(ValueError, match="is there already"):
        extend.add_family(replace(FAMILIES["my_llava"], name="another"))


def test_a_quantiser_that_gives_something_else_is_refused(base: str) -> None:
    extend.add_quantiser("wrong", lambda dense, device: dense.__class__(3, 3, device=device))
    found = examine(base, CASES["zero-shot"], Bits(plan={"text": 4}, scheme4="wrong"))
    assert found.refused and "quantiser 'wrong' must give" in found.refused


@pytest.mark.parametrize("executor", ["packed", "isolated"])
def test_the_study_carries_its_parts_to_its_workers(executor: str, base: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    data = save_my_data(tmp_path / "data")
    command = [sys.executable, str(ROOT / "tests" / "outside_study.py"), "--base", base, "--data", data]
    command += ["--storage", str(tmp_path / "runs"), "--executor", executor]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "1/1 done" in done.stdout and "best val.brevity" in done.stdout
