"""Fronts of a million points, ours (numpy) beside moocore's (C).

Question: are sorts and running minima in numpy fast enough for any table? `cube`: uniform, few points on the front;
`front`: all of them on it. The median of three runs; `ratio` = moocore's seconds over ours, so above 1 ours is faster.
Both answers are compared: `agree`. Hypervolumes are of all points on a front of the given size.
Command: python benchmarks/frontiers.py [--points 1000000]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import moocore
import numpy as np

from analysis.pareto import hypervolume, non_dominated
from vqlora.provenance import device_name

RESULT = Path(__file__).parent / "results" / "frontiers.json"
REPEATS = 3


def cube(rng: np.random.Generator, number: int, objectives: int) -> np.ndarray:
    return rng.random((number, objectives))


def front(rng: np.random.Generator, number: int, objectives: int) -> np.ndarray:
    """On the sphere's far side from the origin: nobody dominates anybody."""
    points = np.abs(rng.normal(size=(number, objectives)))
    return 1 - points / np.linalg.norm(points, axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1_000_000)
    number = parser.parse_args().points
    shapes = [(shape, number, objectives) for objectives in (2, 3) for shape in (cube, front)]
    rows = [on_front(shape, many, objectives) for shape, many, objectives in [*shapes, (front, number // 100, 5)]]
    rows += [measured(number // 1000, objectives) for objectives in (2, 3, 4)] + [measured(number // 10, 3)]
    print(
        f"{'what':<12} {'shape':<6} {'points':>8} {'objectives':>10} {'own s':>8} {'moocore s':>9} {'ratio':>6} agree"
    )
    for row in rows:
        print(
            f"{row['what']:<12} {row['shape']:<6} {row['points']:>8} {row['objectives']:>10} {row['own_s']:>8.3f} "
            f"{row['moocore_s']:>9.3f} {row['ratio']:>6.2f} {row['agree']}"
        )
    versions = {name: version(name) for name in ("numpy", "moocore")} | {"python": platform.python_version()}
    result = {"benchmark": "frontiers", "device": device_name("cpu"), "versions": versions, "rows": rows}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def on_front(
    shape: Callable[[np.random.Generator, int, int], np.ndarray], number: int, objectives: int
) -> dict[str, Any]:
    values = shape(np.random.default_rng(0), number, objectives)
    directions = ["min"] * objectives
    own = timed(lambda: non_dominated(values, directions=directions, engine="own"))
    other = timed(lambda: moocore.is_nondominated(values, keep_weakly=True))
    agree = bool((own[1] == other[1]).all())
    return row("front", shape.__name__, number, objectives, own[0], other[0], agree) | {"on_front": int(own[1].sum())}


def measured(number: int, objectives: int) -> dict[str, Any]:
    values = front(np.random.default_rng(0), number, objectives)
    reference, directions = [1.0] * objectives, ["min"] * objectives
    own = timed(lambda: hypervolume(values, reference=reference, directions=directions, engine="own"))
    other = timed(lambda: moocore.hypervolume(values, ref=reference))
    agree = bool(np.isclose(own[1], other[1], rtol=1e-9))
    return row("hypervolume", "front", number, objectives, own[0], other[0], agree)


def row(what: str, shape: str, number: int, objectives: int, own: float, other: float, agree: bool) -> dict[str, Any]:
    return {
        "what": what,
        "shape": shape,
        "points": number,
        "objectives": objectives,
        "own_s": own,
        "moocore_s": other,
        "ratio": other / own,
        "agree": agree,
    }


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """(median seconds, the last answer)."""
    seconds, answer = [], None
    for _ in range(REPEATS):
        began = time.perf_counter()
        answer = function()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), answer


if __name__ == "__main__":
    main()
