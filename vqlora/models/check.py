"""Whether the embedded bases mean something: seven lines per family, from real fine-tunes on `shapes`.

    python -m vqlora.models.check --device cuda --out check.json

Each method runs at its own learning rate, chosen on validation among three with seed 0, then with seeds 0, 1, 2.
Scores are CIDEr-D per test clip, averaged over seeds; intervals are paired 95 % bootstraps over clips. Clips are drawn
on the device, with the chroma of a video file (see `pretrain`); model, adapters, training and decoding are those of
every trial. Rows are written as they come, and a row that is there is not run again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from vqlora.adapters import attach
from vqlora.cost import PROBE_STEPS, StepProbe
from vqlora.data.example import Clip, Example
from vqlora.data.shapes import FPS, draw_scene
from vqlora.data.shapes_render import draw, reel, subsample_chroma
from vqlora.data.shapes_text import content_scores, domain_references, order_dependent, truth
from vqlora.evaluation import answer
from vqlora.inputs import Inputs
from vqlora.metrics.captions import score_captions
from vqlora.models.architecture import build
from vqlora.models.load import Loaded, load
from vqlora.models.pretrain import save
from vqlora.models.tokenizer import build_tokenizer
from vqlora.recipe import Bits, Frames, FullFineTune, Lora, Method, Schedule, ZeroShot
from vqlora.states import StateMemory
from vqlora.training import Trainer

FAMILIES = ("videollama", "flamingo")
RATES = {"lora": (1e-3, 3e-3, 1e-2), "full": (3e-4, 1e-3, 3e-3)}
SEEDS = (0, 1, 2)
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


class Places(NamedTuple):
    """What `Inputs` asks of a clip besides its vision states."""

    times_seconds: tuple[float, ...]
    indices: tuple[int, ...]
    digest: str


@dataclass(frozen=True)
class Film:
    """Stands where a trial has its FrameStore: frames are drawn on the device, so only their places are here."""

    frames: Frames

    def get(self, clip: Clip) -> Places:
        _, split, index = clip.path.split("/")
        scene = draw_scene(split, int(index))
        indices = _places(scene.num_frames, self.frames.budget)
        return Places(tuple(i / FPS for i in indices), indices, clip.path)


def run(job: Run, *, size: Size, device: str) -> dict[str, Any]:
    """Trains and scores one run: validation CIDEr-D, and per view of the test frames CIDEr-D and content per clip."""
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
    if adapted.is_removable:
        adapted.remove()
    else:
        _bench.cache_clear()
    return {**asdict(job), "val": float(np.mean(scored.pop("val")["cider"])), "test": scored, "loss": losses[-1]}


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


def _places(num_frames: int, budget: int) -> tuple[int, ...]:
    return tuple(int((place + 0.5) * num_frames / budget) for place in range(budget))


@torch.no_grad()
def _fill(bench: Loaded, memory: StateMemory, some: Sequence[Example], frames: Frames) -> None:
    """Vision states of the examples' clips, each under its view, into memory."""
    for first in range(0, len(some), 256):
        clips = [example.clips[0] for example in some[first : first + 256]]
        view = clips[0].path.split("/")[0]
        scenes = [draw_scene(split, int(index)) for _, split, index in (clip.path.split("/") for clip in clips)]
        film = reel(scenes).to(bench.device.type)
        indices = torch.tensor([_places(scene.num_frames, frames.budget) for scene in scenes], device=bench.device)
        pixels = subsample_chroma(draw(film, torch.arange(len(scenes), device=bench.device), indices))
        if view == "blank":
            pixels = torch.zeros_like(pixels)
        states = bench.family.encode_frames(bench.model, bench.processor, pixels.flatten(0, 1))
        for clip, state in zip(clips, _seen(states.unflatten(0, indices.shape), view), strict=True):
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


# ---- the plan -------------------------------------------------------------------------------------------------


def first_runs(family: str) -> list[Run]:
    """Every method at each of its learning rates, seed 0, and zero-shot."""
    tuned = [Run(family=family, method=f"rank {rank}", rate=rate) for rank in (1, 4, 16) for rate in RATES["lora"]]
    tuned += [Run(family=family, method="full", rate=rate) for rate in RATES["full"]]
    tuned += [Run(family=family, method="rank 16", rate=rate, start="random") for rate in RATES["lora"]]
    return [*tuned, Run(family=family, method="zero", rate=1.0)]


def second_runs(rows: Sequence[dict[str, Any]], family: str) -> list[Run]:
    """The other seeds at each method's best rate on validation, and rank 16 with 2, 16 and blank frames."""
    best = {name: _run_of(row) for name, row in _best(rows, family).items() if row["method"] != "zero"}
    runs = [replace(job, seed=seed) for job in best.values() for seed in SEEDS[1:]]
    sixteen = best[Run(family=family, method="rank 16", rate=1.0).name]
    for change in ({"frames": 2}, {"frames": 16}, {"view": "blank"}):
        runs += [replace(sixteen, seed=seed, **change) for seed in SEEDS]
    return runs


def _run_of(row: dict[str, Any]) -> Run:
    return Run(**{key: row[key] for key in Run.__dataclass_fields__})


def _best(rows: Sequence[dict[str, Any]], family: str) -> dict[str, dict[str, Any]]:
    """The best row on validation of each kind of run, among seed 0's learning rates."""
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = _run_of(row).name
        if row["family"] == family and row["seed"] == 0 and (name not in best or row["val"] > best[name]["val"]):
            best[name] = row
    return best


# ---- the seven lines ------------------------------------------------------------------------------------------


def lines(rows: Sequence[dict[str, Any]], family: str) -> list[tuple[bool, str]]:
    """The seven lines of a family: whether each holds, and its figures."""
    best = _best(rows, family)

    def clips(method: str, *, seen: str = "true", **change: Any) -> np.ndarray:
        """CIDEr-D per test clip at the method's best rate, averaged over seeds; `seen`: the view when tested."""
        wanted = Run(family=family, method=method, rate=1.0, **change).name
        rate = best[wanted]["rate"]
        found = [r["test"][seen]["cider"] for r in rows if _run_of(r).name == wanted and r["rate"] == rate]
        return np.mean(found, axis=0)

    lora, ceiling = clips("rank 16"), _ceiling(len(clips("rank 16")))
    ordered = np.array([order_dependent(e.attributes) for e in examples("test", len(lora), "true")])
    ladder = [clips(method) for method in ("rank 1", "rank 4", "rank 16", "full")]
    top = max([*ladder, clips("rank 16", frames=16)], key=lambda scores: scores.mean())
    blank, other, shuffled = (clips("rank 16", seen=view) for view in ("blank", "other", "shuffled"))
    guessed = clips("rank 16", view="blank", seen="blank")
    checks: list[tuple[bool, str]] = []
    share = _ratio(lora, clips("rank 16", start="random"))
    checks.append((share.low >= 2, f"(a) pretrained LoRA is {share} times LoRA on random weights; at least 2"))
    share, above = _ratio(clips("zero"), lora), _mean(clips("zero"))
    checks.append(
        (above.low > 0 and share.high < 0.5, f"(b) zero-shot scores {above}, {share} of LoRA; above 0, under half")
    )
    shares = [_ratio(scores, lora) for scores in (blank, other, guessed)]
    text = "(c) blank frames reach {}, another clip's {}, training on blank ones {} of LoRA; at most a third"
    checks.append((all(s.high <= 1 / 3 for s in shares), text.format(*shares)))
    loss = _ratio(lora[ordered] - shuffled[ordered], lora[ordered])
    checks.append((loss.low >= 0.15, f"(d) disorder loses {loss} on order-dependent clips; at least 0.15"))
    gain, rising = (
        _ratio(ladder[2] - ladder[0], ladder[0]),
        [_mean(b - a) for a, b in itertools.pairwise(ladder)],
    )
    holds = gain.low > 0 and gain.point >= 0.05 and rising[0].point > 0 and rising[1].point > 0 and rising[2].high >= 0
    means = " < ".join(f"{scores.mean():.3f}" for scores in ladder[:3]) + f" <= {ladder[3].mean():.3f}"
    steps = ", ".join(str(step) for step in rising)
    checks.append((holds, f"(e) rank 1 < 4 < 16 <= full: {means} (steps {steps}); 16 over 1: {gain}, at least 0.05"))
    gain = _ratio(clips("rank 16", frames=16) - clips("rank 16", frames=2), clips("rank 16", frames=2))
    checks.append((gain.low >= 0.1, f"(f) 16 frames over 2 frames: {gain}; at least 0.1"))
    share = _ratio(top, ceiling)
    checks.append((share.high < 0.9, f"(g) the best score is {share} of the ceiling {ceiling.mean():.3f}; under 0.9"))
    return checks


def _ceiling(count: int) -> np.ndarray:
    """Per test clip: each reference scored against the other four, averaged over the five."""
    some = examples("test", count, "true")
    out = []
    for place in range(5):
        one = {e.id: e.references["en"][place] for e in some}
        rest = {e.id: [r for i, r in enumerate(e.references["en"]) if i != place] for e in some}
        scores = score_captions(one, rest)
        out.append([scores.per_example[e.id]["cider"] for e in some])
    return np.mean(out, axis=0)


class Bounds(NamedTuple):
    """An estimate and its 95 % interval."""

    point: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.point:.3f} [{self.low:.3f}, {self.high:.3f}]"


def _ratio(top: np.ndarray, bottom: np.ndarray) -> Bounds:
    def share(a: np.ndarray, b: np.ndarray, axis: int = -1) -> np.ndarray:
        return a.mean(axis) / b.mean(axis)

    return _interval((top, bottom), share)


def _mean(values: np.ndarray) -> Bounds:
    return _interval((values,), np.mean)


def _interval(samples: tuple[np.ndarray, ...], statistic: Callable[..., Any]) -> Bounds:
    found = stats.bootstrap(
        samples,
        statistic,
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=4000,
        rng=np.random.default_rng(0),
    )
    return Bounds(
        float(statistic(*samples)), float(found.confidence_interval.low), float(found.confidence_interval.high)
    )


# ---- the command ----------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description="Check the embedded bases; exit status 1 if a line does not hold.")
    parser.add_argument("--families", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--processes", type=int, default=1, help="runs side by side on the device")
    parser.add_argument("--out", type=Path, default=Path("check.jsonl"), help="one row per run; goes on from there")
    for name, value in asdict(Size()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    size = Size(**{name: getattr(given, name) for name in asdict(Size())})
    rows = [json.loads(line) for line in given.out.read_text().splitlines()] if given.out.exists() else []
    context = get_context("spawn")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    devices, turns = visible.split(","), context.Queue()
    for turn in range(given.processes):
        turns.put(devices[turn % len(devices)])
    with ProcessPoolExecutor(given.processes, context, _take_device, (turns,)) as pool:
        work = partial(_work, pool, partial(run, size=size, device=given.device), given.out, rows)
        work([job for family in given.families for job in first_runs(family)])
        work([job for family in given.families for job in second_runs(rows, family)])
    held = [_print_lines(rows, family) for family in given.families]
    raise SystemExit(0 if all(held) else 1)


def _take_device(turns: Any) -> None:
    """In a new process, before CUDA starts: this process sees one device, the next one in turn."""
    os.environ["CUDA_VISIBLE_DEVICES"] = turns.get()


def _work(
    pool: ProcessPoolExecutor,
    task: Callable[[Run], dict[str, Any]],
    out: Path,
    rows: list[dict[str, Any]],
    jobs: Iterable[Run],
) -> None:
    there = {_run_of(row) for row in rows}
    waiting = {pool.submit(task, job): job for job in jobs if job not in there}
    for done in as_completed(waiting):
        row = done.result()
        rows.append(row)
        with out.open("a") as file:
            file.write(json.dumps(row) + "\n")
        job = waiting[done]
        print(f"{job.name} rate {job.rate:g} seed {job.seed}: val {row['val']:.3f} loss {row['loss']}", flush=True)


def _print_lines(rows: Sequence[dict[str, Any]], family: str) -> bool:
    checks = lines(rows, family)
    print(f"\n{family}")
    for holds, text in checks:
        print(f"{'holds' if holds else 'FAILS'}  {text}")
    best = _best(rows, family)
    for name, row in sorted(best.items()):
        content = {key: round(float(np.mean(values)), 3) for key, values in row["test"][row["view"]].items()}
        edge = " (an end of its range)" if row["rate"] in _ends(row["method"]) else ""
        print(f"       {name}: rate {row['rate']:g}{edge}, {content}")
    return all(holds for holds, _ in checks)


def _ends(method: str) -> tuple[float, ...]:
    if method == "zero":
        return ()
    rates = RATES["full" if method == "full" else "lora"]
    return min(rates), max(rates)


if __name__ == "__main__":
    main()
