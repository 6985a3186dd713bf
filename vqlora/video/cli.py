"""`vqlora frames FILE`: which frames of a video a sampler takes, when they are shown, and what they look like."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from vqlora.lines import one_line
from vqlora.recipe import SAMPLERS, TOWER_SAMPLERS, Frames
from vqlora.video.decode import read_clip
from vqlora.video.killable import call
from vqlora.video.samplers import select
from vqlora.video.sheet import write_sheet
from vqlora.video.sight import Sight
from vqlora.video.video_info import Decoded, VideoInfo


def frames_command(argv: Sequence[str]) -> int:
    """Prints a table, or one JSON object with --json. Exit status 1 with one line if the file gives no frames."""
    options = _parser().parse_args(argv)
    try:
        frames = Frames(budget=options.budget, sampler=options.sampler, fps=options.fps)
        info, got, filled = call(chosen, options.file, frames)
        indices = tuple(info.times_seconds.index(time) for time in got.times_seconds)
        if options.sheet is not None:
            write_sheet(options.sheet, got, indices)
    except ValueError as error:
        print(f"vqlora frames: {one_line(error)}", file=sys.stderr)
        return 1
    if options.json:
        described = {"file": options.file, "sampler": frames.sampler, "budget": frames.budget}
        found = {"indices": indices, "timestamps": got.times_seconds, "decoder": got.decoder, "filled": filled}
        shape = {"frames": info.frames, "fps": info.fps, "width": info.width, "height": info.height}
        print(json.dumps({**described, **found, **shape, "codec": info.codec, "container": info.container}))
        return 0
    size = f"{info.width} x {info.height}"
    print(one_line(f"{options.file}: {info.frames} frames, {size}, {info.codec} in {info.container}"))
    print(f"{'index':>8} {'seconds':>10}")
    for index, time in zip(indices, got.times_seconds, strict=True):
        print(f"{index:>8} {time:>10.3f}")
    if filled:
        print(f"{filled} of them the sampler left open; they fill the largest gaps")
    return 0


def chosen(file: str, frames: Frames) -> tuple[VideoInfo, Decoded, int]:
    """What a file holds, the frames that the sampler takes, and how many of them it left to the uniform filling."""
    filled: list[int] = []

    def choose(info: VideoInfo) -> Sequence[int]:
        selection = select(frames, Sight.of_file(file, info))
        filled.append(selection.filled)
        return selection.indices

    info, got = read_clip(file, choose)
    return info, got, filled[-1]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vqlora frames", description="Frames that a sampler takes, with their times.")
    parser.add_argument("file", help="a video, or a folder of pictures")
    choices = [name for name in SAMPLERS if name not in TOWER_SAMPLERS]
    parser.add_argument("--sampler", choices=choices, default=Frames().sampler)
    parser.add_argument("--fps", type=float, help="frames a second of the sampler fps")
    parser.add_argument("--budget", type=int, default=Frames().budget, help="frames at most (default: %(default)s)")
    parser.add_argument("--sheet", type=Path, metavar="OUT.png", help="also a contact sheet of the frames")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return parser
