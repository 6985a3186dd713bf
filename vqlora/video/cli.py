"""`vqlora frames FILE`: which frames of a video a sampler takes, and when they are shown."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from vqlora.recipe import SAMPLERS, Frames
from vqlora.video.decode import probe
from vqlora.video.samplers import select


def frames_command(argv: Sequence[str]) -> int:
    """Prints a table, or one JSON object with --json. Exit status 1 with one line if the file gives no frames."""
    parser = argparse.ArgumentParser(prog="vqlora frames", description="Frames that a sampler takes, with their times.")
    parser.add_argument("file")
    parser.add_argument("--sampler", choices=SAMPLERS, default=Frames().sampler)
    parser.add_argument("--budget", type=int, default=Frames().budget, help="frames at most (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args(argv)
    try:
        frames = Frames(budget=options.budget, sampler=options.sampler)
        info = probe(options.file)
    except ValueError as error:
        print(f"vqlora frames: {error}", file=sys.stderr)
        return 1
    indices = select(frames, info)
    times = [info.times_seconds[index] for index in indices]
    if options.json:
        described = {"file": options.file, "sampler": frames.sampler, "budget": frames.budget, "frames": info.frames}
        print(json.dumps({**described, "indices": indices, "times_seconds": times}))
        return 0
    print(f"{options.file}: {info.frames} frames, {info.width} x {info.height}, {info.codec} in {info.container}")
    print(f"{'index':>8} {'seconds':>10}")
    for index, time in zip(indices, times, strict=True):
        print(f"{index:>8} {time:>10.3f}")
    return 0
