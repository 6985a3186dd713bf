"""A trial that shares its steps: as `vqlora.finetune`, with a seat in a pack instead of a base of its own.

Costs are those of the trial alone, measured on the truly quantised base with nothing else attached: of a training step
once for all trials of equal shapes in the pack, of inference for each trial.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from vqlora.adapters import Adapted
from vqlora.adapters.adapted import check_start
from vqlora.cost import PROBE_STEPS, StepProbe, held_by_others, is_out_of_memory
from vqlora.data.example import Example
from vqlora.finetune import Outcome, Progress, Silent, Trial, check_recipe, out_of_memory
from vqlora.inputs import Inputs
from vqlora.optimizers import BETAS, EPSILON
from vqlora.packing.pack import Pack, Seat
from vqlora.recipe import Recipe, Schedule, to_json
from vqlora.training import Trainer, batch_order, learning_rate, paired
from vqlora.warm import Warm


def finetune_together(
    recipe: Recipe,
    pack_of: Callable[[Recipe], Pack],
    warm: Warm,
    progress: Progress | None = None,
    start: bytes | None = None,
) -> Outcome:
    """Runs one trial in the pack on its base, from a thread of its own. Outcomes and errors as of `finetune`."""
    began = time.perf_counter()
    check_recipe(recipe)
    check_start(recipe.start, start)
    data = warm.data(recipe)
    seat: Seat | None = None
    try:
        pack = pack_of(recipe)
        seat = pack.enter(recipe.method, seed=recipe.seed)
        memory = warm.states(pack.loaded)
        seat.inputs = Inputs(adapted=seat.adapted(), store=data.store, memory=memory, language=recipe.language)
        if start is not None:
            seat.quietly(partial(seat.inputs.adapted.load_bytes, start))
        return PackedTrial(recipe, data, seat.inputs, progress or Silent(), held_by_others=0, start=began).run()
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return out_of_memory(error, data, began)
    finally:
        if seat is not None:
            seat.leave()


class PackedTrial(Trial):
    """A trial whose steps, captions and losses come from its seat."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.seat: Seat = self.adapted.seat  # type: ignore[attr-defined]

    def _trainer(self) -> PackedTrainer:
        self._step_cost()  # before the first step, so that a trial that does not fit alone says so at once
        return PackedTrainer(self.seat, self.data.splits["train"], self.recipe.schedule, self.recipe.seed)

    def _asked(self) -> Seat:
        return self.seat

    def _step_cost(self) -> dict[str, Any]:
        recipe, known = self.recipe, self.seat.pack.costs
        shapes = [recipe.data, to_json(recipe.method), to_json(recipe.frames), recipe.schedule.batch_size]
        key = json.dumps([*shapes, recipe.language], sort_keys=True)
        if key not in known:
            known[key] = self.seat.alone(self._probe_steps)
        return known[key].costs(recipe.schedule.steps)

    def _probe_steps(self, adapted: Adapted) -> StepProbe:
        """Of the trial's first steps, which it takes again afterwards."""
        probe = StepProbe(adapted.model, self.device, held_by_others(adapted.model, self.device))
        trainer = Trainer(
            adapted=adapted,
            inputs=replace(self.inputs, adapted=adapted),
            examples=self.data.splits["train"],
            schedule=self.recipe.schedule,
            seed=self.recipe.seed,
            probe=probe,
        )
        for _ in range(min(PROBE_STEPS, self.recipe.schedule.steps)):
            trainer.step()
        return probe

    def _inference_cost(self) -> dict[str, Any]:
        def measure(adapted: Adapted) -> dict[str, Any]:
            return self._measure_inference(
                replace(self.inputs, adapted=adapted), held_by_others(adapted.model, self.device)
            )

        return self.seat.alone(measure)


class PackedTrainer:
    """Steps of one trial in a pack. Its states are those of `Trainer`: either goes on from the other's."""

    def __init__(self, seat: Seat, examples: Sequence[Example], schedule: Schedule, seed: int) -> None:
        self._seat, self._examples, self._schedule, self._seed = seat, examples, schedule, seed
        self.step_number, self.rate = 0, schedule.learning_rate

    def step(self) -> float:
        """One optimisation step; its loss as it was before the step."""
        schedule = self._schedule
        batch = batch_order(len(self._examples), schedule.batch_size, self._seed, self.step_number)
        self.rate = learning_rate(schedule, self.step_number)
        pairs = paired(self._examples, batch, self._seat.inputs.language)
        loss = self._seat.train(pairs, rate=self.rate, decay=schedule.weight_decay, clip=schedule.clip_norm)
        self.step_number += 1
        return loss

    def state(self) -> dict[str, Any]:
        """As `Trainer.state`."""
        return self._seat.quietly(self._state)

    def restore(self, state: Mapping[str, Any]) -> None:
        """As `Trainer.restore`."""
        self._seat.quietly(lambda: self._restore(state))

    def _state(self) -> dict[str, Any]:
        stack, number = self._seat.stack, self._seat.number
        weights = stack.views(number)
        moments = [list(stack.views(number, buffer).values()) for buffer in (stack.first, stack.second)]
        steps = torch.tensor(float(self._seat.slot.steps))
        state = {
            place: {"step": steps.clone(), "exp_avg": first.cpu().clone(), "exp_avg_sq": second.cpu().clone()}
            for place, (first, second) in enumerate(zip(*moments, strict=True))
        }
        optimizer = torch.optim.AdamW(
            [torch.nn.Parameter(view) for view in weights.values()],
            lr=self.rate,
            betas=BETAS,
            eps=EPSILON,
            weight_decay=self._schedule.weight_decay,
        )
        return {
            "step": self.step_number,
            "trained": {name: view.cpu().clone() for name, view in weights.items()},
            "optimizer": {"state": state, "param_groups": optimizer.state_dict()["param_groups"]},
            "rng": torch.get_rng_state(),
            "cuda_rng": None,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        stack, number = self._seat.stack, self._seat.number
        self._seat.inputs.adapted.load_state(state["trained"])
        kept = state["optimizer"]["state"]
        for buffer, name in ((stack.first, "exp_avg"), (stack.second, "exp_avg_sq")):
            for place, view in enumerate(stack.views(number, buffer).values()):
                view.copy_(kept[place][name])
        self._seat.slot.steps = int(kept[0]["step"])
        self.step_number = int(state["step"])
