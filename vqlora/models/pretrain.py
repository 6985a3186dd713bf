"""Pretrains an embedded base from random weights on the pretraining split of `shapes`, and writes it as a checkpoint.

    python -m vqlora.models.pretrain videollama --minutes 8 --device cuda

Scenes are drawn as frames on the device, without MP4 files, every step new ones; the frames pass `subsample_chroma`, as
a video file's do (a test compares them with decoded files). `pretrain_data` says what a step holds. Everything follows
from the seed and the step, so a run that stops goes on from its state file.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import AutoTokenizer

from vqlora.data.shapes import VERSION
from vqlora.data.shapes_render import draw, subsample_chroma
from vqlora.models.architecture import build
from vqlora.models.attention import sound_attention
from vqlora.models.embedding import centred, clip_vectors, info_nce, text_vectors
from vqlora.models.families import family_of
from vqlora.models.family import Family
from vqlora.models.pretrain_data import TALKS, Step, Steps
from vqlora.models.probe import exact_matches, task_scores
from vqlora.models.tokenizer import build_tokenizer

FOLDER = Path(__file__).parent / "embedded"
CHECKED = 512  # scenes of each kind asked about at the end
CLIP_NORM, WEIGHT_DECAY, WARMUP_STEPS = 1.0, 0.05, 300
PAIR_SCALE = 20.0  # of cosines of clips and texts, one over the temperature
SAVE_STEPS, SCORE_STEPS = 250, 1000
LEFT_OUT_STEPS = 20  # in a row


def pretrain(
    name: str,
    *,
    steps: int,
    minutes: float | None,
    batch: int,
    rate: float,
    seed: int,
    captions_first: int,
    device: str,
    workers: int,
    start_from: Path | None,
    out: Path,
) -> None:
    """Trains and writes `out`; with `minutes` the number of steps follows from the pace of the first ones."""
    sound_attention()
    model, processor, earlier = _start(name, seed, start_from)
    family = family_of(model.config.model_type)
    model.to(device, torch.float32 if device == "cpu" else torch.bfloat16).train()
    learner, tally, pace = Learner(model, rate), Tally(device), Pace()
    state_file = out.with_suffix(".state.pt")
    asked = steps
    start, steps = learner.restore(state_file, asked)
    data = Steps(family, processor, model.config, batch=batch, seed=seed, captions_first=captions_first)
    for step, drawn in enumerate(pace.waits(_loader(data, start, steps, workers)), start=start + 1):
        loss, parts = step_loss(family, model, processor, drawn.to(device))
        loss.backward()
        learner.step(_share_of_rate(step, steps=steps))
        tally.add(parts)
        pace.count()
        if minutes is not None and steps == asked and step - start == WARMUP_STEPS:
            steps = max(step, min(steps, int(minutes * 60 / pace.seconds)))
            print(f"{name}: {steps} steps at {pace}", flush=True)
        if step % SAVE_STEPS == 0 or step >= steps:
            lost = f", {learner.left_out} steps left out" if learner.left_out else ""
            print(f"{name}: step {step} at {pace}, losses {json.dumps(tally.take())}{lost}", flush=True)
            learner.save(state_file, step, steps)
        if step >= steps:
            break
        if step % SCORE_STEPS == 0:
            print(json.dumps(exact_matches(family, model, processor, device, count=256)), flush=True)
    scores = _scores(family, model, processor, device)
    print(f"{name}: {json.dumps(scores)}", flush=True)
    facts = {"steps": steps, "batch": batch, "rate": rate, "seed": seed, "captions_first": captions_first}
    facts |= {"shapes": VERSION, **scores}
    save(model, processor, out, [*earlier, facts])
    state_file.unlink(missing_ok=True)


def _scores(family: Family, model: Any, processor: Any, device: str) -> dict[str, float]:
    """Content of captions, and the mean score of each task on validation's clips."""
    tasks = task_scores(family, model, processor, device, count=CHECKED)
    means = {f"task_{task}": round(float(np.mean(values)), 4) for task, values in tasks.items()}
    return exact_matches(family, model, processor, device, count=CHECKED) | means


class Pace:
    """Seconds a step takes. Early ones, which wait for the workers' queues to fill, count until half of the warm-up."""

    def __init__(self) -> None:
        self.early, self.steps, self.waited, self.since = True, 0, 0.0, time.perf_counter()

    def count(self) -> None:
        self.steps += 1
        if self.early and self.steps == WARMUP_STEPS // 2:
            self.early, self.steps, self.waited, self.since = False, 0, 0.0, time.perf_counter()

    def waits(self, batches: Iterator[Step]) -> Iterator[Step]:
        """The same batches; counts the seconds that the device waited for them."""
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                return
            self.waited += time.perf_counter() - asked
            yield batch

    @property
    def seconds(self) -> float:
        return (time.perf_counter() - self.since) / max(1, self.steps)

    def __str__(self) -> str:
        waited = self.waited / max(1, self.steps)
        return f"{self.seconds * 1e3:.0f} ms a step ({waited * 1e3:.0f} of them waiting for data)"


def _start(name: str, seed: int, earlier: Path | None) -> tuple[Any, Any, list[dict[str, Any]]]:
    """Model, processor and the runs that made them: random, or as an earlier run left them.

    An earlier run may have had other words: those that both have keep their rows, new ones start at random.
    """
    model, processor = build(name, build_tokenizer(), seed)
    if earlier is None:
        return model, processor, []
    before = type(model).from_pretrained(earlier, dtype=torch.float32).state_dict()
    words, old_words = processor.tokenizer.get_vocab(), AutoTokenizer.from_pretrained(earlier).get_vocab()
    shared = [(words[word], place) for word, place in old_words.items() if word in words]
    here, there = (torch.tensor(places) for places in zip(*shared, strict=True))
    tables = {table.weight.data_ptr() for table in (model.get_input_embeddings(), model.get_output_embeddings())}
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if value.data_ptr() in tables:
                value[here] = before[key][there]
            else:
                value.copy_(before[key])
    return model, processor, json.loads((earlier / "pretraining.json").read_text())


class Learner:
    """AdamW on fp32 copies of the parameters; the model itself may be bf16, which halves the traffic of a step."""

    def __init__(self, model: Any, rate: float):
        self.rate, self.parameters = rate, list(model.parameters())
        self.left_out = self.left_out_now = 0
        self.masters = [parameter.detach().float().clone().requires_grad_() for parameter in self.parameters]
        self.gradients = [torch.zeros_like(master) for master in self.masters]
        self.optimizer = torch.optim.AdamW(
            self.masters, lr=rate, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY, fused=True
        )

    def step(self, share_of_rate: float) -> None:
        """One update at this share of the peak rate; clears the gradients."""
        used = [
            (parameter, copy, master)
            for parameter, copy, master in zip(self.parameters, self.gradients, self.masters, strict=True)
            if parameter.grad is not None
        ]
        torch._foreach_copy_([copy for _, copy, _ in used], [parameter.grad for parameter, _, _ in used])
        self.optimizer.zero_grad(set_to_none=True)
        for parameter, copy, master in used:
            master.grad, parameter.grad = copy, None
        if not torch.isfinite(torch.nn.utils.clip_grad_norm_(self.masters, CLIP_NORM)):
            self._leave_out()
            return
        self.left_out_now = 0
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * share_of_rate
        self.optimizer.step()
        self._publish()

    def _leave_out(self) -> None:
        """A step whose gradients are not finite changes nothing; many in a row end the run."""
        self.left_out, self.left_out_now = self.left_out + 1, self.left_out_now + 1
        if self.left_out_now > LEFT_OUT_STEPS:
            raise FloatingPointError(
                f"the gradients of {self.left_out_now} steps in a row are not finite: the weights are lost; go on from "
                f"the base before, at a lower --rate than {self.rate}"
            )

    def _publish(self) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self.masters)

    def save(self, file: Path, step: int, steps: int) -> None:
        """Whole or not at all: a run stopped while it writes leaves the state before."""
        file.parent.mkdir(parents=True, exist_ok=True)
        state = {"step": step, "steps": steps, "masters": self.masters, "optimizer": self.optimizer.state_dict()}
        torch.save(state, file.with_suffix(".part"))
        file.with_suffix(".part").replace(file)

    def restore(self, file: Path, steps: int) -> tuple[int, int]:
        """The step to go on from and the number of all; 0 and `steps` without a state file."""
        if not file.exists():
            return 0, steps
        state = torch.load(file, weights_only=True)
        with torch.no_grad():
            torch._foreach_copy_(self.masters, state["masters"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._publish()
        return int(state["step"]), int(state["steps"])


class Tally:
    """Mean loss of each task since it was last asked, kept on the device."""

    def __init__(self, device: str):
        self.names = (*TALKS, "long", "retrieval")
        self.sums = torch.zeros(len(self.names), 2, device=device)

    def add(self, parts: tuple[Tensor, Tensor]) -> None:
        """Losses and the places of their tasks in `names`."""
        losses, places = parts
        self.sums[:, 0].index_add_(0, places, losses)
        self.sums[:, 1].index_add_(0, places, torch.ones_like(losses))

    def take(self) -> dict[str, float]:
        means = (self.sums[:, 0] / self.sums[:, 1]).tolist()
        self.sums.zero_()
        return {name: round(mean, 3) for name, mean in zip(self.names, means, strict=True) if mean == mean}


def step_loss(family: Family, model: Any, processor: Any, step: Step) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The loss of a step (nats), and its parts with the places of their tasks (see `Tally`)."""
    frames = subsample_chroma(draw(step.reel))
    states = list(family.encode_frames(model, processor, frames.flatten(0, 1)).unflatten(0, frames.shape[:2]))
    if step.texts is not None:
        clips = clip_vectors(family, model, step.tokens, states)
        texts = text_vectors(family, model, step.texts, states[0])
        scale, rows = torch.tensor(PAIR_SCALE, device=clips.device), range(len(clips))  # hardly a clip comes twice
        loss = info_nce(clips, texts, scale, rows)
        return loss + info_nce(centred(clips), centred(texts), scale, rows), (loss.detach()[None], step.tasks[:1])
    losses, rows = family.token_losses(model, step.tokens, states)
    return losses.mean(), (losses.detach(), step.tasks[rows])


def _loader(data: Steps, start: int, steps: int, workers: int) -> Iterator[Step]:
    loader = DataLoader(
        data,
        batch_size=None,
        sampler=range(start, steps),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
    )
    return iter(loader)


def save(model: Any, processor: Any, out: Path, runs: list[dict[str, Any]]) -> None:
    """The base as bf16 safetensors with tokenizer, processor and the runs that made it."""
    model.to(torch.bfloat16).save_pretrained(out, max_shard_size="7900KB")
    processor.save_pretrained(out)
    (out / "pretraining.json").write_text(json.dumps(runs, indent=1) + "\n")


def _share_of_rate(step: int, *, steps: int) -> float:
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    return 0.5 * (1 + float(np.cos(np.pi * min(1.0, (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)))))


def main() -> None:
    parser = argparse.ArgumentParser(description="Pretrain an embedded base.")
    parser.add_argument("name", choices=("videollama", "flamingo"))
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--minutes", type=float, help="shorten the run to about this long")
    parser.add_argument("--batch", type=int, default=256, help="clips per step")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--captions-first", type=int, default=1500, metavar="STEPS", help="before all tasks are mixed")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 2), help="that draw scenes")
    parser.add_argument("--start-from", type=Path, help="go on from a base written by an earlier run")
    parser.add_argument("--out", type=Path, help=f"folder; default {FOLDER.name}/NAME")
    options = vars(parser.parse_args())
    options["out"] = options["out"] or FOLDER / options["name"]
    pretrain(**options)


if __name__ == "__main__":
    main()
