"""One fine-tune of the check of the bases: frames drawn on the device, model and training those of every trial."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqlora.adapters import attach
from vqlora.cost import PROBE_STEPS, StepProbe
from vqlora.data.example import Clip, Example
from vqlora.data.shapes import FPS, draw_scene
from vqlora.data.shapes_render import draw, reel, subsample_chroma
from vqlora.data.shapes_text import content_scores, domain_references, truth
from vqlora.evaluation import answer
from vqlora.inputs import Inputs
from vqlora.metrics.captions import score_captions
from vqlora.models.architecture import build
from vqlora.models.load import Loaded, load
from vqlora.models.pretrain import save
from vqlora.models.probe import VIEWS as PROBED
from vqlora.models.probe import task_scores, uniform
from vqlora.models.tokenizer import build_tokenizer
from vqlora.recipe import Bits, Frames, FullFineTune, Lora, Method, Schedule, ZeroShot
from vqlora.states import StateMemory
from vqlora.training import Trainer
from vqlora.video.frames import Stamp

ROLES = ("text", "cross_modal")
VIEWS = ("true", "blank", "other", "shuffled")  # the clip's frames, black ones, another clip's, its own in disorder


@dataclass(frozen=True, kw_only=True)
class Run:
    """One fine-tune. method: 'zero', 'full' or 'rank N'; start: 'pretrained' or 'random' weights; view: of training."""

    family: str
    method: str
    rate: float
    seed: int = 0
    start: str = "pretrained"
    frames: int = 8
    view: str = "true"

    @property
    def name(self) -> str:
        return f"{self.family} {self.method} {self.start} {self.frames} frames {self.view}"


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much every run sees."""

    steps: int = 300
    batch: int = 64
    train: int = 4096
    val: int = 256
    test: int = 512


@dataclass(frozen=True)
class Film:
    """Stands where a trial has its FrameStore: frames are drawn on the device, so only their places are here."""

    frames: Frames

    def stamp(self, clip: Clip, query: str | None = None) -> Stamp:
        _, split, index = clip.path.split("/")
        scene = draw_scene(split, int(index))
        indices = tuple(uniform([scene], self.frames.budget)[0].tolist())
        times = tuple(index / FPS for index in indices)
        return Stamp(times_seconds=times, indices=indices, decoder="drawn", digest=clip.path)


def run(job: Run, *, size: Size, device: str) -> dict[str, Any]:
    """Trains and scores one run: validation CIDEr-D, and per view of the test frames CIDEr-D and content per clip.

    The base as it is ('zero') also answers every task of pretraining: `tasks`, by view.
    """
    bench = _bench(job.family, job.start, device)
    frames = Frames(budget=job.frames)
    memory = StateMemory()
    with torch.random.fork_rng(devices=[0] if device == "cuda" else []):
        adapted = attach(bench, _method(job), seed=job.seed)
        inputs = Inputs(adapted=adapted, store=Film(frames), memory=memory, language="en")  # type: ignore[arg-type]
        train = examples("train", size.train, job.view)
        views = VIEWS if job.method == "rank 16" and job.view == "true" else (job.view,)
        val, tests = examples("val", size.val, job.view), {view: examples("test", size.test, view) for view in views}
        for some in (train, val, *tests.values()):
            _fill(bench, memory, some, frames)
        if adapted.parameters:
            probe = StepProbe(adapted.model, bench.device, seen=PROBE_STEPS)  # costs are measured elsewhere
            schedule = Schedule(steps=size.steps, batch_size=size.batch, learning_rate=job.rate)
            trainer = Trainer(
                adapted=adapted, inputs=inputs, examples=train, schedule=schedule, seed=job.seed, probe=probe
            )
            losses = [trainer.step() for _ in range(size.steps)]
        else:
            losses = [None]
        scored = {"val": _score(inputs, val)} | {view: _score(inputs, some) for view, some in tests.items()}
    row = {**asdict(job), "val": float(np.mean(scored.pop("val")["cider"])), "test": scored, "loss": losses[-1]}
    if job.method == "zero":
        parts = (bench.family, bench.model, bench.processor, device)
        row["tasks"] = {view: task_scores(*parts, count=size.test, view=view) for view in PROBED}
    if adapted.is_removable:
        adapted.remove()
    else:
        _bench.cache_clear()
    return row


def examples(split: str, count: int, view: str) -> list[Example]:
    """The first clips of a split as examples whose clip's path says how its frames are to be seen."""
    return [
        Example(
            id=f"{split}{index}",
            clips=(Clip(path=f"{view}/{split}/{index}"),),
            references={"en": domain_references(draw_scene(split, index))},
            attributes=truth(draw_scene(split, index)),
        )
        for index in range(count)
    ]


@cache
def _bench(family: str, start: str, device: str) -> Loaded:
    if start == "pretrained":
        return load(f"embedded:{family}", Bits.preset("all16"), device)
    with tempfile.TemporaryDirectory() as folder:
        model, processor = build(family, build_tokenizer(), seed=0)
        save(model, processor, Path(folder), [])
        return load(folder, Bits.preset("all16"), device)


def _method(job: Run) -> Method:
    if job.method == "zero":
        return ZeroShot()
    if job.method == "full":
        return FullFineTune(roles=ROLES)
    return Lora(rank=dict.fromkeys(ROLES, int(job.method.removeprefix("rank "))))


@torch.no_grad()
def _fill(bench: Loaded, memory: StateMemory, some: Sequence[Example], frames: Frames) -> None:
    """Vision states of the examples' clips, each under its view, into memory."""
    for first in range(0, len(some), 256):
        clips = [example.clips[0] for example in some[first : first + 256]]
        view = clips[0].path.split("/")[0]
        scenes = [draw_scene(split, int(index)) for _, split, index in (clip.path.split("/") for clip in clips)]
        indices = uniform(scenes, frames.budget)
        pixels = subsample_chroma(draw(reel(scenes, indices).to(bench.device)))
        if view == "blank":
            pixels = torch.zeros_like(pixels)
        states = bench.family.encode_frames(bench.model, bench.processor, pixels.flatten(0, 1))
        for clip, state in zip(clips, _seen(states.unflatten(0, (len(scenes), -1)), view), strict=True):
            memory.keep(clip.path, state)


def _seen(states: Tensor, view: str) -> Tensor:
    """States [clips, frames, tokens, width] under a view."""
    if view == "other":
        return states.roll(1, dims=0)
    if view == "shuffled":
        order = [np.random.default_rng([5, clip]).permutation(states.shape[1]) for clip in range(len(states))]
        return torch.stack([state[torch.from_numpy(o)] for state, o in zip(states, order, strict=True)])
    return states


def _score(inputs: Inputs, some: Sequence[Example]) -> dict[str, list[float]]:
    captions: dict[str, str] = {}
    for first in range(0, len(some), 128):
        chunk = some[first : first + 128]
        captions |= dict(zip([e.id for e in chunk], answer(inputs, chunk, max_new_tokens=64), strict=True))
    scores = score_captions(captions, {e.id: e.references["en"] for e in some})
    content = [content_scores(captions[e.id], e.attributes) for e in some]
    out = {"cider": [scores.per_example[e.id]["cider"] for e in some]}
    return out | {name: [row[name] for row in content] for name in content[0]}
