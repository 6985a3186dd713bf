"""Trials per GPU-hour: many trials on one warm base against PEFT, one trial a process.

Question: how many times the trials of the usual way does a packed device train in steady state, and which part of it
comes from what? Both sides take the same frames, tokens, batch and steps; quality is the tests' matter. Peer: the model
class with PEFT, bitsandbytes and gradient checkpointing (`packing_peer.py`), then the same with one thing after the
other taken away. Ours: K trials in a pack (`vqlora.packing.pack`), each with its thread, tokens made in the step.
`ratio` = K x the usual peer's step / the pack's step. MFU: 4 N tokens without recomputation, of 989 TFLOP/s.
Command: python benchmarks/packing.py --base random:videollama3-7b --frames 4 --batch 1 [--trials 1 4 16] [--at-once 4]
Each call measures one setting and adds its rows to benchmarks/results/packing.json; a row that is there is kept.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as processes
from methods_rows import share_of_peak
from packing_peer import USUAL, Part, Peer

from vqlora.adapters import Adapted
from vqlora.cost import GIB, is_out_of_memory, synchronise
from vqlora.inputs import Inputs
from vqlora.models.load import Loaded
from vqlora.models.roles import linear_layers
from vqlora.packing.pack import Pack
from vqlora.packing.together import PackedTrainer
from vqlora.provenance import device_name
from vqlora.recipe import Bits, Frames, Lora, Recipe, Schedule
from vqlora.warm import Data, Warm

RESULT = Path(__file__).parent / "results" / "packing.json"
WARM_UP, TIMED = 2, 5
LADDER: tuple[tuple[str, frozenset[Part]], ...] = (
    ("usual", USUAL),
    ("no tower in the step", USUAL - {"tower"}),
    ("and logits of labels only", frozenset({"checkpointing"})),
    ("and no checkpointing", frozenset()),
)


def recipe(given: argparse.Namespace) -> Recipe:
    return Recipe(
        base=given.base,
        data=given.data,
        method=Lora(rank={"text": 16}),
        bits=Bits.preset(f"all{given.bits}"),
        frames=Frames(budget=given.frames, size=given.size),
        schedule=Schedule(steps=10**6, batch_size=given.batch),
        seed=0,
    )


def main() -> None:
    given = _arguments()
    setting = {name: getattr(given, name) for name in ("base", "bits", "frames", "size", "batch")}
    known = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else []
    device = "cuda" if torch.cuda.is_available() else "cpu"
    setting |= {"device": device_name(device), "versions": _versions()}
    rows = [row for row in known if all(row[name] == value for name, value in setting.items())]
    done = {(row["side"], row["trials"]) for row in rows}
    for side, trials, measure in _sides(given, device):
        if (side, trials) in done:
            continue
        rows.append({**setting, "side": side, "trials": trials, **measure()})
        _write([row for row in known if row not in rows] + rows)
        _print(rows[-1])
    usual = next(row["step_seconds"] for row in rows if row["side"] == "usual")
    for row in rows:
        row["ratio"] = row["trials"] * usual / row["step_seconds"] if usual and row["step_seconds"] else None
    _write([row for row in known if row not in rows] + rows)
    print()
    for row in rows:
        _print(row)
    print(RESULT.read_text().replace("\n", " "))


def _sides(given: argparse.Namespace, device: str) -> Iterator[tuple[str, int, Callable[[], dict[str, Any]]]]:
    """(name, trials, how it is measured), of what was asked; the base is loaded when the first is."""
    warm, wanted = Warm(), recipe(given)

    def ours(trials: int) -> dict[str, Any]:
        return packed(warm.base(wanted, device), warm, warm.data(wanted), wanted, trials)

    def theirs(parts: frozenset[Part]) -> dict[str, Any]:
        return alone(warm.base(wanted, device), warm, warm.data(wanted), wanted, parts)

    for count in given.at_once:  # first, while this process has nothing on the device
        yield f"{count} processes at once", count, lambda count=count: at_once(given, count)
    for name, parts in LADDER:
        yield name, 1, lambda parts=parts: theirs(parts)
    for trials in given.trials:
        yield "packed", trials, lambda trials=trials: ours(trials)


def alone(loaded: Loaded, warm: Warm, data: Data, wanted: Recipe, parts: frozenset[Part]) -> dict[str, Any]:
    """The median step of one PEFT trial."""
    with _peer(loaded, warm, data, wanted, parts) as peer:
        batches = [peer.prepare(_batch(data, wanted, number)) for number in range(WARM_UP + TIMED)]
        return _timed(loaded, batches[0]["tokens"], [lambda batch=batch: peer.step(batch) for batch in batches])


@contextmanager
def _peer(loaded: Loaded, warm: Warm, data: Data, wanted: Recipe, parts: frozenset[Part]) -> Iterator[Peer]:
    assert isinstance(wanted.method, Lora)
    inputs = _plain_inputs(loaded, warm, data, wanted)
    peer = Peer(loaded=loaded, inputs=inputs, method=wanted.method, parts=parts)
    try:
        yield peer
    finally:
        peer.close()


def _plain_inputs(loaded: Loaded, warm: Warm, data: Data, wanted: Recipe) -> Inputs:
    """Of the base without any adapter."""
    plain = Adapted(loaded=loaded, method=wanted.method, parameters={})
    return Inputs(adapted=plain, store=data.store, memory=warm.states(loaded), language=wanted.language)


def packed(loaded: Loaded, warm: Warm, data: Data, wanted: Recipe, trials: int) -> dict[str, Any]:
    """The median step of so many trials in one pack, as the first of their threads sees it."""
    before = torch.cuda.memory_allocated() if loaded.device.type == "cuda" else 0
    pack, joined, seconds, held = Pack(loaded), [], [], []

    def trial(seed: int) -> None:
        seat = pack.enter(wanted.method, seed=seed)
        memory = warm.states(loaded)
        seat.inputs = Inputs(adapted=seat.adapted(), store=data.store, memory=memory, language=wanted.language)
        trainer = PackedTrainer(seat, data.splits["train"], wanted.schedule, seed)
        joined.append(seed)
        while len(joined) < trials:  # a pack waits for all its trials, so those that are in go on
            trainer.step()
        if seed == 0 and loaded.device.type == "cuda":
            held.append(torch.cuda.memory_allocated() - before)
            torch.cuda.reset_peak_memory_stats()
        for _ in range(WARM_UP + TIMED):
            began = time.perf_counter()
            trainer.step()  # its loss is read, so the device has finished
            seconds.append((seed, time.perf_counter() - began))
        seat.leave()

    with ThreadPoolExecutor(trials) as threads:
        list(threads.map(trial, range(trials)))
    pack.close()
    own = [value for seed, value in seconds if seed == 0]
    batch = _batch(data, wanted, 0)
    shape = _plain_inputs(loaded, warm, data, wanted).tokens(batch, [0] * len(batch))["input_ids"].shape
    return {**_summary(loaded, shape, own, trials), "held_gib": held[0] / GIB if held else None}


def at_once(given: argparse.Namespace, count: int) -> dict[str, Any]:
    """So many PEFT trials at once, a process each, no checkpointing: seconds a round. No figures if out of memory."""
    context = processes.get_context("spawn")
    barrier, out = context.Barrier(count), context.SimpleQueue()
    try:
        processes.spawn(_one_of_many, (given, barrier, out), nprocs=count)  # one that fails ends the others
    except processes.ProcessRaisedException as error:
        if "OutOfMemoryError" not in str(error):
            raise
        return {"tokens": None, "step_seconds": None, "peak_gib": None, "mfu": None}
    found = [out.get() for _ in range(count)]
    peak = sum(row["peak_gib"] or 0.0 for row in found) if torch.cuda.is_available() else None
    return {**found[0], "step_seconds": statistics.mean(row["step_seconds"] for row in found), "peak_gib": peak}


def _one_of_many(_number: int, given: argparse.Namespace, barrier: Any, out: Any) -> None:
    device, warm, wanted = "cuda" if torch.cuda.is_available() else "cpu", Warm(), recipe(given)
    if device == "cpu":
        torch.set_num_threads(1)
    loaded, data = warm.base(wanted, device), warm.data(wanted)
    with _peer(loaded, warm, data, wanted, frozenset({"tower", "head"})) as peer:
        batches = [peer.prepare(_batch(data, wanted, number)) for number in range(3 * (WARM_UP + TIMED))]
        steps = [lambda batch=batch: peer.step(batch) for batch in batches]
        timed, rest = steps[: WARM_UP + 2 * TIMED], steps[WARM_UP + 2 * TIMED :]
        barrier.wait()  # and each goes on after its timed steps, so that none is timed with fewer beside it
        found = _timed(loaded, batches[0]["tokens"], timed, forgiving=False)
        for step in rest:
            step()
        barrier.wait()
        out.put(found)


def _batch(data: Data, wanted: Recipe, number: int) -> list[Any]:
    size, train = wanted.schedule.batch_size, data.splits["train"]
    return [train[(number * size + place) % len(train)] for place in range(size)]


def _timed(
    loaded: Loaded, tokens: Any, steps: Sequence[Callable[[], object]], *, forgiving: bool = True
) -> dict[str, Any]:
    """`_summary` of steps that each end with the device's; if forgiving, without figures where they don't fit."""
    seconds: list[float] = []
    if loaded.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        for step in steps:
            synchronise(loaded.device)
            began = time.perf_counter()
            step()
            synchronise(loaded.device)
            seconds.append(time.perf_counter() - began)
    except (RuntimeError, MemoryError) as error:
        if not (forgiving and is_out_of_memory(error)):
            raise
        seconds = []
    return _summary(loaded, tokens["input_ids"].shape, seconds, 1)


def _summary(loaded: Loaded, shape: tuple[int, ...], seconds: list[float], trials: int) -> dict[str, Any]:
    """Tokens a clip, median seconds after the warm-up, peak memory, utilisation; None where nothing was measured."""
    rows, length = shape
    if not seconds:
        return {"tokens": length, "step_seconds": None, "peak_gib": None, "mfu": None}
    on_gpu, median = loaded.device.type == "cuda", statistics.median(seconds[WARM_UP:])
    layers = linear_layers(loaded.model, loaded.model_type)["text"]
    weights = sum(m.in_features * m.out_features for m in map(loaded.model.get_submodule, layers))  # type: ignore[operator]
    return {
        "tokens": length,
        "step_seconds": median,
        "peak_gib": torch.cuda.max_memory_allocated() / GIB if on_gpu else None,
        "mfu": share_of_peak(4 * weights * rows * length * trials / median, loaded.device),
    }


def _print(row: dict[str, Any]) -> None:
    def shown(name: str, form: str) -> str:
        return format(row[name], form) if row.get(name) is not None else "-"

    print(
        f"{row['base']} {row['bits']} bit, {row['tokens']} tokens x {row['batch']}  {row['side']:28} "
        f"{row['trials']:>3} trials  {shown('step_seconds', '8.3f')} s  {shown('peak_gib', '6.1f')} GiB  "
        f"MFU {shown('mfu', '5.1%')}  {shown('ratio', '6.1f')}x",
        flush=True,
    )


def _versions() -> dict[str, str]:
    names = ("torch", "transformers", "peft", "bitsandbytes")
    return {name: version(name) for name in names} | {"python": platform.python_version()}


def _write(rows: list[dict[str, Any]]) -> None:
    devices = ", ".join(sorted({row["device"] for row in rows}))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(
        json.dumps({"benchmark": "packing", "device": devices, "versions": _versions(), "rows": rows}, indent=1) + "\n"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="random:videollama3-7b")
    parser.add_argument("--data", default="shapes:tiny")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--trials", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--at-once", type=int, nargs="*", default=[])
    return parser.parse_args()


if __name__ == "__main__":
    main()
