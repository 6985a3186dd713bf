"""One trial from top to bottom, without ray: data, base, adapter, steps, validation, test, cost.

`vqlora.launch` gives it a `Progress` and turns the Outcome into a Record.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import torch

from vqlora.adapters import Adapted, attach, check_method
from vqlora.adapters.adapted import check_start
from vqlora.cost import StepProbe, held_by_others, how, is_out_of_memory, measure_inference
from vqlora.data.example import Example
from vqlora.endings import Interrupted, Stopped
from vqlora.evaluation import Alone, Asked, Evaluation, answer, evaluate
from vqlora.inputs import Inputs, precision
from vqlora.models.bits import bits_by_role
from vqlora.models.families import family_of
from vqlora.models.load import check_checkpoint, model_type_of
from vqlora.probe import asked_probe
from vqlora.recipe import Recipe, ZeroShot
from vqlora.record import Cost, Status
from vqlora.sharding import gathered
from vqlora.training import Trainer, batch_order, evaluation_steps, paired, world
from vqlora.warm import Data, Warm

PASSED_BATCHES = 2


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
    probe: Mapping[str, Any] = field(default_factory=dict)
    adapter_state: bytes | None = None
    data_digest: str | None = None
    clips_digest: str | None = None
    base_digest: str | None = None
    decoder: str | None = None
    error: str | None = None


def check_recipe(recipe: Recipe) -> None:
    """ValueError if the recipe's base is unknown or incomplete, or lacks a role that its bits or method name.

    Takes no device.
    """
    model_type = model_type_of(recipe.base)
    family_of(model_type).check_can(recipe.task)
    check_checkpoint(recipe.base)
    bits_by_role(recipe.bits, model_type)
    check_method(recipe.method, recipe.bits, model_type=model_type, base=recipe.base)


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
    from vqlora.retrieval import trial_of  # it is made of this file's Trial

    began = time.perf_counter()
    warm = warm or Warm()
    check_recipe(recipe)
    check_start(recipe.start, start)
    data = warm.data(recipe, device)
    target = torch.device(device)
    try:
        loaded = warm.base(recipe, device)
        held = held_by_others(loaded.model, target)
        with torch.random.fork_rng(devices=[target] if target.type == "cuda" else []):
            torch.manual_seed(recipe.seed)
            bare = Adapted(loaded=loaded, method=ZeroShot(), parameters={})
            inputs = Inputs(adapted=bare, store=data.store, memory=warm.states(loaded), language=recipe.language)
            look = None if start is not None else partial(pass_clips, inputs, data, recipe)
            adapted = attach(loaded, recipe.method, seed=recipe.seed, run=look)
            try:
                if start is not None:
                    adapted.load_bytes(start)
                inputs = replace(inputs, adapted=adapted)
                trial = trial_of(recipe.task)(
                    recipe, data, inputs, progress or Silent(), held_by_others=held, start=began
                )
                return trial.run()
            finally:
                if adapted.is_removable:
                    adapted.remove()
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        warm.forget_bases()  # one may hold half an adapter, and the next trial needs the room
        return out_of_memory(error, data, began)


@torch.no_grad()
def pass_clips(inputs: Inputs, data: Data, recipe: Recipe) -> None:
    """Runs the first training batches through the base, for methods that take their initial values from them."""
    loaded, examples = inputs.adapted.loaded, data.splits["train"]
    for step in range(PASSED_BATCHES):
        batch = batch_order(len(examples), recipe.schedule.batch_size, recipe.seed, step)
        pairs = paired(examples, batch, recipe.language)
        shown = [example for example, _ in pairs]
        tokens = inputs.tokens(shown, [reference for _, reference in pairs])
        with loaded.fast(), precision(loaded.device):
            loaded.family.loss(loaded.model, tokens, inputs.states(shown))


def out_of_memory(error: BaseException, data: Data, start: float) -> Outcome:
    """The outcome of a trial that began at `start` (perf_counter) and did not fit."""
    return Outcome(
        status=Status.OUT_OF_MEMORY,
        error=f"{type(error).__name__}: {error}",
        data_digest=data.digest,
        clips_digest=data.clips_digest,
        skipped=data.skipped,
        cost=Cost(device_seconds=(time.perf_counter() - start) * world()[1]),
    )


class Trains(Protocol):
    """A trial's steps: its own `Trainer`, or a place in a pack."""

    step_number: int

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        ...

    def step(self) -> float:
        """One optimisation step; its loss."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything the next step depends on."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where `state` was taken."""
        ...


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
        schedule, trainer = self.recipe.schedule, self._trainer()
        saved = self.progress.restore()
        if saved is not None:
            trainer.restore(saved)
            self.curve = list(saved["curve"])
        marks, kept = evaluation_steps(schedule), trainer.step_number if saved else None
        while True:
            if trainer.step_number in marks:
                if trainer.step_number != kept:  # Ray deletes both if one checkpoint is given to it twice
                    self._save(trainer)
                self._validate(trainer.step_number)
            if trainer.step_number == schedule.steps:
                return
            loss = trainer.step()
            row = {"step": trainer.step_number, "loss": loss, "learning_rate": trainer.rate}
            self.curve.append(row)
            try:
                self.progress.report(row)
            except Interrupted:  # so that whoever goes on does so from here
                self._save(trainer)
                raise

    def _save(self, trainer: Trains) -> None:
        self.progress.save({**trainer.state(), "curve": list(self.curve)})

    def _trainer(self) -> Trains:
        return Trainer(
            adapted=self.adapted,
            inputs=self.inputs,
            examples=self.data.splits["train"],
            schedule=self.recipe.schedule,
            seed=self.recipe.seed,
            probe=self.probe,
        )

    def _asked(self) -> Asked:
        return Alone(self.inputs)

    def _step_cost(self) -> dict[str, Any]:
        return self.probe.costs(self.recipe.schedule.steps)

    def _validate(self, step: int) -> None:
        self.val = self._evaluate("val")
        row = {"step": step} | {f"val.{name}": value for name, value in self.val.metrics.items()}
        self.curve.append(row)
        self.progress.report(row)

    def _evaluate(self, split: str) -> Evaluation:
        examples = self.data.splits[split]
        tokens = self.recipe.max_new_tokens
        with gathered(self.adapted.model):
            return evaluate(self.inputs, examples, split=split, max_new_tokens=tokens, asked=self._asked())

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
            probe=asked_probe(self.recipe, self.inputs, self.data.splits["train"]) if test else {},
            adapter_state=state,
            data_digest=self.data.digest,
            clips_digest=self.data.clips_digest,
            base_digest=self.adapted.loaded.digest,
            decoder=self.inputs.stamp(self.data.splits["val"][0]).decoder,
        )

    def _cost(self, state: bytes | None, *, measure: bool) -> Cost:
        values: dict[str, Any] = {
            "trainable_params": sum(parameter.numel() for parameter in self.adapted.parameters.values()),
            "adapter_bytes": None if state is None else len(state),
            "base_bytes": sum(role["bytes"] for role in self.adapted.loaded.found.values()),
            "selection_seconds": self.data.store.selections.seconds(),
        }
        values |= self._step_cost() if self.adapted.parameters else {}
        values |= self._inference_cost() if measure else {}
        values["device_seconds"] = (time.perf_counter() - self.start) * world()[1]
        return Cost(**values, how=how(self.device, values))

    def _inference_cost(self) -> dict[str, Any]:
        return self._measure_inference(self.inputs, self.held_by_others)

    def _measure_inference(self, inputs: Inputs, held_by_others: int) -> dict[str, Any]:
        clips = self.data.splits["val"]

        def one(place: int) -> None:
            self._answer_once(inputs, clips[place])

        with gathered(inputs.adapted.model):
            return measure_inference(one, len(clips), inputs.adapted.model, self.device, held_by_others)

    def _answer_once(self, inputs: Inputs, example: Example) -> None:
        """What a user waits for, whose time is the latency."""
        answer(inputs, [example], max_new_tokens=self.recipe.max_new_tokens, fresh=True)
