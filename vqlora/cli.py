"""The command `vqlora`, the same as `python -m vqlora`: what is not a study. Parts are imported when asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RECORD_HELP = "a trial's record.json or folder, or FILE.jsonl#TRIAL"


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
        print(f"vqlora: {error}", file=sys.stderr)
        return 2


def doctor(given: argparse.Namespace) -> int:
    """Prints every finding, those that are wrong with the way out."""
    from vqlora.doctor import examine

    where = {"data": given.data, "base": given.base, "nodes": given.nodes}
    findings = examine(given.cluster, given.storage, **where)
    for one in findings:
        print(f"{one.state:5}  {one.what}" + (f"\n       -> {one.mend}" if one.mend else ""))
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
    """Roles of a base: parameters, linear layers, an example of each."""
    from vqlora.models.load import meta_model, model_type_of
    from vqlora.models.roles import linear_layers, parameters_by_role

    model_type = model_type_of(given.base)
    model = meta_model(given.base)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    layers = linear_layers(model, model_type)
    print(f"{given.base}: {model_type}, {sum(sizes.values()) / 1e6:.1f} million parameters")
    for role, names in parameters_by_role(model, model_type).items():
        linear = layers[role]
        count = sum(sizes[name] for name in names) / 1e6
        example = f", such as {linear[0]}" if linear else ""
        print(f"{role:12} {count:10.2f} million parameters, {len(linear):4} linear layers{example}")
    return 0


def rerun(given: argparse.Namespace) -> int:
    """A trial once more, old and new scores side by side; 0 where they agree, else 1."""
    from vqlora.recall import find_record
    from vqlora.rerun import rerun as again

    found = find_record(given.record)
    how = {"seed": given.seed, "base": given.base, "data": given.data, "anyway": given.anyway}
    return 0 if again(found, device=_device(given), **how) else 1


def caption(given: argparse.Namespace) -> int:
    """Captions of the user's own videos."""
    from vqlora.caption import caption_files

    return caption_files(given.adapter, given.videos, device=_device(given), base=given.base)


def evaluate(given: argparse.Namespace) -> int:
    """Scores of a kept adapter on a split."""
    from vqlora.evaluate import evaluate_adapter
    from vqlora.recall import find_record

    how = {"data": given.data, "split": given.split, "base": given.base}
    evaluate_adapter(find_record(given.adapter), device=_device(given), **how)
    return 0


def merge(given: argparse.Namespace) -> int:
    """An adapter multiplied into its 16-bit base, with the change in score."""
    from vqlora.merge import merge_adapter
    from vqlora.recall import find_record

    how = {"bits": given.bits, "split": given.split, "base": given.base, "data": given.data}
    merge_adapter(find_record(given.adapter), Path(given.folder).expanduser(), device=_device(given), **how)
    return 0


def train(given: argparse.Namespace) -> int:
    """A record's recipe further, or on other data."""
    from vqlora.further import further
    from vqlora.recall import find_record

    how = {"steps": given.steps, "storage": given.storage, "data": given.data, "base": given.base}
    return further(find_record(given.source), device=_device(given), rate=given.rate, anew=given.anew, **how)


def shapes(given: argparse.Namespace) -> int:
    """Writes the embedded clips as a folder in MSR-VTT's layout."""
    from vqlora.data.shapes_write import write_shapes

    folder = Path(given.folder).expanduser()
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; name a new folder")
    write_shapes(given.preset, folder, side=given.size)
    print(f"use it as --data msrvtt:{folder}")
    return 0


def allocate(given: argparse.Namespace) -> int:
    """Ranks per group of layers at a budget of parameters."""
    from vqlora.allocate import allocate_command
    from vqlora.recipe import Bits, Frames, Recipe, Schedule, ZeroShot

    recipe = Recipe(
        base=given.base,
        data=given.data,
        method=ZeroShot(),
        bits=Bits.preset(given.bits),
        frames=Frames(budget=given.frames, size=given.size),
        schedule=Schedule(steps=0, batch_size=given.batch_size),
    )
    return allocate_command(recipe, budget=given.budget, device=_device(given), file=Path(given.file).expanduser())


def static(given: argparse.Namespace) -> int:
    """An ordinary LoRA of a temporal one."""
    from vqlora.recall import find_record
    from vqlora.static import static_adapter

    how = {"mode": given.mode, "split": given.split, "base": given.base}
    static_adapter(find_record(given.adapter), Path(given.folder).expanduser(), device=_device(given), **how)
    return 0


def _device(given: argparse.Namespace) -> str:
    if given.device:
        return given.device
    from vqlora.preview import planned_device

    return planned_device()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vqlora", description="Studies of QLoRA on video-language models: the tools.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("doctor", help="what is installed, what is wrong, and how to mend it")
    one.add_argument("--cluster", metavar="ADDRESS", help="a Ray dashboard, such as http://127.0.0.1:8265")
    one.add_argument("--storage", metavar="PLACE", help="a folder, s3://... or gs://...")
    one.add_argument("--data", metavar="NAME:PATH", help="how complete a data set is")
    one.add_argument("--base", metavar="BASE", help="whether a base's files are whole")
    one.add_argument("--nodes", action="store_true", help="every node of the Ray cluster, not this machine alone")
    one.set_defaults(run=doctor)
    commands.add_parser("frames", help="the frames of a video that a sampler takes, with their times")
    commands.add_parser("score", help="scores of any system's captions, retrieval, answers or events")
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
    one = _record_command(commands, "rerun", "a trial once more from its record: old and new scores side by side")
    one.add_argument("record", metavar="RECORD", help=RECORD_HELP)
    one.add_argument("--seed", type=int, metavar="S", help="another seed than the record's")
    one.add_argument("--data", metavar="DATA", help="where the same data lie now, if elsewhere")
    one.add_argument("--anyway", action="store_true", help="run although data or base changed")
    one.set_defaults(run=rerun)
    one = _record_command(commands, "caption", "captions of your own videos by an adapter that a study kept")
    one.add_argument("adapter", metavar="ADAPTER", help="an adapter's or a trial's folder")
    one.add_argument("videos", metavar="VIDEO", nargs="+")
    one.set_defaults(run=caption)
    one = _record_command(commands, "evaluate", "what a kept adapter scores on a split, of other data too")
    one.add_argument("adapter", metavar="ADAPTER", help="an adapter's or a trial's folder")
    _split_options(one, "test")
    one.set_defaults(run=evaluate)
    one = commands.add_parser("allocate", help="ranks per group of layers at a budget of parameters, by several rules")
    one.add_argument("base", metavar="BASE", help="embedded:NAME, random:NAME, a folder or a hub id")
    one.add_argument("--data", required=True, metavar="D", help="whose training clips the gradients are of")
    one.add_argument("--budget", type=int, required=True, metavar="P", help="parameters of all adapters")
    one.add_argument("--bits", default="all4", help="bit plan (%(default)s)")
    one.add_argument("--frames", type=int, default=8, help="frames a clip (%(default)s)")
    one.add_argument("--size", type=int, default=112, help="frame side in pixels (%(default)s)")
    one.add_argument("--batch-size", type=int, default=8, help="clips of one gradient (%(default)s)")
    one.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:1 (a GPU where there is one)")
    one.add_argument("--file", default="allocation.json", help="what is written (%(default)s)")
    one.set_defaults(run=allocate)
    one = _record_command(commands, "static", "make an ordinary LoRA of a temporal one; says what it does to the score")
    one.add_argument("adapter", metavar="ADAPTER", help="an adapter's or a trial's folder")
    one.add_argument("folder", metavar="FOLDER", help="new or empty")
    one.add_argument(
        "--mode", default="mean", help="mean: each rank at its mean mask; full: all ranks open (%(default)s)"
    )
    one.add_argument("--split", choices=("val", "test"), default="val", help="whose scores are compared (%(default)s)")
    one.set_defaults(run=static)
    one = _record_command(commands, "merge", "multiply an adapter into its 16-bit base; says what it does to the score")
    one.add_argument("adapter", metavar="ADAPTER", help="an adapter's or a trial's folder")
    one.add_argument("folder", metavar="FOLDER", help="new or empty; a base like any other afterwards")
    one.add_argument("--bits", default="all16", metavar="PLAN", help="of the merged weights; only all16 can be")
    _split_options(one, "val")
    one.set_defaults(run=merge)
    one = _record_command(commands, "train", "train a record's adapter further, or on other data")
    one.add_argument("--from", dest="source", metavar="RECORD", required=True, help=RECORD_HELP)
    one.add_argument("--steps", type=int, metavar="N", required=True, help="optimisation steps")
    one.add_argument("--data", metavar="DATA", help="another data set (the record's)")
    one.add_argument("--rate", type=float, metavar="R", help="peak learning rate (the record's)")
    one.add_argument("--anew", action="store_true", help="from the base, not from the record's adapter")
    one.add_argument("--storage", default="./runs", metavar="PLACE", help="folder, s3:// or gs:// (%(default)s)")
    one.set_defaults(run=train)
    one = commands.add_parser("shapes", help="write the embedded clips as a folder in MSR-VTT's layout")
    one.add_argument("folder", metavar="FOLDER", help="new or empty")
    one.add_argument("--preset", default="tiny", help="tiny, small or full (%(default)s)")
    one.add_argument("--size", type=int, default=112, help="side in pixels, a multiple of 112 (%(default)s)")
    one.set_defaults(run=shapes)
    one = commands.add_parser("inspect", help="roles, parameters and linear layers of a base")
    one.add_argument("base", metavar="BASE", help="embedded:NAME, random:NAME, a folder or a hub id")
    one.set_defaults(run=inspect)
    return parser


def _record_command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    one = commands.add_parser(name, help=text)
    one.add_argument("--base", metavar="BASE", help="where the same base lies now, if elsewhere")
    one.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:1 (a GPU where there is one)")
    return one


def _split_options(one: argparse.ArgumentParser, split: str) -> None:
    one.add_argument("--data", metavar="DATA", help="shapes:PRESET, msrvtt:FOLDER, ... (the record's)")
    one.add_argument("--split", choices=("train", "val", "test"), default=split, help="whose clips (%(default)s)")
