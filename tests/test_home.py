"""What a user takes home: a trial that comes out again, an adapter for plain PEFT, captions, further training."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from kept import keep_trial
from trials import BASES, recipe

from vqlora.adapters.export import CARD, CONFIG, WEIGHTS
from vqlora.cli import main
from vqlora.data.sets import open_data
from vqlora.keeping import frontier, keep_adapters
from vqlora.record import Record, record_from_json, record_to_json
from vqlora.store import find_study, study_store
from vqlora.study import Objective

OBJECTIVES = (
    Objective(metric="val.loss", direction="min"),
    Objective(metric="cost.adapter_bytes", direction="min"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    """A finished trial's folder and record."""
    torch.set_num_threads(1)
    return keep_trial(tmp_path_factory.mktemp("home"), recipe())


def video() -> str:
    """The first clip of the embedded test split."""
    return open_data("shapes:tiny").test[0].clips[0].path


def rewritten(record: Record, folder: Path, **changes: object) -> str:
    """Another record, as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_text(record_to_json(replace(record, **changes)))
    return str(folder)


def test_a_trial_rebuilt_from_its_record_is_equal_to_the_bit(
    home: tuple[Path, Record], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rerun", str(home[0] / "record.json"), "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "equal to the bit" in shown and "changed:" not in shown
    assert all(f"{split}.cider" in shown for split in ("val", "test"))


def test_a_rerun_names_changed_versions_first_and_judges_by_the_seeds(
    home: tuple[Path, Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = home[1]
    older = replace(record.provenance, versions={**record.provenance.versions, "torch": "1.0"})
    moved = {split: {**scores, "cider": scores["cider"] + 0.01} for split, scores in record.metrics.items()}
    lines = [replace(record, provenance=older, metrics=moved)]
    for seed, shift in ((1, -0.02), (2, 0.02)):
        shifted = {split: {**scores, "cider": scores["cider"] + shift} for split, scores in record.metrics.items()}
        lines.append(replace(lines[0], trial=f"other-{seed}", seed=seed, metrics=shifted, fingerprint=f"{seed:016d}"))
    file = tmp_path / "kept.jsonl"
    file.write_text("".join(record_to_json(one) + "\n" for one in lines))
    assert main(["rerun", f"{file}#{record.trial}", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("changed: torch 1.0, here") < shown.index("val.cider")
    assert "inside the seed interval" in shown
    far = {split: {**scores, "cider": scores["cider"] + 9} for split, scores in record.metrics.items()}
    file.write_text("".join(record_to_json(replace(one, metrics=far) if one.seed else one) + "\n" for one in lines[:1]))
    assert main(["rerun", f"{file}#{record.fingerprint}", "--device", "cpu"]) == 1
    assert "no seed interval" in capsys.readouterr().out


def test_changed_data_or_base_is_refused_by_name_before_anything_runs(
    home: tuple[Path, Record], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = home[1]
    monkeypatch.setattr("vqlora.finetune.finetune", lambda *_, **__: pytest.fail("a trial was run"))
    for name in ("data_digest", "clips_digest", "base_digest"):
        where = rewritten(record, tmp_path / name, provenance=replace(record.provenance, **{name: "0123456789abcdef"}))
        assert main(["rerun", where]) == 2
        out, err = capsys.readouterr()
        assert f"changed: {name.partition('_')[0]} " in out and "0123456789abcdef" in err and "--anyway" in err


# PEFT 0.21 asks transformers 5.23 for a name that it calls deprecated
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("base", BASES)
def test_plain_peft_loads_the_adapter_and_computes_the_same(base: str, tmp_path: Path) -> None:
    from peft import PeftModel

    from vqlora.adapters import attach
    from vqlora.models.load import load

    folder, record = keep_trial(tmp_path, recipe(base))
    home = folder / str(record.adapter)
    assert {file.name for file in home.iterdir()} == {WEIGHTS, CONFIG, CARD, "record.json"}
    ours = attach(load(base, recipe(base).bits, "cpu"), recipe(base).method, seed=0)
    ours.load_bytes((home / WEIGHTS).read_bytes())
    plain = PeftModel.from_pretrained(load(base, recipe(base).bits, "cpu").model, str(home))
    assert plain.get_model_status().num_adapter_layers == record.model["text"]["adapted_layers"]
    theirs = {name: value for name, value in plain.named_parameters() if "lora_" in name}
    assert len(theirs) == len(ours.parameters)
    for name, value in ours.parameters.items():
        assert torch.equal(value, theirs["base_model.model." + name.replace(".weight", ".default.weight")]), name
    layer = next(name for name, module in ours.model.named_modules() if hasattr(module, "lora_A"))
    x = torch.randn(3, ours.model.get_submodule(layer).in_features)
    assert torch.equal(ours.model.get_submodule(layer)(x), plain.get_submodule(f"base_model.model.{layer}")(x))
    assert not torch.equal(
        plain.get_submodule(f"base_model.model.{layer}").base_layer(x), ours.model.get_submodule(layer)(x)
    )


def test_the_model_card_says_what_the_adapter_is(home: tuple[Path, Record]) -> None:
    folder, record = home
    card = (folder / str(record.adapter) / CARD).read_text()
    assert card.startswith("---\nlibrary_name: peft\n") and record.trial in card
    for fact in (record.recipe["base"], record.recipe["data"], record.provenance.base_digest, "rank 4 on text"):
        assert str(fact) in card
    assert f"{record.metrics['test']['cider']:.4g}" in card
    again = json.loads((folder / str(record.adapter) / CONFIG).read_text())
    assert again["peft_type"] == "LORA" and again["inference_mode"] is True


def test_an_adapter_captions_the_users_videos(
    home: tuple[Path, Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, record = home
    own = shutil.copy(video(), tmp_path / "my holiday.mp4")
    assert main(["caption", str(folder / str(record.adapter)), str(own), "--device", "cpu"]) == 0
    alone = capsys.readouterr().out
    assert alone.startswith(f"{own}\t") and alone.count("\n") == 1
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert main(["caption", str(folder), str(tmp_path / "broken.mp4"), str(own), "--device", "cpu"]) == 1
    out, err = capsys.readouterr()
    assert out == alone and "broken.mp4" in err
    examples = study_store(str(folder.parents[2]), "kept", "1").trial(record.trial).examples(record)
    (row,) = (row for row in examples if row["id"] == Path(video()).stem)
    assert alone == f"{own}\t{row['caption']}\n", "the caption is the one that the trial gave the same clip"


def test_an_adapter_for_another_base_is_refused_before_a_model_is_loaded(
    home: tuple[Path, Record], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqlora.models.load.load", lambda *_: pytest.fail("a base was loaded"))
    assert main(["caption", str(home[0]), video(), "--base", BASES[1]]) == 2
    err = capsys.readouterr().err
    assert "is for another base" in err and BASES[1] in err and err.count("\n") == 1


def test_training_goes_on_from_the_adapter_and_on_other_data(
    home: tuple[Path, Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--from", str(home[0]), "--steps", "3", "--device", "cpu", "--storage"]
    assert main([*command, str(tmp_path / "on")]) == 0
    assert main([*command, str(tmp_path / "anew"), "--anew"]) == 0
    (on,), (anew,) = (find_study(str(tmp_path / name / "kept-further")).read().records for name in ("on", "anew"))
    assert on.recipe["start"] and "start" not in anew.recipe and on.fingerprint != anew.fingerprint
    assert on.curve[0]["loss"] != anew.curve[0]["loss"], "an adapter that was trained starts elsewhere"
    assert on.adapter and (tmp_path / "on" / "kept-further" / "1" / on.trial / on.adapter / CARD).is_file()
    capsys.readouterr()
    assert main([*command, str(tmp_path / "on")]) == 0
    assert "step" not in capsys.readouterr().out, "a finished trial is not run again"
    assert main(["rerun", str(tmp_path / "on" / "kept-further" / "1" / on.trial)]) == 2
    assert "went on from the adapter" in capsys.readouterr().err


BAD_RECORDS = {
    "nothing": (lambda plain: None, "holds no record.json"),
    "schema": (lambda plain: plain["record"].update(schema=7, novelty=1), "record schema 7 is not 1"),
    "digest": (lambda plain: plain["record"].update(seed=5), "the digest does not match"),
}


@pytest.mark.parametrize("case", BAD_RECORDS)
@pytest.mark.parametrize("command", [["rerun"], ["caption"], ["train", "--steps", "1", "--from"]])
def test_a_record_that_cannot_be_used_is_refused_by_name(
    case: str, command: list[str], home: tuple[Path, Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import hashlib

    change, expected = BAD_RECORDS[case]
    plain = json.loads(record_to_json(home[1]))
    change(plain)
    if case == "schema":
        body = json.dumps(plain["record"], sort_keys=True, separators=(",", ":"))
        plain["sha256"] = hashlib.sha256(body.encode()).hexdigest()
    if case != "nothing":
        (tmp_path / "record.json").write_text(json.dumps(plain))
    assert main([*command, str(tmp_path), *([video()] if command == ["caption"] else [])]) == 2
    err = capsys.readouterr().err
    assert expected in err and err.count("\n") == 1


def test_an_unknown_trial_of_committed_records_is_answered_with_those_there_are(
    home: tuple[Path, Record], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kept.jsonl").write_text(record_to_json(home[1]) + "\n")
    assert main(["rerun", f"{tmp_path}/kept.jsonl#rank99"]) == 2
    assert home[1].trial in capsys.readouterr().err
    assert main(["caption", f"{tmp_path}/kept.jsonl#{home[1].trial}", video()]) == 2
    assert "give the trial's folder in its storage" in capsys.readouterr().err


def test_only_frontier_adapters_stay_and_records_say_which(home: tuple[Path, Record], tmp_path: Path) -> None:
    store = study_store(str(tmp_path), "kept", "1")
    # loss, bytes: a and b are the frontier of these two; c is worse than a in both; d is b's second seed
    made = {"a": (1.0, 10, 0), "b": (2.0, 5, 0), "c": (1.5, 20, 0), "d": (2.1, 5, 1)}
    for name, (loss, size, seed) in made.items():
        metrics = {split: {**scores, "loss": loss} for split, scores in home[1].metrics.items()}
        cost = replace(home[1].cost, adapter_bytes=size)
        point = {"p": "b" if name == "d" else name}
        record = replace(home[1], trial=name, point=point, seed=seed, metrics=metrics, cost=cost, fingerprint=name * 16)
        store.trial(name).write_adapter(0, {WEIGHTS: b"weights"})
        store.trial(name).write_record(record)
    assert frontier(store.read().records, OBJECTIVES) == {"a", "b", "d"}
    before = {name: store.trial(name).record() for name in made}
    assert keep_adapters(store, OBJECTIVES, "all") == (4, 0)
    assert keep_adapters(store, OBJECTIVES, "frontier") == (3, 1)
    after = {one.trial: one for one in store.read().records}
    assert {name for name, one in after.items() if one.adapter} == {"a", "b", "d"}
    assert not (tmp_path / "kept" / "1" / "c" / "attempt-0" / "adapter").exists()
    assert after["c"] == replace(before["c"], adapter=None) and not store.check()
    assert keep_adapters(store, OBJECTIVES, "none") == (0, 3)
    assert not any(one.adapter for one in store.read().records) and len(store.read().records) == 4


def test_an_adapter_never_goes_before_its_record_says_so(
    home: tuple[Path, Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = study_store(str(tmp_path), "kept", "1")
    store.trial("a").write_adapter(0, {WEIGHTS: b"weights"})
    store.trial("a").write_record(replace(home[1], trial="a"))
    file = tmp_path / "kept" / "1" / "a" / "attempt-0" / "adapter" / WEIGHTS

    def fails(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("os.replace", fails)
        with pytest.raises(OSError, match="no space"):
            store.trial("a").drop_adapter()
    record = store.trial("a").record()
    assert file.is_file() and record and record.adapter == "attempt-0/adapter"
    store.trial("a").drop_adapter()
    assert not file.exists() and record_from_json((file.parents[2] / "record.json").read_text()).adapter is None
