"""The command `vqlora`, the same as `python -m vqlora`: what is not a study. Parts are imported when asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqlora.lines import one_line
from vqlora.record_commands import add_record_commands, device_of

if TYPE_CHECKING:
    from vqlora.recipe import Recipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; 0, 1 where something is wrong, or 2 with one line for input that cannot be used."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["frames"]:  # these two read their own options
        from vqlora.video.cli import frames_command

        return frames_command(words[1:])
    if words[:1] == ["score"]:
        from vqlora.metrics.command import score_command

        return score_command(words[1:])
    given = _parser().parse_args(words)
    try:
        return given.run(given)
    except ValueError as error:
        print(f"vqlora: {one_line(error)}", file=sys.stderr)
        return 2


def doctor(given: argparse.Namespace) -> int:
    """Prints every finding, those that are wrong with the way out."""
    from vqlora.doctor import examine

    where = {"data": given.data, "base": given.base, "nodes": given.nodes}
    findings = examine(given.cluster, given.storage, **where)
    for one in findings:
        print(f"{one.state:5}  {one_line(one.what)}" + (f"\n       -> {one_line(one.mend)}" if one.mend else ""))
    return int(any(one.state == "wrong" for one in findings))


def plan(given: argparse.Namespace) -> int:
    """Estimated memory and FLOPs of training one recipe, or what of the usual ones fits a card."""
    from vqlora.planner import plan as planned
    from vqlora.recipe import Bits, Frames, Lora, Recipe, Schedule

    recipe = Recipe(
        base=given.base,
        data="shapes:tiny",
        method=Lora(rank={role: given.rank for role in given.roles.split(",")}),
        bits=Bits.preset(given.bits),
        frames=Frames(budget=given.frames, size=given.size),
        schedule=Schedule(steps=1, batch_size=given.batch_size, checkpointing=given.checkpointing),
    )
    if given.device_memory:
        from vqlora.capacity import gib_of, print_fitting

        print_fitting(recipe, gib_of(given.device_memory))
        return 0
    if given.equal_memory:
        return _frames_that_fit(recipe, given.equal_memory, given.device)
    found = planned(recipe, device=given.device)
    print(f"{given.base} at {given.bits}, rank {given.rank} on {given.roles}, {given.frames} frames of {given.size} px")
    print(f"peak memory        {found.peak_gib:10.2f} GiB on {given.device}, {given.batch_size} clips a step")
    print(f"base               {found.base_bytes / 2**30:10.2f} GiB")
    print(f"activations        {found.activation_bytes / 2**30:10.2f} GiB")
    print(f"trained parameters {found.trainable_params:10,}")
    print(f"a step             {found.train_flops:10.2g} FLOPs")
    return 0


def _frames_that_fit(recipe: Any, gib: float, device: str) -> int:
    """Most frames a clip under each bit plan at equal memory."""
    from vqlora.equal_memory import most_frames

    print(f"{recipe.base} in {gib:g} GiB on {device}, {recipe.schedule.batch_size} clips a step")
    print(f"{'bits':8} {'base GiB':>9} {'MiB a frame':>12} {'most frames':>12}")
    for row in most_frames(recipe, ("all4", "v8t4", "all8", "all16"), gib=gib, device=device):
        print(f"{row.bits:8} {row.base_gib:>9.3f} {1024 * row.gib_per_frame:>12.2f} {row.frames:>12}")
    return 0


def inspect(given: argparse.Namespace) -> int:
    """A base by role, what a bit plan and LoRA would touch, and what its family cannot do."""
    from vqlora.models.inspection import inspect as inspected
    from vqlora.models.inspection import lines
    from vqlora.recipe import Bits

    found = inspected(given.base, Bits.preset(given.bits), rank=given.rank)
    print("\n".join(lines(found, rank=given.rank)))
    return 0


def shapes(given: argparse.Namespace) -> int:
    """Writes the embedded clips as a folder in MSR-VTT's layout."""
    from vqlora.data.shapes_write import write_shapes

    folder = Path(given.folder).expanduser()
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; name a new folder")
    write_shapes(given.preset, folder, side=given.size)
    print(f"use it as --data msrvtt:{folder}")
    return 0


def gallery(given: argparse.Namespace) -> int:
    """Frames for a study's report, where its clips are at hand; 1 where some are missing."""
    from vqlora.gallery import write_gallery

    written, reasons = write_gallery(given.where)
    print(f"{written} strips of frames written")
    for reason in reasons:
        print(f"missing: {one_line(reason)}")
    return int(bool(reasons))


def allocate(given: argparse.Namespace) -> int:
    """Ranks per group of layers at a budget of parameters."""
    from vqlora.allocate import allocate_command

    recipe = _untrained(given, given.bits)
    return allocate_command(recipe, budget=given.budget, device=device_of(given), file=Path(given.file).expanduser())


def bits(given: argparse.Namespace) -> int:
    """The bit plan of smallest expected loss under a budget of bytes."""
    from vqlora.bit_plan import bits_command

    recipe = _untrained(given, "all16")
    return bits_command(recipe, budget_mib=given.budget, device=device_of(given), file=Path(given.file).expanduser())


def _untrained(given: argparse.Namespace, bits: str) -> Recipe:
    """The base on the clips that a measuring command passes through it."""
    from vqlora.recipe import Bits, Frames, Recipe, Schedule, ZeroShot

    return Recipe(
        base=given.base,
        data=given.data,
        method=ZeroShot(),
        bits=Bits.preset(bits),
        frames=Frames(budget=given.frames, size=given.size),
        schedule=Schedule(steps=0, batch_size=given.batch_size),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vqlora", description="Studies of QLoRA on video-language models: the tools.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_tools(commands)
    _add_plan(commands)
    _add_allocate(commands)
    add_record_commands(commands)
    return parser


def _add_tools(commands: Any) -> None:
    one = commands.add_parser("doctor", help="what is installed, what is wrong, and how to mend it")
    one.add_argument("--cluster", metavar="ADDRESS", help="a Ray dashboard, such as http://127.0.0.1:8265")
    one.add_argument("--storage", metavar="PLACE", help="a folder, s3://... or gs://...")
    one.add_argument("--data", metavar="NAME:PATH", help="how complete a data set is")
    one.add_argument("--base", metavar="BASE", help="whether a base's files are whole")
    one.add_argument("--nodes", action="store_true", help="every node of the Ray cluster, not this machine alone")
    one.set_defaults(run=doctor)
    commands.add_parser("frames", help="the frames of a video that a sampler takes, with their times")
    commands.add_parser("score", help="scores of any system's captions, retrieval, answers or events")
    one = commands.add_parser("shapes", help="write the embedded clips as a folder in MSR-VTT's layout")
    one.add_argument("folder", metavar="FOLDER", help="new or empty")
    one.add_argument("--preset", default="tiny", help="tiny, small, full or long (%(default)s)")
    one.add_argument("--size", type=int, default=112, help="side in pixels, a multiple of 112 (%(default)s)")
    one.set_defaults(run=shapes)
    one = commands.add_parser("gallery", help="frames of a study's clips for its report")
    one.add_argument("where", metavar="STUDY_OR_RECORDS", help="STORAGE/STUDY or NAME.jsonl")
    one.set_defaults(run=gallery)
    one = commands.add_parser("inspect", help="a base by role, and what bits and adapters would touch")
    one.add_argument("base", metavar="BASE", help="embedded:NAME, random:NAME, a folder or a hub id")
    one.add_argument("--bits", default="all4", help="bit plan (%(default)s)")
    one.add_argument("--rank", type=int, default=16, help="LoRA rank (%(default)s)")
    one.set_defaults(run=inspect)


def _add_plan(commands: Any) -> None:
    one = commands.add_parser("plan", help="estimate the peak memory of a fine-tune")
    one.add_argument("base", metavar="BASE", help="embedded:NAME, random:NAME, a folder or a hub id")
    one.add_argument("--bits", default="all4", help="bit plan (%(default)s)")
    one.add_argument("--rank", type=int, default=16, help="LoRA rank (%(default)s)")
    one.add_argument("--roles", default="text,cross_modal", help="where the adapters sit (%(default)s)")
    one.add_argument("--frames", type=int, default=8, help="frames a clip (%(default)s)")
    one.add_argument("--size", type=int, default=112, help="frame side in pixels (%(default)s)")
    one.add_argument("--batch-size", type=int, default=8, help="clips a step (%(default)s)")
    one.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="bf16 or fp32 (%(default)s)")
    one.add_argument(
        "--checkpointing", action="store_true", help="keep each block's input only, compute the rest again"
    )
    one.add_argument("--device-memory", metavar="SIZE", help="such as 24GiB: which methods, bits and frames fit it")
    one.add_argument("--equal-memory", type=float, metavar="GIB", help="the most frames in so much, for each bit plan")
    one.set_defaults(run=plan)


def _add_allocate(commands: Any) -> None:
    one = _measuring(
        commands, "allocate", "ranks per group of layers at a budget of parameters, by several rules", "allocation.json"
    )
    one.add_argument("--budget", type=int, required=True, metavar="P", help="parameters of all adapters")
    one.add_argument("--bits", default="all4", help="bit plan (%(default)s)")
    one.set_defaults(run=allocate)
    one = _measuring(commands, "bits", "the bit plan of smallest expected loss under a budget of bytes", "bits.json")
    one.add_argument("--budget", type=float, required=True, metavar="MIB", help="MiB of all linear layers")
    one.set_defaults(run=bits)


def _measuring(commands: Any, name: str, text: str, file: str) -> argparse.ArgumentParser:
    """A command that passes training clips through a base and writes a file."""
    one: argparse.ArgumentParser = commands.add_parser(name, help=text)
    one.add_argument("base", metavar="BASE", help="embedded:NAME, random:NAME, a folder or a hub id")
    one.add_argument("--data", required=True, metavar="D", help="whose training clips are measured on")
    one.add_argument("--frames", type=int, default=8, help="frames a clip (%(default)s)")
    one.add_argument("--size", type=int, default=112, help="frame side in pixels (%(default)s)")
    one.add_argument("--batch-size", type=int, default=8, help="clips of one pass (%(default)s)")
    one.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:1 (a GPU where there is one)")
    one.add_argument("--file", default=file, help="what is written (%(default)s)")
    return one
