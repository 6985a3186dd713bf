"""What one trial gave: the contract between running (`vqlora`) and analysing (`analysis`).

A Record says what was asked, what happened and with what. Missing is None, failure is a Status. Standard
library only. `vqlora.store` writes and reads it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, cast

from vqlora.from_json import build

SCHEMA = 1
NAME = re.compile(r"[A-Za-z0-9-][A-Za-z0-9._-]*")  # of studies, versions and trials: they become folders
ADAPTER = re.compile(r"attempt-\d+/adapter(\.safetensors)?")  # where a trial's adapter lies, below its own folder


class Status(StrEnum):
    """How a trial ended.

    DONE: all its steps and both evaluations. STOPPED: by a scheduler; censored, never in a fit.
    OUT_OF_MEMORY: a finding, not an accident. FAILED: anything else, with the error.
    """

    DONE = "done"
    STOPPED = "stopped"
    OUT_OF_MEMORY = "out_of_memory"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a trial cost. None = not measured. `how` says for each field how it was measured.

    Peaks: on a GPU the allocator's peak (reserved: with what it holds back; process: as the driver sees the GPU), on a
    CPU counted from tensors (weights, optimizer, gradients, saved activations).
    latency: one clip, frames decoded, to the last generated token. FLOPs: one multiply-add = 2;
    `train_flops` is the whole training, `infer_flops` one clip. selection_seconds: choosing all
    clips' frames. planned_*: what `vqlora.planner` predicted, on a GPU.
    """

    train_seconds: float | None = None
    step_seconds: float | None = None
    train_peak_gib: float | None = None
    train_reserved_gib: float | None = None
    train_process_gib: float | None = None
    infer_peak_gib: float | None = None
    latency_ms: float | None = None
    latency_p90_ms: float | None = None
    train_flops: float | None = None
    infer_flops: float | None = None
    trainable_params: int | None = None
    adapter_bytes: int | None = None
    base_bytes: int | None = None
    device_seconds: float | None = None
    selection_seconds: float | None = None
    planned_train_peak_gib: float | None = None
    planned_device_seconds: float | None = None
    planned_latency_ms: float | None = None
    how: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """With what a trial ran. dirty: the working tree differed from `commit`. memory_cap_gib: of its GPU's memory.

    data_digest: of ids and texts; clips_digest: of the video files, None in records that are older than it.
    """

    commit: str | None
    dirty: bool | None
    versions: Mapping[str, str]
    device: str
    platform: str
    data_digest: str | None = None
    clips_digest: str | None = None
    base_digest: str | None = None
    decoder: str | None = None
    executor: str | None = None
    memory_cap_gib: float | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """One trial. `metrics` = {'val': {...}, 'test': {...}}: choosing reads val only.

    point: the study's axes as scalars, a row of the result table as it stands. curve: rows with at least `step`
    and `loss` (training) or `val.*`. model: per role, layers quantised and adapted as found after building.
    skipped: clips left out, each {'id', 'reason'}. started_at/ended_at: UTC, ISO 8601. probe: what `vqlora.probe`
    measured of the base, empty in trials that were not asked for it.
    """

    study: str
    version: str
    trial: str
    point: Mapping[str, Any]
    seed: int
    recipe: Mapping[str, Any]
    fingerprint: str
    status: Status
    provenance: Provenance
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    cost: Cost = field(default_factory=Cost)
    curve: Sequence[Mapping[str, Any]] = ()
    model: Mapping[str, Any] = field(default_factory=dict[str, Any])
    skipped: Sequence[Mapping[str, str]] = ()
    error: str | None = None
    attempt: int = 0
    started_at: str | None = None
    ended_at: str | None = None
    adapter: str | None = None
    probe: Mapping[str, Any] = field(default_factory=dict[str, Any])
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"record schema {self.schema} is not {SCHEMA}; read it with the version that wrote it")
        for name in (self.study, self.version, self.trial):
            if not NAME.fullmatch(name):
                raise ValueError(f"record names {name!r}, but names files; use letters, digits, '.', '_' and '-'")
        if self.adapter is not None and not ADAPTER.fullmatch(self.adapter):
            raise ValueError(f"adapter {self.adapter!r} of {self.trial} lies elsewhere; expected attempt-K/adapter")
        unknown = set(self.metrics) - {"val", "test"}
        if unknown:
            raise ValueError(f"metrics of split {sorted(unknown)[0]!r}; a record holds 'val' and 'test'")
        if self.status is Status.DONE and "test" not in self.metrics:
            raise ValueError(
                f"trial {self.trial} is done without a test score; a finished trial is scored once on test"
            )
        if self.status in (Status.FAILED, Status.OUT_OF_MEMORY) and not self.error:
            raise ValueError(f"trial {self.trial} is {self.status} without an error text")


def record_to_json(record: Record) -> str:
    """One line of JSON ending in the digest of the rest; NaN and infinity are refused."""
    plain = asdict(record)
    _refuse_non_finite(plain, record.trial)
    body = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return json.dumps(
        {"record": plain, "sha256": hashlib.sha256(body.encode()).hexdigest()}, sort_keys=True, allow_nan=False
    )


def record_from_json(text: str) -> Record:
    """The inverse of `record_to_json`. ValueError if the digest, the schema or a field is not as it should be."""
    try:
        outer: Any = json.loads(text)
        plain, digest = outer["record"], outer["sha256"]
        body = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a record: {error or 'nested too deeply'}") from error
    if hashlib.sha256(body.encode()).hexdigest() != digest:
        raise ValueError("not a record: the digest does not match its content; copy it again from where it was written")
    schema = cast("dict[str, Any]", plain).get("schema") if isinstance(plain, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"record schema {schema} is not {SCHEMA}; read it with the version that wrote it")
    return build(Record, plain, "record")


def _refuse_non_finite(value: Any, trial: str, path: str = "") -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"trial {trial}: {path.lstrip('.')} is {value}; a missing number is None")
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[str, Any]", value).items():
            _refuse_non_finite(item, trial, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(cast("Sequence[Any]", value)):
            _refuse_non_finite(item, trial, f"{path}[{index}]")
