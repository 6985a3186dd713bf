"""Pretrains an embedded base from random weights on the pretraining split of `shapes`, and writes it as a checkpoint.

    python -m vqlora.models.pretrain videollama --steps 8000 --device cuda

Scenes are drawn as frames on the device, without MP4 files; the frames pass `subsample_chroma`, as a video file's do
(a test compares them with decoded files). Eleven of twelve texts are plain captions, the rest unrelated logs in the
downstream vocabulary. Everything follows from the seed and the step, so a run that stops goes on from its state file.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import AutoTokenizer

from vqlora.data.example import Message
from vqlora.data.shapes import FPS, SIDE, VERSION, Scene, draw_scene
from vqlora.data.shapes_render import Reel, draw, reel, subsample_chroma
from vqlora.data.shapes_text import LOG_PROMPT, PLAIN, PROMPT, content_scores, plain_caption, truth, unrelated_log
from vqlora.models.architecture import build
from vqlora.models.families import Family, family_of
from vqlora.models.tokenizer import build_tokenizer

FOLDER = Path(__file__).parent / "embedded"
FRAME_COUNTS = (2, 4, 6, 8, 8, 8, 12, 16)  # frames per clip, one draw per step
LOG_SHARE = 1 / 12
CHECKED = 512  # scenes of each kind captioned at the end
CLIP_NORM, WEIGHT_DECAY, WARMUP_STEPS = 1.0, 0.05, 300


class Steps(Dataset[dict[str, Tensor]]):
    """Training batches by step: token tensors and which frames of which scenes they belong to."""

    def __init__(self, family: Family, processor: Any, config: Any, *, pool: int, batch: int, steps: int, seed: int):
        self.family, self.processor, self.config = family, processor, config
        self.pool, self.batch, self.steps, self.seed = pool, batch, steps, seed

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self.seed, step])
        count = int(rng.choice(FRAME_COUNTS))
        rows = rng.integers(self.pool, size=self.batch)
        scenes = [draw_scene("pretrain", int(row)) for row in rows]
        jittered = rng.random(self.batch) < 0.5
        places = np.where(jittered[:, None], rng.random((self.batch, count)), 0.5)
        lengths = np.array([scene.num_frames for scene in scenes])[:, None]
        indices = ((np.arange(count) + places) * lengths / count).astype(np.int64)
        talks = [
            (Message(role="user", text=LOG_PROMPT), Message(role="assistant", text=unrelated_log(rng)))
            if rng.random() < LOG_SHARE
            else (Message(role="user", text=PROMPT), Message(role="assistant", text=plain_caption(scene)))
            for scene in scenes
        ]
        tokens = self.family.batch(self.processor, self.config, (indices / FPS).tolist(), talks, size=SIDE)
        return {**tokens, "rows": torch.from_numpy(rows), "indices": torch.from_numpy(indices)}


def pretrain(
    name: str,
    *,
    steps: int,
    minutes: float | None,
    batch: int,
    rate: float,
    pool: int,
    seed: int,
    device: str,
    start_from: Path | None,
    out: Path,
) -> None:
    """Trains and writes `out`; with `minutes` the number of steps follows from the pace of the first ones."""
    clock = time.perf_counter()
    film = build_pool("pretrain", pool).to(device)  # before the model is on the device: it forks
    print(f"{name}: {pool} scenes in {time.perf_counter() - clock:.0f} s", flush=True)
    model, processor, earlier = _start(name, seed, start_from)
    family = family_of(model.config.model_type)
    model.to(device, torch.float32 if device == "cpu" else torch.bfloat16).train()
    learner = Learner(model, rate)
    state_file = out.with_suffix(".state.pt")
    start = learner.restore(state_file)
    data = Steps(family, processor, model.config, pool=pool, batch=batch, steps=steps, seed=seed)
    clock, timed_from, total = time.perf_counter(), start, torch.zeros((), device=device)
    for step, tokens in enumerate(_loader(data, start, device), start=start + 1):
        loss = step_loss(family, model, processor, film, {key: value.to(device) for key, value in tokens.items()})
        loss.backward()
        learner.step(_share_of_rate(step, steps=steps))
        total += loss.detach()
        if step - start == WARMUP_STEPS // 2:  # the loaders are filled by now
            clock, timed_from = time.perf_counter(), step
        pace = (time.perf_counter() - clock) / max(1, step - timed_from)
        if minutes is not None and step - start == WARMUP_STEPS:
            steps = start + min(steps, int(minutes * 60 / pace))
            print(f"{name}: {steps} steps at {pace * 1e3:.0f} ms", flush=True)
        if step % 250 == 0:
            print(f"{name}: step {step} loss {total.item() / 250:.4f} {pace * 1e3:.0f} ms a step", flush=True)
            total.zero_()
        if step % 1500 == 0 and step < steps:
            learner.save(state_file, step)
            print(json.dumps(exact_matches(family, model, processor, device, count=256)), flush=True)
        if step >= steps:
            break
    scores = exact_matches(family, model, processor, device, count=CHECKED)
    print(f"{name}: {json.dumps(scores)}", flush=True)
    facts = {"steps": steps, "batch": batch, "rate": rate, "pool": pool, "seed": seed, "shapes": VERSION, **scores}
    save(model, processor, out, [*earlier, facts])
    state_file.unlink(missing_ok=True)


def _start(name: str, seed: int, earlier: Path | None) -> tuple[Any, Any, list[dict[str, Any]]]:
    """Model, processor and the runs that made them: random, or as an earlier run left them, with its tokenizer."""
    if earlier is None:
        return *build(name, build_tokenizer(), seed), []
    tokenizer = AutoTokenizer.from_pretrained(earlier)
    model, processor = build(name, tokenizer, seed)
    model.load_state_dict(type(model).from_pretrained(earlier, dtype=torch.float32).state_dict())
    return model, processor, json.loads((earlier / "pretraining.json").read_text())


class Learner:
    """AdamW on fp32 copies of the parameters; the model itself may be bf16, which halves the traffic of a step."""

    def __init__(self, model: Any, rate: float):
        self.rate, self.parameters = rate, list(model.parameters())
        self.masters = [parameter.detach().float().clone().requires_grad_() for parameter in self.parameters]
        self.optimizer = torch.optim.AdamW(self.masters, lr=rate, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY)

    def step(self, share_of_rate: float) -> None:
        """One update at this share of the peak rate; clears the gradients."""
        for master, parameter in zip(self.masters, self.parameters, strict=True):
            master.grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
        torch.nn.utils.clip_grad_norm_(self.masters, CLIP_NORM)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * share_of_rate
        self.optimizer.step()
        self._publish()

    def _publish(self) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, self.masters)

    def save(self, file: Path, step: int) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"step": step, "masters": self.masters, "optimizer": self.optimizer.state_dict()}, file)

    def restore(self, file: Path) -> int:
        """The step to go on from; 0 without a state file."""
        if not file.exists():
            return 0
        state = torch.load(file, weights_only=True)
        with torch.no_grad():
            torch._foreach_copy_(self.masters, state["masters"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._publish()
        return int(state["step"])


def _loader(data: Steps, start: int, device: str) -> DataLoader[dict[str, Tensor]]:
    workers = 0 if device == "cpu" else 14
    ahead = 6 if workers else None
    return DataLoader(
        data, batch_size=None, sampler=range(start, len(data)), num_workers=workers, prefetch_factor=ahead
    )


def save(model: Any, processor: Any, out: Path, runs: list[dict[str, Any]]) -> None:
    """The base as bf16 safetensors with tokenizer, processor and the runs that made it."""
    model.to(torch.bfloat16).save_pretrained(out, max_shard_size="7900KB")
    processor.save_pretrained(out)
    (out / "pretraining.json").write_text(json.dumps(runs, indent=1) + "\n")


def build_pool(split: str, count: int) -> Reel:
    """The first scenes of a split as one reel, built on all cores."""
    chunks = [range(first, min(first + 500, count)) for first in range(0, count, 500)]
    if len(chunks) < 8:
        return _join([_chunk(split, chunk) for chunk in chunks])
    with ProcessPoolExecutor(mp_context=get_context("fork"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return _join(list(pool.map(partial(_chunk, split), chunks)))


def exact_matches(family: Family, model: Any, processor: Any, device: str, count: int) -> dict[str, float]:
    """Content of greedy plain captions at 8 frames: on scenes kept from training, with seen and unseen combinations."""
    model.eval()
    out = {}
    for label, split, first in (("seen", "pretrain", 1 << 30), ("unseen", "val", 0)):
        scenes = [draw_scene(split, first + index) for index in range(count)]
        captions = describe(family, model, processor, scenes, device)
        scores = [content_scores(c, truth(s), PLAIN) for c, s in zip(captions, scenes, strict=True)]
        out |= {f"{label}_{key}": round(float(np.mean([s[key] for s in scores])), 4) for key in scores[0]}
    model.train()
    return out


@torch.no_grad()
def describe(family: Family, model: Any, processor: Any, scenes: Sequence[Scene], device: str) -> list[str]:
    """Greedy captions of scenes at 8 uniform frames."""
    captions = []
    for first in range(0, len(scenes), 256):
        some = scenes[first : first + 256]
        film = reel(some).to(device)
        indices = ((torch.arange(8, device=device) + 0.5) * film.frames[:, None] / 8).long()
        frames = subsample_chroma(draw(film, torch.arange(len(some), device=device), indices))
        states = family.encode_frames(model, processor, frames.flatten(0, 1)).unflatten(0, indices.shape)
        talks = [(Message(role="user", text=PROMPT),)] * len(some)
        tokens = family.batch(processor, model.config, (indices / FPS).tolist(), talks, size=SIDE, generate=True)
        tokens = {key: value.to(device) for key, value in tokens.items()}
        captions += family.generate(model, processor, tokens, list(states), max_new_tokens=64)
    return captions


def step_loss(family: Family, model: Any, processor: Any, film: Reel, tokens: dict[str, Tensor]) -> Tensor:
    frames = subsample_chroma(draw(film, tokens["rows"], tokens["indices"]))
    states = family.encode_frames(model, processor, frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
    return family.loss(model, tokens, list(states))


def _share_of_rate(step: int, *, steps: int) -> float:
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    return 0.5 * (1 + float(np.cos(np.pi * min(1.0, (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)))))


def _chunk(split: str, indices: range) -> Reel:
    return reel([draw_scene(split, index) for index in indices])


def _join(parts: Sequence[Reel]) -> Reel:
    """One reel of several; native frames are padded to the longest by repeating the last."""
    longest = max(part.shot.shape[1] for part in parts)
    most = max(part.shape.shape[1] for part in parts)

    def padded(part: Reel) -> Reel:
        more = longest - part.shot.shape[1]
        grown = torch.cat([part.states, part.states[:, -1:].expand(-1, more, -1, -1)], dim=1)
        absent = torch.zeros(*grown.shape[:2], most - grown.shape[2], 5)
        absent[..., 2] = 1.0
        none = torch.zeros(len(part.shape), most - part.shape.shape[1], dtype=torch.long)
        return Reel(
            states=torch.cat([grown, absent], dim=2),
            shape=torch.cat([part.shape, none], dim=1),
            colour=torch.cat([part.colour, none], dim=1),
            shot=torch.cat([part.shot, part.shot[:, -1:].expand(-1, more)], dim=1),
            backdrop=part.backdrop,
            frames=part.frames,
        )

    wide = [vars(padded(part)) for part in parts]
    return Reel(**{name: torch.cat([part[name] for part in wide]) for name in wide[0]})


def main() -> None:
    parser = argparse.ArgumentParser(description="Pretrain an embedded base.")
    parser.add_argument("name", choices=("videollama", "flamingo"))
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--minutes", type=float, help="shorten the run to about this long")
    parser.add_argument("--batch", type=int, default=512, help="clips per step")
    parser.add_argument("--rate", type=float, default=1.5e-3, help="peak learning rate")
    parser.add_argument("--pool", type=int, default=300_000, help="scenes to draw from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--start-from", type=Path, help="go on from a base written by an earlier run")
    parser.add_argument("--out", type=Path, help=f"folder; default {FOLDER.name}/NAME")
    options = vars(parser.parse_args())
    options["out"] = options["out"] or FOLDER / options["name"]
    pretrain(**options)


if __name__ == "__main__":
    main()
