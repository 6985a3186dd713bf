"""One trial from top to bottom, without ray: data, base, adapter, steps, validation, test, cost.

`vqlora.launch` gives it a `Progress` and turns the Outcome into a Record.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from vqlora.adapters import Adapted, attach
from vqlora.cost import StepProbe, how, measure_inference
from vqlora.evaluation import Evaluation, answer, evaluate
from vqlora.inputs import Inputs
from vqlora.models.bits import bits_by_role, model_bytes
from vqlora.models.load import check_checkpoint, model_type_of
from vqlora.models.roles import check_roles
from vqlora.recipe import FullFineTune, Lora, Recipe
from vqlora.record import Cost, Status
from vqlora.training import Trainer, evaluation_steps, world
from vqlora.warm import Data, Warm


class Stopped(Exception):
    """Raised by `Progress.report` to end a trial early; what it has so far becomes a STOPPED outcome."""


class Progress(Protocol):
    """How a trial talks to whoever runs it."""

    def report(self, row: dict[str, Any]) -> None:
        """A training row {'step', 'loss', 'learning_rate'} or a validation row {'step', 'val.cider', ...}."""

    def save(self, state: dict[str, Any]) -> None:
        """Keeps a state to go on from; tensors and plain values. Called before each validation."""

    def restore(self) -> dict[str, Any] | None:
        """The last saved state of this trial, or None."""


class Silent:
    """A Progress that keeps nothing."""

    def report(self, row: dict[str, Any]) -> None: ...

    def save(self, state: dict[str, Any]) -> None: ...

    def restore(self) -> dict[str, Any] | None:
        return None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What happened in a trial; `launch` adds what was asked.

    metrics: {'val': ..., 'test': ...}. examples: rows of both splits, see `evaluation`. model: layers found per role.
    adapter_state: the trained parameters as a safetensors file, None where nothing was trained.
    """

    status: Status
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    curve: Sequence[Mapping[str, Any]] = ()
    examples: Sequence[Mapping[str, Any]] = ()
    skipped: Sequence[Mapping[str, str]] = ()
    model: Mapping[str, Any] = field(default_factory=dict)
    adapter_state: bytes | None = None
    data_digest: str | None = None
    base_digest: str | None = None
    decoder: str | None = None
    error: str | None = None


def check_recipe(recipe: Recipe) -> None:
    """ValueError if the recipe's base is unknown or incomplete, or lacks a role that its bits or method name.

    Takes no device.
    """
    model_type = model_type_of(recipe.base)
    check_checkpoint(recipe.base)
    bits_by_role(recipe.bits, model_type)
    if isinstance(recipe.method, Lora):
        check_roles(model_type, [role for role, rank in recipe.method.rank.items() if rank], "Lora.rank")
    if isinstance(recipe.method, FullFineTune):
        check_roles(model_type, recipe.method.roles, "FullFineTune.roles")


def finetune(
    recipe: Recipe,
    *,
    device: str,
    progress: Progress | None = None,
    warm: Warm | None = None,
    start: bytes | None = None,
) -> Outcome:
    """Runs one trial on `device` ('cpu', 'cuda', 'cuda:1'). start: the adapter that `recipe.start` names.

    Running out of memory and being stopped are outcomes. Bad input raises ValueError; any other error passes through.
    """
    began = time.perf_counter()
    warm = warm or Warm()
    check_recipe(recipe)
    check_start(recipe, start)
    data = warm.data(recipe)
    target = torch.device(device)
    try:
        loaded = warm.base(recipe, device)
        held = torch.cuda.memory_allocated(target) - model_bytes(loaded.model) if target.type == "cuda" else 0
        with torch.random.fork_rng(devices=[target] if target.type == "cuda" else []):
            torch.manual_seed(recipe.seed)
            adapted = attach(loaded, recipe.method, seed=recipe.seed)
            try:
                if start is not None:
                    adapted.load_bytes(start)
                memory = warm.states(loaded)
                inputs = Inputs(adapted=adapted, store=data.store, memory=memory, language=recipe.language)
                trial = Trial(recipe, data, inputs, progress or Silent(), held_by_others=held, start=began)
                return trial.run()
            finally:
                if adapted.is_removable:
                    adapted.remove()
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        warm.forget_bases()  # one may hold half an adapter, and the next trial needs the room
        return Outcome(
            status=Status.OUT_OF_MEMORY,
            error=f"{type(error).__name__}: {error}",
            data_digest=data.digest,
            skipped=data.skipped,
            cost=Cost(device_seconds=(time.perf_counter() - began) * world()[1]),
        )


def check_start(recipe: Recipe, start: bytes | None) -> None:
    """ValueError unless `start` is the adapter that the recipe names, or both are absent."""
    digest = None if start is None else adapter_digest(start)
    if digest != recipe.start:
        raise ValueError(
            f"the recipe goes on from the adapter {recipe.start}, given is {digest}; give the one it names"
        )


def adapter_digest(content: bytes) -> str:
    """SHA-256 of an adapter's file, first 16 hex digits."""
    return hashlib.sha256(content).hexdigest()[:16]


def is_out_of_memory(error: BaseException) -> bool:
    """Of a GPU or of the host; torch's CPU allocator raises a plain RuntimeError."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator: " in str(error)


class Trial:
    """The steps of one trial on an adapted base. `run()` once."""

    def __init__(
        self, recipe: Recipe, data: Data, inputs: Inputs, progress: Progress, *, held_by_others: int, start: float
    ) -> None:
        self.recipe, self.data, self.inputs, self.progress, self.start = recipe, data, inputs, progress, start
        self.held_by_others = held_by_others
        self.adapted: Adapted = inputs.adapted
        self.device = self.adapted.loaded.device
        self.probe = StepProbe(self.adapted.model, self.device, held_by_others)
        self.curve: list[dict[str, Any]] = []
        self.val: Evaluation | None = None

    def run(self) -> Outcome:
        """Trains and validates as scheduled, then scores test once."""
        found = self.adapted.found()
        try:
            if self.adapted.parameters:
                self._train()
            else:
                self._validate(0)
        except Stopped:
            return self._outcome(Status.STOPPED, found, None)
        test = self._evaluate("test")
        return self._outcome(Status.DONE, found, test)

    def _train(self) -> None:
        schedule = self.recipe.schedule
        trainer = Trainer(
            adapted=self.adapted,
            inputs=self.inputs,
            examples=self.data.splits["train"],
            schedule=schedule,
            seed=self.recipe.seed,
            probe=self.probe,
        )
        saved = self.progress.restore()
        if saved is not None:
            trainer.restore(saved)
            self.curve = list(saved["curve"])
        marks = evaluation_steps(schedule)
        while True:
            if trainer.step_number in marks:
                self.progress.save({**trainer.state(), "curve": list(self.curve)})
                self._validate(trainer.step_number)
            if trainer.step_number == schedule.steps:
                return
            loss = trainer.step()
            row = {"step": trainer.step_number, "loss": loss, "learning_rate": trainer.optimizer.param_groups[0]["lr"]}
            self.curve.append(row)
            self.progress.report(row)

    def _validate(self, step: int) -> None:
        self.val = self._evaluate("val")
        row = {"step": step} | {f"val.{name}": value for name, value in self.val.metrics.items()}
        self.curve.append(row)
        self.progress.report(row)

    def _evaluate(self, split: str) -> Evaluation:
        examples = self.data.splits[split]
        return evaluate(self.inputs, examples, split=split, max_new_tokens=self.recipe.max_new_tokens)

    def _outcome(self, status: Status, found: Mapping[str, Any], test: Evaluation | None) -> Outcome:
        evaluations = {"val": self.val, "test": test}
        done = {split: evaluation for split, evaluation in evaluations.items() if evaluation is not None}
        state = self.adapted.to_bytes() if self.adapted.parameters else None
        cost = self._cost(state, measure=status is Status.DONE)
        return Outcome(
            status=status,
            metrics={split: evaluation.metrics for split, evaluation in done.items()},
            cost=cost,
            curve=self.curve,
            examples=[row for evaluation in done.values() for row in evaluation.rows],
            skipped=self.data.skipped,
            model=found,
            adapter_state=state,
            data_digest=self.data.digest,
            base_digest=self.adapted.loaded.digest,
            decoder=self.inputs.frames(self.data.splits["val"][0]).decoder,
        )

    def _cost(self, state: bytes | None, *, measure: bool) -> Cost:
        steps = self.recipe.schedule.steps
        trained = sum(parameter.numel() for parameter in self.adapted.parameters.values())
        adapter_bytes = None if state is None else len(state)
        values: dict[str, Any] = {
            "trainable_params": trained,
            "adapter_bytes": adapter_bytes,
            "base_bytes": sum(role["bytes"] for role in self.adapted.loaded.found.values()),
        }
        values |= self.probe.costs(steps) if self.adapted.parameters else {}
        values |= self._inference_cost() if measure else {}
        values["device_seconds"] = (time.perf_counter() - self.start) * world()[1]
        return Cost(**values, how=how(self.device, values))

    def _inference_cost(self) -> dict[str, Any]:
        clips = self.data.splits["val"]

        def one(place: int) -> None:
            answer(self.inputs, [clips[place]], max_new_tokens=self.recipe.max_new_tokens, fresh=True)

        return measure_inference(one, len(clips), self.adapted.model, self.device, self.held_by_others)
