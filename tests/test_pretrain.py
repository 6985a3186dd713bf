"""The embedded bases' tokenizer, architectures, pretraining and check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vqlora.data.shapes import draw_scene
from vqlora.data.shapes_words import DOMAINS, PLAINS
from vqlora.models.architecture import build
from vqlora.models.check import first_runs, lines, second_runs, task_lines
from vqlora.models.check_run import Run, Size, run
from vqlora.models.embedding import clip_vectors, text_batch, text_vectors
from vqlora.models.families import family_of
from vqlora.models.pretrain import FOLDER, Learner, _start, main, save, step_loss
from vqlora.models.pretrain_data import FIRST, KINDS, PAIRS_FROM, TALKS, Steps, talk
from vqlora.models.probe import task_scores
from vqlora.models.tokenizer import VOCABULARY, build_tokenizer, spare_words

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


def test_each_word_and_each_chinese_character_of_all_vocabularies_is_one_token(tokenizer) -> None:
    for lexicon in (*PLAINS.values(), *DOMAINS.values()):
        for words in (lexicon.shapes, lexicon.colours, lexicon.sizes, lexicon.motions, lexicon.sounds):
            for word in " ".join(words.values()).split() if lexicon.language == "en" else "".join(words.values()):
                text = f" {word}" if lexicon.language == "en" else word
                assert len(tokenizer(text, add_special_tokens=False).input_ids) == 1, word


@pytest.mark.parametrize("task", TALKS)
def test_no_text_of_pretraining_falls_back_to_bytes(tokenizer, task: str) -> None:
    """But for spare words, which are meant to hold signs: every letter of the others is part of a known word."""
    for index in range(60):
        for message in talk(task, draw_scene("pretrain", index + 5000), np.random.default_rng(index)):
            tokens = tokenizer.tokenize(message.text)
            assert task == "words" or not [t for t in tokens if len(t) == 1 and t.isalpha() and t not in "ABCDEsaĠĊ"]


def test_spare_words_come_to_every_token_that_can_be_said(tokenizer) -> None:
    rng = np.random.default_rng(0)
    ids = {i for _ in range(900) for i in tokenizer(spare_words(rng, 24), add_special_tokens=False).input_ids}
    words = {i for token, i in tokenizer.get_vocab().items() if len(token) > 1 and not token.startswith("<")}
    assert len(words - ids) < 0.02 * len(words)


def test_the_committed_bases_are_small_and_say_how_they_were_made() -> None:
    files = [file for file in FOLDER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 16_000_000
    assert all(file.stat().st_size <= 8_000_000 for file in files)
    for name in ("videollama", "flamingo"):
        assert json.loads((FOLDER / name / "pretraining.json").read_text())[-1]["unseen_shape"] > 0.5


def test_batches_follow_from_seed_and_step(tokenizer) -> None:
    model, processor = build("videollama", tokenizer, seed=0)
    family = family_of(model.config.model_type)
    data = [Steps(family, processor, model.config, batch=4, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (steps[3] for steps in data)
    assert all(torch.equal(first.tokens[key], again.tokens[key]) for key in first.tokens)
    assert all(torch.equal(value, vars(again.reel)[key]) for key, value in vars(first.reel).items())
    assert first.reel.number.tolist() != other.reel.number.tolist()


def test_steps_hold_talks_of_every_task_long_clips_and_pairs(tokenizer) -> None:
    model, processor = build("flamingo", tokenizer, seed=0)
    data = Steps(family_of(model.config.model_type), processor, model.config, batch=16, seed=0)
    assert all(data[number].texts is None for number in range(20))
    steps = [data[number] for number in range(PAIRS_FROM, PAIRS_FROM + 60)]
    tasks = torch.cat([step.tasks for step in steps])
    assert set(tasks.tolist()) == set(range(len(TALKS) + 2))
    shares = {"retrieval": np.mean([step.texts is not None for step in steps])}
    shares["long"] = np.mean([bool((step.tasks == len(TALKS)).all()) for step in steps])
    assert all(abs(share - KINDS[kind]) < 0.12 for kind, share in shares.items())


def test_the_first_steps_hold_captions_and_what_keeps_all_words_alive(tokenizer) -> None:
    model, processor = build("videollama", tokenizer, seed=0)
    data = Steps(family_of(model.config.model_type), processor, model.config, batch=24, seed=0, captions_first=8)
    names = {list(TALKS)[place] for number in range(8) for place in data[number].tasks.tolist()}
    assert {"caption", "caption_zh"} <= names <= set(FIRST)
    assert all(sum(shares.values()) == pytest.approx(1) for shares in (FIRST, TALKS, KINDS))


@pytest.mark.parametrize("name", ("videollama", "flamingo"))
def test_a_base_with_other_words_starts_with_those_that_it_knows(tokenizer, tmp_path: Path, name: str) -> None:
    """An earlier base whose tokens lie in another order: each word keeps its vector, all else its value."""
    before, processor = build(name, tokenizer, seed=3)
    save(before, processor, tmp_path, [{"seed": 3}])
    words = tokenizer.get_vocab()
    turned = json.loads((tmp_path / "tokenizer.json").read_text())
    kept, lost = turned["model"]["vocab"], "circle"
    assert lost in kept or f"Ġ{lost}" in kept, "a word that the earlier base is to lack"
    lost = lost if lost in kept else f"Ġ{lost}"
    kept["another-word"] = kept.pop(lost)
    (tmp_path / "tokenizer.json").write_text(json.dumps(turned))
    model, _, runs = _start(name, 0, tmp_path)
    assert runs == [{"seed": 3}]
    same = (model.get_input_embeddings().weight == before.get_input_embeddings().weight.float()).all(1)
    assert not same[words[lost]] and same[[number for word, number in words.items() if word != lost]].all()
    tables = {table.weight.data_ptr() for table in (model.get_input_embeddings(), model.get_output_embeddings())}
    state = before.state_dict()
    assert all(torch.equal(v, state[k].float()) for k, v in model.state_dict().items() if v.data_ptr() not in tables)


@pytest.mark.parametrize("name", ("videollama", "flamingo"))
def test_a_learner_goes_on_from_its_state_to_the_bit(tokenizer, tmp_path: Path, name: str) -> None:
    def start():
        model, processor = build(name, tokenizer, seed=0)
        return model.train(), processor, Learner(model, 1e-3)

    model, processor, learner = start()
    family = family_of(model.config.model_type)
    data = Steps(family, processor, model.config, batch=2, seed=0)
    losses = []
    for step in range(3):
        if step == 1:
            learner.save(tmp_path / "state.pt", step, 3)
        loss, _ = step_loss(family, model, processor, data[step])
        loss.backward()
        learner.step(1.0)
        losses.append(loss.item())
    model, processor, learner = start()
    first, steps = learner.restore(tmp_path / "state.pt", 99)
    assert (first, steps) == (1, 3)
    for step in range(first, steps):
        loss, _ = step_loss(family, model, processor, data[step])
        loss.backward()
        learner.step(1.0)
        assert loss.item() == losses[step]


def test_a_step_without_finite_gradients_changes_nothing_and_many_in_a_row_end_the_run() -> None:
    layer = torch.nn.Linear(2, 2)
    learner, before = Learner(layer, 1e-3), layer.weight.detach().clone()
    with pytest.raises(FloatingPointError, match=r"21 steps in a row .* lower --rate"):
        for _ in range(30):
            layer.weight.grad, layer.bias.grad = torch.full_like(layer.weight, torch.nan), torch.zeros_like(layer.bias)
            learner.step(1.0)
            assert torch.equal(layer.weight, before)
    layer.weight.grad, layer.bias.grad = torch.ones_like(layer.weight), torch.zeros_like(layer.bias)
    learner.step(1.0)
    assert not torch.equal(layer.weight, before)


@pytest.mark.parametrize("name", ("videollama", "flamingo"))
def test_a_text_s_vector_is_its_own_and_hangs_on_no_frame(tokenizer, name: str) -> None:
    model, processor = build(name, tokenizer, seed=0)
    family = family_of(model.config.model_type)
    texts = ["a red circle goes left .", "红色圆形左移。"]
    with torch.no_grad():
        frame = torch.full((1, 3, 112, 112), 200, dtype=torch.uint8)
        state = family.encode_frames(model, processor, frame)
        both, one = (
            text_vectors(family, model, text_batch(family, processor, model.config, some, size=112), state)
            for some in (texts, texts[:1])
        )
        batch = text_batch(family, processor, model.config, texts, size=112)
        bright = clip_vectors(family, model, batch, [state] * 2)
    assert torch.allclose(both, bright, atol=1e-5) and torch.allclose(both.norm(dim=1), torch.ones(2))
    assert torch.allclose(both[0], one[0], atol=1e-4)


@pytest.mark.slow
def test_the_command_writes_a_base_that_loads_and_can_be_gone_on_from(tmp_path: Path, monkeypatch) -> None:
    from vqlora.models.load import load
    from vqlora.recipe import Bits

    monkeypatch.setattr("vqlora.models.pretrain.CHECKED", 4)
    words = ["pretrain", "videollama", "--steps", "2", "--batch", "2", "--workers", "1"]
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

    def row(job: Run) -> dict[str, Any]:
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


def test_a_task_holds_where_the_clip_adds_to_the_text() -> None:
    rng = np.random.default_rng(0)
    shares = {"true": 0.8, "blank": 0.3, "other": 0.35}
    scores = {view: [float(number < share) for number in rng.random(80)] for view, share in shares.items()}
    same = dict.fromkeys(scores, scores["blank"])
    tasks = {view: {"question": scores[view], "choice": same[view]} for view in scores}
    row = {"family": "videollama", "method": "zero", "tasks": tasks}
    assert [holds for holds, _ in task_lines([row], "videollama")] == [True, False]


@pytest.mark.slow
@pytest.mark.parametrize("name", ("videollama", "flamingo"))
def test_a_base_is_asked_about_every_task(tokenizer, name: str) -> None:
    model, processor = build(name, tokenizer, seed=0)
    scores = task_scores(family_of(model.config.model_type), model, processor, "cpu", count=3, view="other")
    assert {len(values) for values in scores.values()} == {3}
    assert all(0 <= value <= 1 for values in scores.values() for value in values)
