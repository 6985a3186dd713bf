"""Hostile storages: records with and without a valid digest, ledgers, checkpoints, per-clip scores, committed files.

What a study or a report reads is read; nothing of another trial may be touched, and no page may hold markup of a text.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from fuzz_mutate import TEXTS, changed_bytes, changed_json, json_bytes

from analysis import layout, table
from analysis.markdown import markdown
from analysis.report import report_of
from vqlora.ledger import Ledger, part_text
from vqlora.recall import find_record
from vqlora.recipe import recipe_from_json
from vqlora.record import Record, record_from_json, record_to_json
from vqlora.store import StudyStore, study_store
from vqlora.trial import state_from_bytes, state_to_bytes

COMMITTED = Path(__file__).parents[1] / "analysis" / "records" / "rank_bits.jsonl"
TRIALS = 4


def _signed(plain: Any) -> str:
    """As a forger would: with a digest that holds."""
    body = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return json.dumps({"record": plain, "sha256": hashlib.sha256(body.encode()).hexdigest()})


def _records() -> list[Record]:
    return [record_from_json(line) for line in COMMITTED.read_text().splitlines()[:TRIALS]]


class Records:
    """A record's text, read and used as reruns and reports use it; now and then a page made of changed ones."""

    name = "records"

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.records = scratch, _records()
        self.examples = gzip.decompress(COMMITTED.with_suffix(".examples.jsonl.gz").read_bytes()).splitlines(True)
        names = {record.trial for record in self.records}
        self.examples = [line for line in self.examples if json.loads(line)["trial"] in names][:400]

    def one(self, rng: random.Random) -> str:
        """'skipped' where a table names what it left out."""
        if rng.random() < 0.2:
            return self._report(rng)
        record = record_from_json(self._changed(rng, rng.choice(self.records)))
        text = record_to_json(record)
        assert record_to_json(record_from_json(text)) == text
        recipe_from_json(record.recipe)
        return "accepted"

    def _changed(self, rng: random.Random, record: Record) -> str:
        text = record_to_json(record)
        if rng.random() < 0.2:
            return changed_bytes(rng, text.encode()).decode(errors="replace")
        plain = changed_json(rng, json.loads(text)["record"])
        try:
            return _signed(plain)
        except ValueError:  # a text that JSON cannot hold
            return text

    def _report(self, rng: random.Random) -> str:
        path = self.scratch / "study.jsonl"
        lines = [record_to_json(record) for record in self.records]
        place = rng.randrange(len(lines))
        lines[place] = self._changed(rng, self.records[place])
        path.write_text("\n".join(lines) + "\n", errors="replace")
        examples = list(self.examples)
        place = rng.randrange(len(examples))
        examples[place] = json_bytes(rng, changed_json(rng, json.loads(examples[place]))) + b"\n"
        packed = gzip.compress(b"".join(examples), 1)
        path.with_suffix(".examples.jsonl.gz").write_bytes(changed_bytes(rng, packed) if rng.random() < 0.1 else packed)
        plain = json.loads(COMMITTED.with_suffix(".study.json").read_text())
        path.with_suffix(".study.json").write_bytes(json_bytes(rng, changed_json(rng, plain)))
        found = table.read(str(path))
        report = report_of(found)
        _refuse_markup(layout.html(report, several=[], reload=False))
        markdown(report, sha256="0")
        return "skipped" if found.left_out else "accepted"


class Ledgers:
    """A study's folder with one file changed, read as a relaunch reads it."""

    name = "ledgers"

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.records = scratch / "runs", _records()[:2]

    def one(self, rng: random.Random) -> str:
        """'skipped' where what is broken is named."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        study = self._written()
        record = self.records[0]
        outside = self.scratch / "outside.txt"
        outside.write_text("mine")
        file = rng.choice([path for path in sorted(self.scratch.rglob("*")) if path.is_file() and path != outside])
        file.write_bytes(self._changed(rng, file))
        study.asked()
        stored, broken = study.read(), study.check()
        for name in study.trials():
            trial = study.trial(name)
            trial.rows()
            state = trial.read_state()
            if state is not None:
                state_from_bytes(state)
            trial.drop_adapter()
        assert outside.read_text() == "mine"
        assert record.fingerprint in stored.answers() or broken
        find_record(f"{study.place.url}/{record.trial}")
        return "skipped" if broken else "accepted"

    def _written(self) -> StudyStore:
        study = study_store(str(self.scratch), self.records[0].study, self.records[0].version)
        study.write_asked({"study": study.study, "trials": [{"trial": one.trial} for one in self.records]})
        for record in self.records:
            trial = study.trial(record.trial)
            _, ledger = trial.begin()
            _fill(ledger)
            trial.write_examples(0, [{"id": "a", "split": "val", "scores": {"cider": 1.0}}])
            trial.write_adapter(0, {"adapter_model.safetensors": b"x"})
            trial.write_record(record)
        return study

    def _changed(self, rng: random.Random, file: Path) -> bytes:
        raw = file.read_bytes()
        if rng.random() < 0.3:
            return changed_bytes(rng, raw)
        if file.name == "record.json":
            return _signed(changed_json(rng, json.loads(raw)["record"])).encode(errors="replace")
        if file.suffix == ".json":
            return json_bytes(rng, changed_json(rng, json.loads(raw)))
        if file.suffix == ".gz":
            return gzip.compress(rng.choice((b"[" * 200_000, b"\0" * 2**28, b"{}\n", rng.choice(TEXTS).encode())), 1)
        if file.suffix == ".bin":
            content = changed_bytes(rng, raw.partition(b"\n")[2])
            return f"{rng.choice((4, -1, 10**20))} {hashlib.sha256(content).hexdigest()}\n".encode() + content
        if file.suffix == ".jsonl":
            rows = changed_json(rng, [json.loads(line) for line in raw.splitlines()[:-1]])
            return part_text(rows if isinstance(rows, list) else [rows]).encode(errors="replace")
        return changed_bytes(rng, raw)


def _fill(ledger: Ledger) -> None:
    for step in range(4):
        ledger.add({"step": step, "loss": 1.0 / (step + 1)})
        if step % 2:
            ledger.close_part()
            ledger.write_state(step, state_to_bytes({"step": step, "weights": {"a": [1.0, 2.0]}}))


def _refuse_markup(page: str) -> None:
    """No text of a record became an element or an attribute that runs something."""
    finder = _Finder()
    finder.feed(page)
    assert not finder.found, finder.found[:3]


class _Finder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _ in attrs}
        runs = any(name.startswith("on") for name in names) or any(
            (value or "").strip().lower().startswith("javascript:") for _, value in attrs
        )
        if runs or tag in ("iframe", "object", "embed", "base") or (tag == "img" and ("src", "x") in attrs):
            self.found.append(self.get_starttag_text() or tag)
