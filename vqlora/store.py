"""Attempts and records of a study: a trial is finished when, and only when, its record has a valid digest.

    STORAGE/STUDY/VERSION/study.json                          what was asked
                         /TRIAL/attempt-K/start.json          with what attempt K began
                                         /part-NNNN.jsonl     what it reported (`vqlora.ledger`)
                                         /state-0.bin -1.bin   its last two checkpoints, emptied at the end
                                         /examples.jsonl.gz   captions and scores clip by clip
                                         /adapter/             what it trained, as PEFT loads it, with a model card
                               /record.json                   written last; `attempt` says whose it is

Only record.json is ever replaced: when asked to start afresh, the earlier one kept in its attempt's folder, and when an
adapter is given up, which it then no longer names. Standard library, pyarrow and `vqlora.record`.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vqlora.clip_rows import clip_rows
from vqlora.ledger import PART, SLOTS, Broken, Ledger, merge, read_attempt, read_state
from vqlora.record import Record, Status, record_from_json, record_to_json
from vqlora.storage import Place, open_place

ANSWERS = frozenset({Status.DONE, Status.STOPPED, Status.OUT_OF_MEMORY})  # a FAILED trial is tried again on relaunch
ATTEMPT = re.compile(r"attempt-(\d+)")
RECORD, START, ASKED = "record.json", "start.json", "study.json"
EXAMPLES, ADAPTER = "examples.jsonl.gz", "adapter"
OURS = re.compile("|".join([PART.pattern, *map(re.escape, (*SLOTS, RECORD, START, EXAMPLES))]))


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a study's folder holds: valid records, one a trial, and what is broken."""

    records: tuple[Record, ...]
    broken: tuple[Broken, ...]

    def answers(self) -> dict[str, Record]:
        """{fingerprint: record} of the trials that need not run again."""
        return {record.fingerprint: record for record in self.records if record.status in ANSWERS}


@dataclass(frozen=True, kw_only=True)
class TrialStore:
    """One trial's folder."""

    place: Place
    name: str

    def attempts(self) -> list[int]:
        """Numbers of the attempts so far, ascending."""
        return sorted(int(found[1]) for name in self.place.folders() if (found := ATTEMPT.fullmatch(name)))

    def attempt(self, number: int) -> Place:
        """The folder of an attempt."""
        return self.place.inside(f"attempt-{number}")

    def begin(self) -> tuple[int, Ledger]:
        """The next attempt's number and its empty ledger."""
        number = max(self.attempts(), default=-1) + 1
        return number, Ledger(place=self.attempt(number))

    def rows(self) -> tuple[list[dict[str, Any]], list[Broken]]:
        """What all attempts reported, merged exactly once, and what of it is broken."""
        read = [read_attempt(self.attempt(number)) for number in self.attempts()]
        return merge(rows for rows, _ in read), [one for _, broken in read for one in broken]

    def read_state(self) -> bytes | None:
        """The last checkpoint whose digest holds, of the latest attempt that has one."""
        states = (read_state(self.attempt(number)) for number in reversed(self.attempts()))
        return next((state for state in states if state is not None), None)

    def drop_states(self) -> None:
        """Empties all checkpoints; a finished trial needs none, and a bucket may not let files be removed."""
        for number in self.attempts():
            place = self.attempt(number)
            for name in set(place.files()) & set(SLOTS):
                place.write(name, b"")

    def write_examples(self, attempt: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Captions and scores clip by clip; the bytes depend on the rows only."""
        lines = "".join(json.dumps(row, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        self.attempt(attempt).write(EXAMPLES, gzip.compress(lines.encode(), mtime=0))

    def write_adapter(self, attempt: int, files: Mapping[str, bytes]) -> None:
        """What was trained, as a folder of files."""
        place = self.attempt(attempt).inside(ADAPTER)
        for name, content in files.items():
            place.write(name, content)

    def drop_adapter(self) -> None:
        """Gives up the adapter: the record says so first, safely, so that no record names a file that is gone."""
        record = self.record()
        if record is not None and record.adapter is not None:
            self.place.replace(RECORD, (record_to_json(replace(record, adapter=None)) + "\n").encode())
            self.place.remove_folder(record.adapter)

    def write_record(self, record: Record) -> None:
        """Finishes the trial. What else belongs to the attempt must be written before."""
        previous = self.record()
        if previous is not None and previous.attempt != record.attempt:
            self.attempt(previous.attempt).write(RECORD, self.place.read(RECORD) or b"")
        self.place.write(RECORD, (record_to_json(record) + "\n").encode())

    def record_text(self) -> str | None:
        """The record as it stands, unchecked; None where the trial has none."""
        content = self.place.read(RECORD)
        return None if content is None else content.decode(errors="replace")

    def record(self) -> Record | None:
        """The record, None where there is none that is valid."""
        content = self.place.read(RECORD)
        return None if content is None else _valid(content)

    def newer_record(self, stale: int | None) -> Record | None:
        """The record, unless it is that of attempt `stale` or of an earlier one, which does not count."""
        record = self.record()
        return record if record is not None and (stale is None or record.attempt > stale) else None

    def examples(self, record: Record) -> list[dict[str, Any]]:
        """The rows of a record's attempt, empty where it has none; ValueError where they are broken."""
        content = self.attempt(record.attempt).read(EXAMPLES)
        if content is None:
            return []
        try:
            return clip_rows(content)
        except ValueError as error:
            raise ValueError(f"{self.name}/attempt-{record.attempt}/{EXAMPLES} is broken: {error}") from error

    def strangers(self) -> list[Broken]:
        """Files that no part of this layout wrote."""
        own = [name for name in self.place.files() if name != RECORD]
        for number in self.attempts():
            names = [name for name in self.attempt(number).files() if not OURS.fullmatch(name)]
            own += [f"attempt-{number}/{name}" for name in names]
        return [Broken(what=f"{self.place.url}/{name}", reason="no file of ours; ignored") for name in own]


@dataclass(frozen=True, kw_only=True)
class StudyStore:
    """One study in one version."""

    place: Place
    study: str
    version: str

    def trial(self, name: str) -> TrialStore:
        """The folder of a trial; it need not exist."""
        return TrialStore(place=self.place.inside(name), name=name)

    def trials(self) -> list[str]:
        """Names of the trials that have a folder; a name that starts with '_' or '.' is none."""
        return [name for name in self.place.folders() if name[0] not in "_."]

    def write_asked(self, asked: Mapping[str, Any]) -> None:
        """Keeps what the study asks: question, axes, objectives, trials; a kill leaves this or what was there."""
        self.place.replace(ASKED, (json.dumps(asked, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())

    def asked(self) -> dict[str, Any] | None:
        """What the study asks; None where that was not kept or does not read."""
        content = self.place.read(ASKED)
        try:
            plain = None if content is None else json.loads(content)
        except (ValueError, RecursionError):
            return None
        return plain if isinstance(plain, dict) else None

    def record_texts(self) -> list[tuple[str, str]]:
        """(trial, record text) of every trial that has a record, unchecked, by name."""
        texts = [(name, self.trial(name).record_text()) for name in self.trials()]
        return [(name, text) for name, text in texts if text is not None]

    def read(self) -> Stored:
        """All valid records; a broken or misplaced one is reported and does not exist for anyone."""
        records: list[Record] = []
        broken: list[Broken] = []
        for name, text in self.record_texts():
            try:
                record = record_from_json(text)
                if (record.study, record.version, record.trial) != (self.study, self.version, name):
                    raise ValueError(f"it is the record of {record.study}/{record.version}/{record.trial}")
                records.append(record)
            except (ValueError, TypeError, KeyError) as error:
                broken.append(Broken(what=f"{self.place.url}/{name}/{RECORD}", reason=str(error)))
        return Stored(records=tuple(records), broken=tuple(broken))

    def check(self) -> list[Broken]:
        """Everything that is broken or foreign in this study's folder."""
        trials = [self.trial(name) for name in self.trials()]
        ledgers = [one for trial in trials for one in (*trial.rows()[1], *trial.strangers())]
        return [*self.read().broken, *ledgers, *self._broken_examples()]

    def _broken_examples(self) -> Iterable[Broken]:
        for record in self.read().records:
            try:
                self.trial(record.trial).examples(record)
            except ValueError as error:
                yield Broken(what=f"{self.place.url}/{record.trial}", reason=str(error))


def study_store(storage: str, study: str, version: str) -> StudyStore:
    """The folder of a study in a storage; it need not exist."""
    place = open_place(storage).inside(study).inside(version)
    return StudyStore(place=place, study=study, version=version)


def find_study(where: str, version: str | None = None) -> StudyStore:
    """The study at STORAGE/STUDY or STORAGE/STUDY/VERSION. ValueError where there is none, or several versions."""
    place = open_place(where)
    address, _, _ = place.url.partition("?")
    folders = place.folders()
    if ASKED in place.files():
        *_, study, own = address.rstrip("/").split("/")
        if version not in (None, own):
            raise ValueError(f"{where!r} is version {own!r}, not {version!r}")
        return StudyStore(place=place, study=study, version=own)
    versions = [name for name in folders if ASKED in place.inside(name).files()]
    if version is None and len(versions) > 1:
        raise ValueError(f"{where!r} holds the versions {versions}; say which with --version")
    if not versions or version not in (None, *versions):
        wanted = f" in version {version!r}" if version else ""
        raise ValueError(f"{where!r} holds no study{wanted}; give STORAGE/STUDY as a study printed it")
    own = version or versions[0]
    return StudyStore(place=place.inside(own), study=address.rstrip("/").rsplit("/", 1)[-1], version=own)


def _valid(content: bytes) -> Record | None:
    try:
        return record_from_json(content.decode(errors="replace"))
    except (ValueError, TypeError, KeyError):
        return None
