"""One asked trial, from recipe to record: runs `vqlora.finetune` and keeps what it reports in the store.

Knows nothing of ray. An executor gives a `Channel` to whoever watches, and where to keep checkpoints. Importing this
file imports no torch; running does.
"""

from __future__ import annotations

import io
import json
import platform
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from vqlora.asked import Asked
from vqlora.endings import Interrupted
from vqlora.ledger import Ledger
from vqlora.record import Cost, Provenance, Record, Status, record_to_json
from vqlora.store import ADAPTER, START, StudyStore, TrialStore

if TYPE_CHECKING:
    from vqlora.finetune import Outcome
    from vqlora.packing.pack import Pack
    from vqlora.plan import Plan
    from vqlora.recipe import Recipe
    from vqlora.warm import Warm

NEWS_PER_TRIAL = 10  # training rows sent on to Tune; the ledger keeps all
NOWHERE = Provenance(commit=None, dirty=None, versions={}, device="none: never started", platform="")


class Channel(Protocol):
    """How a running trial reaches its study."""

    def send(self, row: Mapping[str, Any]) -> None:
        """Passes a row on. Raises `vqlora.endings.Stopped` if the scheduler stops the trial, or `Interrupted`."""

    def must_leave(self) -> bool:
        """Whether the study ends, so that the trial keeps its state and goes. Asked after every step: cheap."""
        return False

    def save(self, ledger: Ledger, step: int, state: bytes) -> None:
        """Keeps a checkpoint of the attempt whose ledger this is."""

    def restore(self, trial: TrialStore) -> bytes | None:
        """The last checkpoint kept for the trial."""


@dataclass(kw_only=True)
class Keeper:
    """The `Progress` of one attempt: every row into the ledger, news to the channel."""

    trial: TrialStore
    ledger: Ledger
    channel: Channel
    steps: int

    def report(self, row: dict[str, Any]) -> None:
        self.ledger.add(row)
        if is_validation(row):
            self.ledger.close_part()
        if self.channel.must_leave():
            raise Interrupted(f"{self.trial.name}: the study ends")
        if is_news(row, self.steps):
            self.channel.send(row)

    def save(self, state: dict[str, Any]) -> None:
        self.ledger.close_part()
        self.channel.save(self.ledger, int(state["step"]), state_to_bytes(state))

    def restore(self) -> dict[str, Any] | None:
        state = self.channel.restore(self.trial)
        return None if state is None else state_from_bytes(state)


def state_to_bytes(state: Mapping[str, Any]) -> bytes:
    """A trial's state, tensors and plain values, as one file."""
    import torch

    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    return buffer.getvalue()


def state_from_bytes(content: bytes) -> dict[str, Any]:
    """The inverse of `state_to_bytes`; loads tensors and plain values only, never code. ValueError where it is none."""
    import torch

    try:
        state = torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:  # a broken pickle may raise anything
        raise ValueError(f"a checkpoint does not read ({type(error).__name__}); start anew with --fresh") from error
    if not isinstance(state, dict):
        raise ValueError(f"a checkpoint holds a {type(state).__name__}, not a trial's state; start anew with --fresh")
    return state


def is_validation(row: Mapping[str, Any]) -> bool:
    """Whether a row holds validation scores."""
    return any(name.startswith("val.") for name in row)


def is_news(row: Mapping[str, Any], steps: int) -> bool:
    """Whether a row is sent on: every validation and a few training rows, the same ones on every worker."""
    return is_validation(row) or row["step"] % max(1, steps // NEWS_PER_TRIAL) == 0


def run_trial(
    asked: Asked,
    store: StudyStore,
    *,
    device: str,
    executor: str,
    channel: Channel,
    warm: Warm | None = None,
    start: bytes | None = None,
    pack_of: Callable[[Recipe], Pack] | None = None,
) -> Record:
    """Runs a trial and writes its record last. An error of the trial is its record, not an exception.

    On several workers it is raised: the trial's driver writes it down when Ray Train has tried often enough.

    start: the adapter that `recipe.start` names. pack_of: gives the pack that the trial shares its steps with.
    """
    from vqlora.adapters.export import adapter_files
    from vqlora.provenance import provenance

    trial = store.trial(asked.trial)
    number, ledger = trial.begin()
    started_at = now()
    where = provenance(device, executor=executor)
    _write_start(trial, number, where, started_at)
    keeper = Keeper(trial=trial, ledger=ledger, channel=channel, steps=asked.recipe.schedule.steps)
    plan, outcome = _ran(asked, keeper, device=device, warm=warm, start=start, pack_of=pack_of)
    ledger.close_part()
    if plan is not None:
        outcome = replace(outcome, cost=_with_plan(outcome, plan, asked))
    record = _record(asked, outcome, where, number, started_at)
    if outcome.examples and record.status is outcome.status:
        trial.write_examples(number, outcome.examples)
    if outcome.adapter_state and record.adapter:
        trial.write_adapter(number, adapter_files(outcome.adapter_state, record))
    trial.write_record(record)
    trial.drop_states()
    return record


def _ran(
    asked: Asked,
    keeper: Keeper,
    *,
    device: str,
    warm: Warm | None,
    start: bytes | None,
    pack_of: Callable[[Recipe], Pack] | None,
) -> tuple[Plan | None, Outcome]:
    """What was planned of the trial and what came of it; an error is an outcome, unless there are several workers."""
    from vqlora.finetune import Outcome, finetune
    from vqlora.packing.together import finetune_together
    from vqlora.training import world
    from vqlora.warm import Warm

    plan, ranks = None, world()[1]
    try:
        plan = _plan(asked, device)
        if pack_of is None:
            outcome = finetune(asked.recipe, device=device, progress=keeper, warm=warm, start=start)
        else:
            outcome = finetune_together(asked.recipe, pack_of, warm or Warm(), keeper, start)
    except Exception as error:  # any error of a trial is a finding of the study; the others go on
        if ranks > 1:  # it may be the death of another worker, after which Ray Train starts them all again
            raise
        text = f"{type(error).__name__}: {error}"
        if not isinstance(error, ValueError):
            text = traceback.format_exc().rstrip()
        text += f" (on node {platform.node()})"  # what one node lacks, such as the data, another may have
        outcome = Outcome(status=Status.FAILED, error=text)
    return plan, outcome


def close_trial(asked: Asked, store: StudyStore, *, status: Status, error: str | None, executor: str) -> Record:
    """Writes the record of a trial that ended without one: stopped from outside, or its process is gone."""
    trial = store.trial(asked.trial)
    number = max(trial.attempts(), default=0)
    start = _read_start(trial, number)
    record = Record(
        **asked.to_json(),
        status=status,
        provenance=Provenance(**start["provenance"]) if start else _nowhere(executor),
        curve=trial.rows()[0],
        error=error,
        attempt=number,
        started_at=start["started_at"] if start else None,
        ended_at=now(),
    )
    trial.write_record(record)
    return record


def values(record: Record) -> dict[str, Any]:
    """What choosing may see of a record: status, validation, cost. Never test."""
    row: dict[str, Any] = {"status": record.status.value, "trial": record.trial, "error": record.error}
    row |= {"step": record.curve[-1]["step"]} if record.curve else {}
    row |= {f"val.{name}": value for name, value in record.metrics.get("val", {}).items()}
    costs = {name: value for name, value in vars(record.cost).items() if name != "how"}
    return row | {f"cost.{name}": value for name, value in costs.items() if value is not None}


def now() -> str:
    """UTC, ISO 8601, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _record(asked: Asked, outcome: Outcome, where: Provenance, attempt: int, started_at: str) -> Record:
    names = ("data_digest", "clips_digest", "base_digest", "decoder")
    known = {name: getattr(outcome, name) for name in names}
    record = Record(
        **asked.to_json(),
        status=outcome.status,
        provenance=Provenance(**{**vars(where), **known}),
        metrics=outcome.metrics,
        cost=outcome.cost,
        curve=outcome.curve,
        model=outcome.model,
        probe=outcome.probe,
        skipped=outcome.skipped,
        error=outcome.error,
        attempt=attempt,
        started_at=started_at,
        ended_at=now(),
        adapter=f"attempt-{attempt}/{ADAPTER}" if outcome.adapter_state else None,
    )
    try:
        record_to_json(record)
    except ValueError as error:  # a loss or a score that is not a number
        return _record(asked, type(outcome)(status=Status.FAILED, error=str(error)), where, attempt, started_at)
    return record


def _plan(asked: Asked, device: str) -> Plan | None:
    """What the planner predicts before a trial on a GPU; on a CPU it would cost a tiny trial more than it tells."""
    from vqlora.planner import is_planned, plan

    return plan(asked.recipe, device=device) if device.startswith("cuda") and is_planned(asked.recipe.base) else None


def _with_plan(outcome: Outcome, plan: Plan, asked: Asked) -> Cost:
    """The measured cost with the predicted figures beside it; seconds where all clips were captioned."""
    is_whole = outcome.status is Status.DONE
    seen = Counter(row["split"] for row in outcome.examples)
    seconds = plan.device_seconds(asked.recipe, val=seen["val"], test=seen["test"]) if is_whole else None
    planned = {"planned_train_peak_gib": plan.peak_gib, "planned_latency_ms": plan.latency_ms(asked.recipe)}
    return replace(outcome.cost, planned_device_seconds=seconds, **planned)


def _write_start(trial: TrialStore, number: int, where: Provenance, started_at: str) -> None:
    plain = {"provenance": vars(where), "started_at": started_at}
    trial.attempt(number).write(START, json.dumps(plain, sort_keys=True).encode())


def _read_start(trial: TrialStore, number: int) -> dict[str, Any] | None:
    content = trial.attempt(number).read(START)
    try:
        return None if content is None else json.loads(content)
    except ValueError:
        return None


def _nowhere(executor: str) -> Provenance:
    return Provenance(**{**vars(NOWHERE), "executor": executor})
