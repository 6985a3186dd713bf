"""`vqlora frames FILE`: which frames of a video a sampler takes, and when they are shown."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from vqlora.recipe import SAMPLERS, TOWER_SAMPLERS, Frames
from vqlora.video.decode import probe
from vqlora.video.samplers import select
from vqlora.video.sight import Sight


def frames_command(argv: Sequence[str]) -> int:
    """Prints a table, or one JSON object with --json. Exit status 1 with one line if the file gives no frames."""
    parser = argparse.ArgumentParser(prog="vqlora frames", description="Frames that a sampler takes, with their times.")
    parser.add_argument("file")
    choices = [name for name in SAMPLERS if name not in TOWER_SAMPLERS]
    parser.add_argument("--sampler", choices=choices, default=Frames().sampler)
    parser.add_argument("--fps", type=float, help="frames a second of the sampler fps")
    parser.add_argument("--budget", type=int, default=Frames().budget, help="frames at most (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args(argv)
    try:
        frames = Frames(budget=options.budget, sampler=options.sampler, fps=options.fps)
        info = probe(options.file)
        chosen = select(frames, Sight.of_file(options.file, info))
    except ValueError as error:
        print(f"vqlora frames: {error}", file=sys.stderr)
        return 1
    indices = chosen.indices
    times = [info.times_seconds[index] for index in indices]
    if options.json:
        described = {"file": options.file, "sampler": frames.sampler, "budget": frames.budget, "frames": info.frames}
        print(json.dumps({**described, "indices": indices, "times_seconds": times, "filled": chosen.filled}))
        return 0
    print(f"{options.file}: {info.frames} frames, {info.width} x {info.height}, {info.codec} in {info.container}")
    print(f"{'index':>8} {'seconds':>10}")
    for index, time in zip(indices, times, strict=True):
        print(f"{index:>8} {time:>10.3f}")
    if chosen.filled:
        print(f"{chosen.filled} of them the sampler left open; they fill the largest gaps")
    return 0
