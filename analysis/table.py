"""Records -> one checked table: the only reader of files here.

`read(where)` takes a study's folder in a storage or a committed records file and gives Evidence: the records that
count, each trial once, their per-clip scores, and everything that was left out with its reason. `evidence` writes it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.counting import MEANS, LeftOut, agreeing, once, unfinished
from analysis.order import in_order
from vqlora.annotations import read_json
from vqlora.clip_rows import clip_rows
from vqlora.record import Cost, Record, Status, record_from_json
from vqlora.store import find_study
from vqlora.strips import GALLERY

OWN_COLUMNS = ("trial", "config", "method", "seed", "status", "device", "skipped", "error")
COST_COLUMNS = tuple(f"cost.{one.name}" for one in fields(Cost) if one.name != "how")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the study asked for: `study.json` beside the trials. Empty where that was not kept."""

    question: str = ""
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    objectives: tuple[tuple[str, str], ...] = ()
    trials: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A study as read. records: each asked experiment once; examples: {trial: rows of examples.jsonl}.

    gallery: strips of frames as JPEG, see `vqlora.strips`.
    """

    study: str
    version: str
    asked: Asked
    records: tuple[Record, ...]
    examples: Mapping[str, Sequence[Mapping[str, Any]]]
    left_out: tuple[LeftOut, ...]
    gallery: Mapping[str, bytes] = field(default_factory=dict[str, bytes])

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a trial, by point and seed: OWN_COLUMNS, the axes, val.*, test.*, cost.*; missing numbers are NaN."""
        levels = {axis: in_order(one.point.get(axis) for one in self.records) for axis in self.axes}
        places = [[values.index(one.point.get(axis)) for axis, values in levels.items()] for one in self.records]
        keys = [(place, record.seed) for place, record in zip(places, self.records, strict=True)]
        order = sorted(range(len(keys)), key=lambda index: keys[index])
        return table([self.records[index] for index in order], axes=self.axes)

    @property
    def done(self) -> pd.DataFrame:
        """The rows that may enter a fit, a comparison or a frontier."""
        return self.frame.query("status == @Status.DONE.value").reset_index(drop=True)

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """The axes in the study's order, then any others by name."""
        found = sorted({axis for record in self.records for axis in record.point})
        return (*(axis for axis in self.asked.axes if axis in found), *(a for a in found if a not in self.asked.axes))

    @property
    def asked_count(self) -> int:
        """How many trials were asked for; the number of records where the study did not keep its list."""
        return len(self.asked.trials) or len(self.records)

    def count(self, status: Status) -> int:
        """How many trials ended so."""
        return sum(record.status is status for record in self.records)

    def scores(self, *, split: str, metric: str) -> dict[str, dict[str, float]]:
        """{trial: {clip: score}} of the trials that are done; a trial without such scores is absent.

        Only for MEANS, whose split score is the mean over clips (CIDEr with its document frequencies frozen by the
        scorer). BLEU is not one, so it has no per-clip scores here and no interval.
        """
        done = {record.trial for record in self.records if record.status is Status.DONE}
        found: dict[str, dict[str, float]] = {}
        for trial in sorted(done & set(self.examples) if metric in MEANS else ()):
            rows = [row for row in self.examples[trial] if row["split"] == split and metric in row["scores"]]
            if rows:
                found[trial] = {str(row["id"]): float(row["scores"][metric]) for row in rows}
        return found


def read(where: str, *, version: str | None = None) -> Evidence:
    """The evidence at STORAGE/STUDY, STORAGE/STUDY/VERSION or NAME.jsonl; ValueError where there is none."""
    return _read_committed(Path(where)) if where.endswith(".jsonl") else _read_stored(where, version)


def collect(
    records: Sequence[Record],
    examples: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    asked: Asked,
    broken: Sequence[LeftOut] = (),
    gallery: Mapping[str, bytes] | None = None,
) -> Evidence:
    """Valid records -> Evidence; ValueError for none at all and for records of more than one study."""
    if not records:
        raise ValueError("no valid record" + (f"; {len(broken)} broken, first: {broken[0].reason}" if broken else ""))
    studies = sorted({(record.study, record.version) for record in records})
    if len(studies) > 1:
        raise ValueError(f"records of the studies {studies} are mixed; a report is about one study in one version")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", studies[0][0]):
        raise ValueError(f"study {studies[0][0]!r} names files; use letters, digits, '.', '_' and '-'")
    kept, repeated = once(records)
    own, disagreeing = agreeing(kept, examples)
    missing = sorted(set(asked.trials) - {record.trial for record in records})
    left_out = [
        *broken,
        *repeated,
        *disagreeing,
        *(unfinished(record) for record in kept if record.status is not Status.DONE),
    ]
    left_out += [LeftOut(what=trial, reason="asked for, no record yet") for trial in missing]
    return Evidence(
        study=studies[0][0],
        version=studies[0][1],
        asked=asked,
        records=kept,
        examples=own,
        left_out=tuple(left_out),
        gallery=gallery or {},
    )


def table(records: Sequence[Record], *, axes: Sequence[str]) -> pd.DataFrame:
    """One row a record with checked columns; ValueError for an axis that is not a scalar or takes a column's name."""
    metrics = sorted({f"{split}.{name}" for record in records for split, row in record.metrics.items() for name in row})
    taken = [axis for axis in axes if axis in OWN_COLUMNS or axis in metrics or axis in COST_COLUMNS]
    if taken:
        raise ValueError(f"axis {taken[0]!r} is the name of a column of every table; rename the axis")
    rows = [_row(record, axes, metrics) for record in records]
    frame = pd.DataFrame(rows, columns=[*OWN_COLUMNS, *axes, *metrics, *COST_COLUMNS])
    numbers = [*metrics, *COST_COLUMNS]
    return frame.astype(dict.fromkeys(numbers, np.float64))


def config_name(point: Mapping[str, Any], axes: Sequence[str]) -> str:
    """A point in words, such as 'rank 8, bits 4'; equal for the seeds of one configuration."""
    return ", ".join(f"{axis} {point[axis]}" for axis in axes if axis in point)


def _row(record: Record, axes: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    scalars = (str, int, float, bool, type(None))
    odd = [axis for axis, value in record.point.items() if not isinstance(value, scalars)]
    if odd:
        raise ValueError(f"trial {record.trial}: axis {odd[0]!r} holds {record.point[odd[0]]!r}; axes hold scalars")
    method = record.recipe.get("method") or {}
    row: dict[str, Any] = {
        "trial": record.trial,
        "config": config_name(record.point, axes),
        "method": method.get("kind"),
        "seed": record.seed,
        "status": record.status.value,
        "device": record.provenance.device,
        "skipped": len(record.skipped),
        "error": record.error,
    }
    row |= {axis: record.point.get(axis) for axis in axes}
    for name in metrics:
        split, metric = name.split(".", 1)
        row[name] = record.metrics.get(split, {}).get(metric)
    return row | {column: getattr(record.cost, column.removeprefix("cost.")) for column in COST_COLUMNS}


def _read_stored(where: str, version: str | None) -> Evidence:
    store = find_study(where, version)
    stored = store.read()
    home = store.place.url + "/"
    broken = [LeftOut(what=one.what.removeprefix(home), reason=one.reason) for one in stored.broken]
    examples: dict[str, list[dict[str, Any]]] = {}
    for record in stored.records:
        try:
            examples[record.trial] = store.trial(record.trial).examples(record)
        except ValueError as error:
            broken.append(LeftOut(what=f"per-clip scores of {record.trial}", reason=str(error)))
    try:
        asked, strips = asked_from_json(store.asked() or {}), store.place.inside(GALLERY)
        gallery = _strips({name: strips.read(name) for name in strips.files()})
        return collect(stored.records, examples, asked=asked, broken=broken, gallery=gallery)
    except ValueError as error:
        raise ValueError(f"{where!r}: {error}") from error


def _read_committed(path: Path) -> Evidence:
    if not path.is_file():
        raise ValueError(f"records file {str(path)!r} does not exist; give NAME.jsonl or STORAGE/STUDY")
    records: list[Record] = []
    broken: list[LeftOut] = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        try:
            records.append(record_from_json(line))
        except (ValueError, TypeError, KeyError) as error:
            broken.append(LeftOut(what=f"line {number}", reason=f"not a valid record: {error}"))
    plain = path.with_suffix(".study.json")
    try:
        asked = asked_from_json(read_json(plain).mapping() if plain.is_file() else {})
        examples = _examples(path.with_suffix(".examples.jsonl.gz"))
        gallery = _strips({one.name: one.read_bytes() for one in sorted(path.with_suffix(".gallery").glob("*.jpg"))})
        return collect(records, examples, asked=asked, broken=broken, gallery=gallery)
    except ValueError as error:
        raise ValueError(f"{str(path)!r}: {error}") from error


def _examples(path: Path) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    if path.is_file():
        for row in clip_rows(path.read_bytes()):
            found.setdefault(str(row.pop("trial", "")), []).append(row)
    return found


def _strips(files: Mapping[str, bytes | None]) -> dict[str, bytes]:
    """Those that are JPEG pictures; what else lies there is not shown."""
    return {name: content for name, content in sorted(files.items()) if content and content.startswith(b"\xff\xd8\xff")}


def asked_from_json(plain: Mapping[str, Any]) -> Asked:
    """A study.json: question, axes {name: values}, objectives [{metric, direction}], trials [{trial, ...}]."""
    try:
        return _asked(plain)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"study.json is not as a study writes it ({error}); copy it again or remove it") from error


def _asked(plain: Mapping[str, Any]) -> Asked:
    objectives = tuple((str(one["metric"]), str(one["direction"])) for one in plain.get("objectives") or ())
    for metric, direction in objectives:
        if not re.fullmatch(r"(val|cost)\.\w+", metric) or direction not in ("max", "min"):
            raise ValueError(f"objective {metric!r} {direction!r}: use val.NAME or cost.NAME with 'max' or 'min'")
    return Asked(
        question=str(plain.get("question") or ""),
        axes={str(name): tuple(values) for name, values in (plain.get("axes") or {}).items()},
        objectives=objectives,
        trials=tuple(str(one["trial"]) for one in plain.get("trials") or ()),
    )
