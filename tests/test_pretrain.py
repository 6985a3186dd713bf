"""The embedded bases' tokenizer, architectures, pretraining and check."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vqlora.data.shapes_text import DOMAIN, PLAIN
from vqlora.models.architecture import build
from vqlora.models.check import first_runs, lines, second_runs
from vqlora.models.check_run import Run, Size, run
from vqlora.models.families import family_of
from vqlora.models.pretrain import FOLDER, Learner, Steps, build_pool, main, step_loss
from vqlora.models.tokenizer import VOCABULARY, build_tokenizer

TEXTS = (
    "two units : light red pod .",
    "一个红色的圆形向左移动。",
    "naïve ünïcode \u2603 \U0001f600",
    "x=3.14; {json}\n\ttab",
)


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_survives_the_tokenizer(tokenizer, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert len(tokenizer) <= VOCABULARY


def test_each_word_of_both_vocabularies_is_one_token(tokenizer) -> None:
    for lexicon in (PLAIN, DOMAIN):
        for words in (lexicon.shapes, lexicon.colours, lexicon.sizes, lexicon.motions):
            for word in " ".join(words.values()).split():
                assert len(tokenizer(f" {word}", add_special_tokens=False).input_ids) == 1, word


def test_the_committed_bases_are_small_and_say_how_they_were_made() -> None:
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 16_000_000
    assert all(file.stat().st_size <= 8_000_000 for file in files)
    for name in ("videollama", "flamingo"):
        assert json.loads((FOLDER / name / "pretraining.json").read_text())[-1]["unseen_shape"] > 0.5


def test_batches_follow_from_seed_and_step(tokenizer) -> None:
    model, processor = build("videollama", tokenizer, seed=0)
    family = family_of(model.config.model_type)
    data = [Steps(family, processor, model.config, pool=50, batch=4, steps=9, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (steps[3] for steps in data)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert first["rows"].tolist() != other["rows"].tolist()


@pytest.mark.parametrize("name", ("videollama", "flamingo"))
def test_a_learner_goes_on_from_its_state_to_the_bit(tokenizer, tmp_path: Path, name: str) -> None:
    def start():
        model, processor = build(name, tokenizer, seed=0)
        return model.train(), processor, Learner(model, 1e-3)

    model, processor, learner = start()
    family, film = family_of(model.config.model_type), build_pool("pretrain", 20)
    data = Steps(family, processor, model.config, pool=20, batch=2, steps=3, seed=0)
    losses = []
    for step in range(3):
        if step == 1:
            learner.save(tmp_path / "state.pt", step)
        loss = step_loss(family, model, processor, film, data[step])
        loss.backward()
        learner.step(1.0)
        losses.append(loss.item())
    model, processor, learner = start()
    for step in range(learner.restore(tmp_path / "state.pt"), 3):
        loss = step_loss(family, model, processor, film, data[step])
        loss.backward()
        learner.step(1.0)
        assert loss.item() == losses[step]
    assert losses[2] < losses[0]


@pytest.mark.slow
def test_the_command_writes_a_base_that_loads_and_can_be_gone_on_from(tmp_path: Path, monkeypatch) -> None:
    from vqlora.models.load import load
    from vqlora.recipe import Bits

    monkeypatch.setattr("vqlora.models.pretrain.CHECKED", 4)
    words = ["pretrain", "videollama", "--steps", "2", "--batch", "2", "--pool", "20"]
    monkeypatch.setattr("sys.argv", [*words, "--out", str(tmp_path / "one")])
    main()
    monkeypatch.setattr("sys.argv", [*words, "--start-from", str(tmp_path / "one"), "--out", str(tmp_path / "two")])
    main()
    assert len(json.loads((tmp_path / "two" / "pretraining.json").read_text())) == 2
    assert load(str(tmp_path / "two"), Bits.preset("all16"), "cpu").model_type == "video_llama_3"


@pytest.mark.slow
def test_a_checked_run_learns_and_its_score_hangs_on_the_frames() -> None:
    size = Size(steps=24, batch=8, train=96, val=4, test=24)
    zero = run(Run(family="videollama", method="zero", rate=1.0), size=size, device="cpu")
    lora = run(Run(family="videollama", method="rank 16", rate=3e-3), size=size, device="cpu")
    means = {view: np.mean(scores["cider"]) for view, scores in lora["test"].items()}
    assert means["true"] > 1.5 * np.mean(zero["test"]["true"]["cider"])
    assert means["true"] > 1.5 * means["other"]


def test_the_plan_tunes_every_method_and_the_lines_read_its_rows() -> None:
    first = first_runs("videollama")
    rng = np.random.default_rng(0)
    level = {"zero": 0.3, "rank 1": 3.0, "rank 4": 3.6, "rank 16": 4.0, "full": 4.0}

    def row(job: Run) -> dict[str, object]:
        score = level[job.method] * (0.2 if job.start == "random" or job.view == "blank" else 1)
        score *= {2: 0.6, 8: 1.0, 16: 1.05}[job.frames]
        views = (
            ("true", "blank", "other", "shuffled") if job.method == "rank 16" and job.view == "true" else (job.view,)
        )
        share = {"true": 1.0, "blank": 0.1 if job.view == "true" else 1.0, "other": 0.1, "shuffled": 0.6}
        test = {view: {"cider": list(score * share[view] + rng.normal(0, 0.05, 40))} for view in views}
        return {**vars(job), "val": score - abs(job.rate - 3e-3), "test": test, "loss": 1.0}

    rows = [row(job) for job in first]
    rows += [row(job) for job in second_runs(rows, "videollama")]
    assert {job["rate"] for job in rows if job["seed"] == 1} == {3e-3}
    assert all(holds for holds, _ in lines(rows, "videollama"))
    broken = [
        {**r, "test": {**r["test"], "shuffled": r["test"]["true"]}} if "shuffled" in r["test"] else r for r in rows
    ]
    assert [holds for holds, _ in lines(broken, "videollama")] == [True, True, True, False, True, True, True]
