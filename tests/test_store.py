"""The storage loses no finished trial, doubles no row and uses nothing that is broken."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vqlora.ledger import Ledger, merge, part_text, rows_of_part
from vqlora.record import Provenance, Record, Status, record_to_json
from vqlora.storage import open_place
from vqlora.store import StudyStore, find_study, study_store

CLIP = {"id": "video1", "split": "val", "caption": "ein grüner Kreis", "scores": {"cider": 1.5}}
ROWS = [{"step": step, "loss": 1 / (1 + step)} for step in range(8)]


def record(trial: str = "rank4", **changes: Any) -> Record:
    plain = Record(
        study="s",
        version="1",
        trial=trial,
        point={"rank": 4},
        seed=0,
        recipe={"seed": 0},
        fingerprint=f"fp-{trial}",
        status=Status.DONE,
        provenance=Provenance(commit=None, dirty=None, versions={}, device="cpu", platform="Linux"),
        metrics={"val": {"cider": 1.0}, "test": {"cider": 0.9}},
    )
    return replace(plain, **changes)


@pytest.fixture(params=["folder", "s3"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> StudyStore:
    if request.param == "folder":
        return study_store(str(tmp_path / "runs"), "s", "1")
    return study_store(request.getfixturevalue("s3"), "s", f"v{tmp_path.name}")


def test_a_part_reads_back_and_any_cut_or_change_is_found() -> None:
    text = part_text(ROWS)
    assert rows_of_part(text) == ROWS
    for end in range(len(text) - 1):
        with pytest.raises(ValueError):
            rows_of_part(text[:end])
    with pytest.raises(ValueError, match="digest"):
        rows_of_part(text.replace('"step": 3', '"step": 9'))


def test_attempts_merge_so_that_every_step_stands_once() -> None:
    uninterrupted = ROWS
    assert merge([ROWS[:5], ROWS[3:], []]) == uninterrupted
    assert merge([[], ROWS[:5], ROWS[:2], ROWS[2:]]) == uninterrupted
    assert merge([ROWS[:3], ROWS]) == uninterrupted
    validated = [*ROWS[:4], {"step": 3, "val.cider": 1.0}, *ROWS[4:], {"step": 7, "val.cider": 2.0}]
    for end in range(4, len(validated)):  # the checkpoint stands before the validation of step 3
        assert merge([validated[:end], validated[4:]]) == validated


def test_a_trial_survives_the_round_trip(study: StudyStore) -> None:
    trial = study.trial("rank4")
    number, ledger = trial.begin()
    for row in ROWS[:4]:
        ledger.add(row)
    ledger.close_part()
    ledger.write_state(3, b"state three")
    ledger.write_state(4, b"state four")
    number, ledger = trial.begin()
    assert number == 1
    assert trial.read_state() == b"state four"
    for row in ROWS[3:]:
        ledger.add(row)
        ledger.close_part()
    trial.write_examples(number, [CLIP])
    done = record(version=study.version, attempt=number)
    trial.write_record(done)
    trial.drop_states()
    study.write_asked({"question": "?"})
    assert trial.rows() == (ROWS, [])
    (kept,) = study.read().records
    assert record_to_json(kept) == record_to_json(done)
    assert list(study.read().answers()) == ["fp-rank4"]
    assert trial.examples(done) == [CLIP]
    assert study.check() == []
    assert trial.read_state() is None


def test_a_missing_number_is_none_in_the_ledger(tmp_path: Path) -> None:
    ledger = Ledger(place=open_place(str(tmp_path)))
    ledger.add({"step": 1, "loss": float("nan")})
    ledger.close_part()
    assert rows_of_part((tmp_path / "part-0000.jsonl").read_text()) == [{"step": 1, "loss": None}]
    with pytest.raises(ValueError, match="step"):
        ledger.add({"loss": 1.0})


def test_what_is_broken_or_foreign_is_named_and_never_used(tmp_path: Path) -> None:
    study = study_store(str(tmp_path), "s", "1")
    for name in ("a", "b", "c", "d"):
        number, ledger = study.trial(name).begin()
        for part in (ROWS[:3], ROWS[3:6], ROWS[6:]):
            for row in part:
                ledger.add(row)
            ledger.close_part()
        study.trial(name).write_examples(number, [CLIP])
        study.trial(name).write_record(record(name))
    here = tmp_path / "s" / "1"
    (here / "a" / "record.json").write_text((here / "a" / "record.json").read_text()[:-40])
    shutil.copy(here / "c" / "record.json", here / "b" / "record.json")
    (here / "c" / "attempt-0" / "part-0001.jsonl").unlink()
    (here / "d" / "attempt-0" / "examples.jsonl.gz").write_bytes(b"\x1f\x8bnot gzip")
    (here / "d" / "attempt-0" / "notes.txt").write_text("mine")
    assert [one.trial for one in study.read().records] == ["c", "d"]
    assert study.trial("c").rows()[0] == ROWS[:3]
    found = " | ".join(f"{one.what}: {one.reason}" for one in study.check())
    for word in ("a/record.json", "b/record.json: it is the record of s/1/c", "part 1 before it is missing",
                 "examples.jsonl.gz is broken", "notes.txt: no file of ours"):  # fmt: skip
        assert word in found
    assert len(study.check()) == 5


def test_a_record_that_is_replaced_stays_with_its_attempt(tmp_path: Path) -> None:
    study = study_store(str(tmp_path), "s", "1")
    failed = record("a", status=Status.FAILED, error="boom", metrics={})
    study.trial("a").write_record(failed)
    assert study.read().answers() == {}
    study.trial("a").write_record(record("a", attempt=1))
    assert study.read().records[0].status is Status.DONE
    assert "boom" in (tmp_path / "s" / "1" / "a" / "attempt-0" / "record.json").read_text()


def test_a_state_whose_bytes_changed_is_passed_over(tmp_path: Path) -> None:
    trial = study_store(str(tmp_path), "s", "1").trial("a")
    ledger = trial.begin()[1]
    for step, content in ((5, b"five"), (7, b"seven"), (9, b"nine")):
        ledger.write_state(step, content)
    assert trial.read_state() == b"nine"
    newest = tmp_path / "s" / "1" / "a" / "attempt-0" / "state-0.bin"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert trial.read_state() == b"seven"
    ledger = trial.begin()[1]
    ledger.write_state(3, b"after a restart")
    assert trial.read_state() == b"after a restart"


def test_a_study_is_found_by_its_folder_or_its_version(tmp_path: Path) -> None:
    for version in ("1", "2"):
        study_store(str(tmp_path), "s", version).write_asked({})
    assert find_study(str(tmp_path / "s" / "2")).version == "2"
    assert find_study(str(tmp_path / "s"), "1").place.path.endswith("s/1")
    with pytest.raises(ValueError, match="versions"):
        find_study(str(tmp_path / "s"))
    with pytest.raises(ValueError, match="holds no study"):
        find_study(str(tmp_path / "t"))


@pytest.mark.parametrize("url", ["", "ftp://host/x", "/proc/nowhere/x", "s3://", "s3://key:secret@bucket/x"])
def test_a_storage_that_cannot_be_written_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        open_place(url).check_writable()
    assert "storage" in str(caught.value) and "secret@" not in str(caught.value) and "\n" not in str(caught.value)
