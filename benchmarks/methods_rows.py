"""One row of `benchmarks/methods.py`: a method at its bits on so many frames, trained four steps and asked a caption.

Everything goes through the trial's own Trainer and probes; only the clips are noise, so that no decoder takes part.
"""

from __future__ import annotations

import gc
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vqlora.adapters import Adapted, attach
from vqlora.cost import PROBE_STEPS, StepProbe, is_out_of_memory, measure_inference
from vqlora.data.example import Clip, Example
from vqlora.evaluation import answer
from vqlora.inputs import Inputs
from vqlora.models.load import Loaded
from vqlora.planner import CAPTION, plan
from vqlora.recipe import Bits, Bottleneck, Frames, FullFineTune, Ia3, Lora, Method, Prefix, Recipe, Schedule, ZeroShot
from vqlora.states import StateMemory
from vqlora.training import Trainer
from vqlora.video.frames import ClipFrames, FrameStore

METHODS: dict[str, Method] = {
    "zero_shot": ZeroShot(),
    "lora": Lora(rank={"text": 16}),
    "dora": Lora(rank={"text": 16}, variant="dora"),
    "prefix": Prefix(tokens=16),
    "bottleneck": Bottleneck(width={"text": 64}),
    "ia3": Ia3(),
    "projector": FullFineTune(roles=("cross_modal",)),
    "full": FullFineTune(update="stochastic"),
}
LATENCY_CLIPS, NEW_TOKENS = 3, 32
PEAK_FLOPS = {"H100": 9.89e14, "H200": 9.89e14, "A100": 3.12e14}  # dense bf16, of the makers' data sheets


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is asked of a row. cap_gib: of GPU memory, as on a smaller card."""

    method: str
    bits: str
    frames: int
    batch: int = 1
    checkpointing: bool = True
    optimizer: str | None = None
    cap_gib: float | None = None
    peer: bool = False

    def recipe(self, base: str, size: int) -> Recipe:
        """As a fine-tune."""
        schedule = Schedule(
            steps=PROBE_STEPS,
            batch_size=self.batch,
            learning_rate=1e-5,
            checkpointing=self.checkpointing,
            optimizer=self.optimizer,
        )
        return Recipe(
            base=base,
            data="shapes:tiny",  # never opened: the clips are noise
            method=METHODS[self.method],
            bits=Bits.preset(self.bits),
            frames=Frames(budget=self.frames, size=size),
            schedule=schedule,
            max_new_tokens=NEW_TOKENS,
        )


class Noise(FrameStore):
    """Clips of noise, one frame a second."""

    def __init__(self, frames: Frames) -> None:
        super().__init__(Path(), frames)  # a cache that nothing is read from

    def get(self, clip: Clip, query: str | None = None) -> ClipFrames:
        count, size = self.frames.budget, self.frames.size
        generator = np.random.default_rng(int(clip.path))
        return ClipFrames(
            frames=generator.integers(0, 256, (count, size, size, 3), dtype=np.uint8),
            times_seconds=tuple(map(float, range(count))),
            indices=tuple(range(count)),
            decoder="noise",
            digest=f"{clip.path} {count} {size}",
        )


def measure(row: Row, recipe: Recipe, loaded: Loaded, *, limit_seconds: int) -> dict[str, Any]:
    """The row's figures, None where there is none to have; status 'done', 'out_of_memory' or 'too_slow'."""
    device = loaded.device
    planned = plan(recipe, device=device.type)
    found: dict[str, Any] = {
        "planned_peak_gib": planned.peak_gib if planned.trainable_params else None,
        "trainable_params": planned.trainable_params,
        "clip_tokens": planned.clip_tokens,
    }
    _free(device)
    adapted = None
    try:
        with _limit(limit_seconds):
            adapted = attach(loaded, recipe.method, seed=0)
            found |= _measured(row, recipe, adapted)
        return {**found, "status": "done"}
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return {**found, "status": "out_of_memory"}
    except TimeoutError:
        return {**found, "status": "too_slow"}
    finally:
        if adapted is not None and adapted.is_removable:
            adapted.remove()
        del adapted
        _free(device)


def _measured(row: Row, recipe: Recipe, adapted: Adapted) -> dict[str, Any]:
    device = adapted.loaded.device
    inputs = Inputs(adapted=adapted, store=Noise(recipe.frames), memory=StateMemory(), language="en")
    examples = [
        Example(id=str(number), clips=(Clip(path=str(number)),), references={"en": (CAPTION,)})
        for number in range(max(row.batch, LATENCY_CLIPS))
    ]
    found: dict[str, Any] = {}
    if adapted.parameters:
        found |= _trained(row, recipe, inputs, examples)
        _free(device)
    one = replace(inputs, memory=StateMemory())

    def ask(place: int) -> None:
        answer(one, [examples[place]], max_new_tokens=NEW_TOKENS, fresh=True)

    costs = measure_inference(ask, LATENCY_CLIPS, adapted.model, device)
    state = sum(parameter.numel() * parameter.element_size() for parameter in adapted.parameters.values())
    return {
        **found,
        "infer_peak_gib": costs["infer_peak_gib"],
        "latency_ms": costs["latency_ms"],
        "infer_flops": costs["infer_flops"],
        "adapter_bytes": state,
    }


def _trained(row: Row, recipe: Recipe, inputs: Inputs, examples: list[Example]) -> dict[str, Any]:
    """Four steps: peaks of all of them, seconds of the last three."""
    adapted = inputs.adapted
    device = adapted.loaded.device
    probe = StepProbe(adapted.model, device)
    chosen = examples[: row.batch]
    trainer = Trainer(adapted=adapted, inputs=inputs, examples=chosen, schedule=recipe.schedule, seed=0, probe=probe)
    losses = [trainer.step() for _ in range(PROBE_STEPS)]
    costs = probe.costs(1)
    tokens = inputs.tokens(chosen, [0] * row.batch)["input_ids"].numel()
    seconds, flops = costs["step_seconds"], costs["train_flops"]
    return {
        "train_peak_gib": costs["train_peak_gib"],
        "reserved_peak_gib": costs["train_reserved_gib"],
        "process_peak_gib": costs["train_process_gib"],
        "step_seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "step_flops": flops,
        "utilisation": share_of_peak(flops / seconds, device),
        "losses": losses,
    }


def share_of_peak(flops_per_second: float, device: torch.device) -> float | None:
    """Of the device's dense bf16 products; None for a device that PEAK_FLOPS does not know."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    peak = next((value for part, value in PEAK_FLOPS.items() if part in name), None)
    return None if peak is None else flops_per_second / peak


def _free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


@contextmanager
def _limit(seconds: int) -> Iterator[None]:
    """TimeoutError after so many seconds, at the next Python instruction."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
