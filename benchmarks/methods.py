"""What each method costs at each bit width and number of frames, on one GPU, measured the same way for all.

Question: peak memory in training and inference, step time, latency, FLOPs of every method on a 7B base, how far the
planner's prediction is off, and what transformers + PEFT + bitsandbytes as documented need for the same.
Rows: method x bits x frames 4 to 64 of 196 tokens (392 pixels), one clip a step with checkpointing; then QLoRA and LoRA
at 8 frames and 4 clips, where VideoLLaMA2-7B's authors give 36 and 44 GB (DAMO-NLP-SG/VideoLLaMA2, issue 5).
Three peaks: allocated, reserved (torch's allocator) and process (the driver's view). latency_merged_ms: a merged LoRA
is the 16-bit base with other values, so it is that base's latency. Weights are random; nothing here is about quality.
Each row is written as it is measured, and a row that is there is not measured again:
Command: python benchmarks/methods.py [--seconds 500] [--rows FILE]     until it says that no row is missing
         python benchmarks/methods.py --cap 24                          rows near a cap: does what 'fits' fit?
On a CPU: python benchmarks/methods.py --base random:videollama3-tiny --size 56 --frames 2 4 --rows /tmp/rows.jsonl
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from methods_rows import METHODS, Row, measure

from vqlora.capacity import fits
from vqlora.memory_cap import cap_memory
from vqlora.models.load import Loaded, load
from vqlora.planner import plan
from vqlora.provenance import device_name
from vqlora.recipe import Bits

RESULTS = Path(__file__).parent / "results"
BITS = {
    "zero_shot": ("all4", "all8", "all16"), "lora": ("all4", "all8", "all16"), "dora": ("all4",), "prefix": ("all4",),
    "bottleneck": ("all4",), "ia3": ("all4",), "projector": ("all4",), "full": ("all16",),
}  # fmt: skip
FRAMES = (4, 8, 16, 32, 64)
PAGED = "paged_adamw8bit"
LIMIT_SECONDS = 120  # of a row, loading aside
LOAD_SECONDS = 90  # that a call keeps free for loading a base before it starts rows of other bits
NEAR, CAP_CHOICES = 0.15, (1, 2, 4, 8, 16)
COLUMNS = (
    "train_peak_gib", "planned_peak_gib", "reserved_peak_gib", "process_peak_gib", "infer_peak_gib", "step_seconds",
    "tokens_per_second", "latency_ms", "latency_merged_ms", "utilisation",
)  # fmt: skip


def main() -> None:
    given = _options()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cap_memory(None if given.cap is None else given.cap - 1)
    done = _read(given.rows)
    asked = _near(given) if given.cap else list(_rows(given.frames, with_peer=device == "cuda" and given.peer))
    missing = [row for row in asked if _key(asdict(row)) not in {_key(one) for one in done}]
    end = time.monotonic() + given.seconds
    done += _measure(missing, given, device, end)
    left = len(asked) - sum(_key(asdict(row)) in {_key(one) for one in done} for row in asked)
    print(f"{left} rows are missing; call again" if left else "no row is missing")
    if not left:
        _report([one for one in done if _key(one) in {_key(asdict(row)) for row in asked}], given, device)


def _rows(frames: Sequence[int], *, with_peer: bool) -> Iterable[Row]:
    """The marks first, then by bits, so that a base is loaded once; what overwrites its base comes last."""
    for bits in ("all4", "all16"):
        for checkpointing in (True, False):
            yield Row(method="lora", bits=bits, frames=8, batch=4, checkpointing=checkpointing)
    yield Row(method="lora", bits="all4", frames=max(frames), optimizer=PAGED)
    if with_peer:
        yield Row(method="lora", bits="all4", frames=8, batch=4, peer=True)
        for count in frames:
            yield Row(method="lora", bits="all4", frames=count, peer=True)
    for bits in ("all4", "all8", "all16"):
        for method in METHODS:
            for count in frames if bits in BITS[method] else ():
                yield Row(method=method, bits=bits, frames=count, optimizer=PAGED if method == "full" else None)


def _near(given: argparse.Namespace) -> list[Row]:
    """Rows whose planned peak is within 15 % of the cap, nearest first, at most `--near`."""
    found: list[tuple[float, Row]] = []
    limit = given.cap - 1
    for method, bits in (
        ("lora", "all4"),
        ("lora", "all8"),
        ("lora", "all16"),
        ("prefix", "all4"),
        ("bottleneck", "all4"),
    ):
        for count in FRAMES:
            for batch in CAP_CHOICES:
                for checkpointing in (True, False):
                    row = Row(
                        method=method, bits=bits, frames=count, batch=batch, checkpointing=checkpointing,
                        cap_gib=given.cap,
                    )  # fmt: skip
                    peak = plan(row.recipe(given.base, given.size)).peak_gib
                    if abs(peak / limit - 1) <= NEAR:
                        found.append((abs(peak / limit - 1), row))
                    if peak > (1 + NEAR) * limit and checkpointing:
                        break
    found.sort(key=lambda pair: pair[0])
    return sorted((row for _, row in found[: given.near]), key=lambda row: row.bits)


def _measure(rows: Sequence[Row], given: argparse.Namespace, device: str, end: float) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    loaded: Loaded | None = None
    for row in rows:
        is_ready = loaded is not None and loaded.bits == Bits.preset(row.bits) and not row.peer
        if time.monotonic() + LIMIT_SECONDS * given.share + (0 if is_ready else LOAD_SECONDS * given.share) > end:
            break
        recipe = row.recipe(given.base, given.size)
        began = time.monotonic()
        if row.peer:
            from methods_peer import checkpoint, measure_peer

            loaded = None
            torch.cuda.empty_cache()
            values = measure_peer(row, recipe, checkpoint(given.base, given.checkpoint, device))
        else:
            if not is_ready:
                loaded = None  # before the next one is built
                loaded = load(given.base, recipe.bits, device)
            assert loaded is not None
            values = measure(row, recipe, loaded, limit_seconds=LIMIT_SECONDS)
            if recipe.method.changes_base:
                loaded = None
        one = {**asdict(row), **values, "device": device_name(device), "versions": _versions()}
        found.append(one)
        with given.rows.open("a") as file:
            file.write(json.dumps(one) + "\n")
        print(f"{_key(one)}: {one['status']}, {time.monotonic() - began:.0f} s", flush=True)
    return found


def _report(rows: list[dict[str, Any]], given: argparse.Namespace, device: str) -> None:
    whole = {
        row["frames"]: row.get("latency_ms") for row in rows if row["method"] == "zero_shot" and row["bits"] == "all16"
    }
    for row in rows:
        row["latency_merged_ms"] = whole.get(row["frames"]) if row["method"] in ("lora", "dora") else None
        peaks = row.get("train_peak_gib"), row.get("planned_peak_gib")
        row["ratio"] = peaks[0] / peaks[1] if peaks[0] and peaks[1] else None
    print(f"{'row':44}" + "".join(f"{name:>19}" for name in COLUMNS) + f"{'ratio':>8}  status")
    for row in rows:
        cells = "".join(f"{_cell(row.get(name)):>19}" for name in COLUMNS)
        print(f"{_key(row):44}{cells}{_cell(row['ratio']):>8}  {row['status']}")
    ratios = [row["ratio"] for row in rows if row["ratio"]]
    result: dict[str, Any] = {
        "benchmark": "methods",
        "device": device_name(device),
        "versions": _versions(),
        "rows": rows,
    }
    if ratios:
        misses = sorted((ratio - 1 for ratio in ratios), key=abs)
        result["planner"] = {
            "median_miss": statistics.median(map(abs, misses)), "worst_miss": misses[-1],
            "above": sum(miss > 0 for miss in misses), "below": sum(miss < 0 for miss in misses),
        }  # fmt: skip
        print(f"measured over planned: {result['planner']}")
    if given.cap:
        result["cap"] = _verdict(rows, given.cap)
        print(f"under a cap of {given.cap} GiB: {result['cap']}")
    given.rows.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def _verdict(rows: Sequence[dict[str, Any]], cap: float) -> dict[str, int]:
    """How often 'fits' ran out of memory, and how often 'does not fit' fitted with 15 % to spare."""
    said = [(fits(row["planned_peak_gib"], cap), row) for row in rows]
    limit = cap - 1
    return {
        "rows": len(said),
        "fits": sum(fit for fit, _ in said),
        "fits_but_out_of_memory": sum(fit and row["status"] == "out_of_memory" for fit, row in said),
        "refused_with_room": sum(
            not fit and row["status"] == "done" and row["train_peak_gib"] < 0.85 * limit for fit, row in said
        ),
    }


def _key(row: dict[str, Any]) -> str:
    parts = [row["method"], row["bits"], f"{row['frames']}f", f"{row['batch']}b"]
    parts += ["checkpointed" if row["checkpointing"] else "kept"]
    parts += [part for part in (row["optimizer"], "peer" if row["peer"] else None) if part]
    return " ".join(parts + ([f"cap {row['cap_gib']:g}"] if row["cap_gib"] else []))


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _read(file: Path) -> list[dict[str, Any]]:
    file.parent.mkdir(parents=True, exist_ok=True)
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def _versions() -> dict[str, str]:
    names = ("torch", "transformers", "peft", "bitsandbytes")
    return {name: version(name) for name in names} | {"python": platform.python_version()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--base", default="random:videollama3-7b")
    add("--size", type=int, default=392, help="frame side in pixels: 196 tokens a frame (%(default)s)")
    add("--frames", type=int, nargs="+", default=list(FRAMES))
    add("--seconds", type=float, default=500, help="start no row that may end later (%(default)s)")
    add("--share", type=float, default=0.5, help="of a row's limit that is kept free for it (%(default)s)")
    add("--rows", type=Path, default=None, help="JSON lines to go on from (results/methods.jsonl)")
    add("--cap", type=float, help="GiB of a smaller card: rows near it instead")
    add("--near", type=int, default=24, help="rows near the cap (%(default)s)")
    add("--peer", action=argparse.BooleanOptionalAction, default=True, help="measure the peer too, on a GPU")
    add("--checkpoint", type=Path, default=Path("/tmp/methods-base"), help="where the peer's 16-bit base is written")
    given = parser.parse_args()
    name = "methods" if given.cap is None else f"methods_cap{given.cap:g}"
    given.rows = given.rows or RESULTS / f"{name}.jsonl"
    return given


if __name__ == "__main__":
    main()
