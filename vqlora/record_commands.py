"""The commands of `vqlora` that begin with a record or a kept adapter. Parts are imported when asked for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

RECORD_HELP = "a trial's record.json or folder, or FILE.jsonl#TRIAL"


def add_record_commands(commands: Any) -> None:
    """Their options."""
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
    one = _record_command(commands, "merge", "multiply an adapter into its 16-bit base; says what it does to the score")
    one.add_argument("adapter", metavar="ADAPTER", help="an adapter's or a trial's folder")
    one.add_argument("folder", metavar="FOLDER", help="new or empty; a base like any other afterwards")
    one.add_argument("--bits", default="all16", metavar="PLAN", help="of the merged weights; only all16 can be")
    _split_options(one, "val")
    one.set_defaults(run=merge)
    one = _record_command(commands, "static", "make an ordinary LoRA of a temporal one; says what it does to the score")
    one.add_argument("adapter", metavar="ADAPTER", help="an adapter's or a trial's folder")
    one.add_argument("folder", metavar="FOLDER", help="new or empty")
    one.add_argument(
        "--mode", default="mean", help="mean: each rank at its mean mask; full: all ranks open (%(default)s)"
    )
    one.add_argument("--split", choices=("val", "test"), default="val", help="whose scores are compared (%(default)s)")
    one.set_defaults(run=static)
    one = _record_command(commands, "train", "train a record's adapter further, or on other data")
    one.add_argument("--from", dest="source", metavar="RECORD", required=True, help=RECORD_HELP)
    one.add_argument("--steps", type=int, metavar="N", required=True, help="optimisation steps")
    one.add_argument("--data", metavar="DATA", help="another data set (the record's)")
    one.add_argument("--rate", type=float, metavar="R", help="peak learning rate (the record's)")
    one.add_argument("--anew", action="store_true", help="from the base, not from the record's adapter")
    one.add_argument("--storage", default="./runs", metavar="PLACE", help="folder, s3:// or gs:// (%(default)s)")
    one.set_defaults(run=train)


def _record_command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    one = commands.add_parser(name, help=text)
    one.add_argument("--base", metavar="BASE", help="where the same base lies now, if elsewhere")
    one.add_argument("--device", metavar="DEVICE", help="cpu, cuda, cuda:1 (a GPU where there is one)")
    return one


def _split_options(one: argparse.ArgumentParser, split: str) -> None:
    one.add_argument("--data", metavar="DATA", help="shapes:PRESET, msrvtt:FOLDER, ... (the record's)")
    one.add_argument("--split", choices=("train", "val", "test"), default=split, help="whose clips (%(default)s)")


def rerun(given: argparse.Namespace) -> int:
    """A trial once more, old and new scores side by side; 0 where they agree, else 1."""
    from vqlora.recall import find_record
    from vqlora.rerun import rerun as again

    found = find_record(given.record)
    how = {"seed": given.seed, "base": given.base, "data": given.data, "anyway": given.anyway}
    return 0 if again(found, device=device_of(given), **how) else 1


def caption(given: argparse.Namespace) -> int:
    """Captions of the user's own videos."""
    from vqlora.caption import caption_files

    return caption_files(given.adapter, given.videos, device=device_of(given), base=given.base)


def evaluate(given: argparse.Namespace) -> int:
    """Scores of a kept adapter on a split."""
    from vqlora.evaluate import evaluate_adapter
    from vqlora.recall import find_record

    how = {"data": given.data, "split": given.split, "base": given.base}
    evaluate_adapter(find_record(given.adapter), device=device_of(given), **how)
    return 0


def merge(given: argparse.Namespace) -> int:
    """An adapter multiplied into its 16-bit base, with the change in score."""
    from vqlora.merge import merge_adapter
    from vqlora.recall import find_record

    how = {"bits": given.bits, "split": given.split, "base": given.base, "data": given.data}
    merge_adapter(find_record(given.adapter), Path(given.folder).expanduser(), device=device_of(given), **how)
    return 0


def static(given: argparse.Namespace) -> int:
    """An ordinary LoRA of a temporal one."""
    from vqlora.recall import find_record
    from vqlora.static import static_adapter

    how = {"mode": given.mode, "split": given.split, "base": given.base}
    static_adapter(find_record(given.adapter), Path(given.folder).expanduser(), device=device_of(given), **how)
    return 0


def train(given: argparse.Namespace) -> int:
    """A record's recipe further, or on other data."""
    from vqlora.further import further
    from vqlora.recall import find_record

    how = {"steps": given.steps, "storage": given.storage, "data": given.data, "base": given.base}
    return further(find_record(given.source), device=device_of(given), rate=given.rate, anew=given.anew, **how)


def device_of(given: argparse.Namespace) -> str:
    """The device asked for, else a GPU where there is one."""
    if given.device:
        return given.device
    from vqlora.preview import planned_device

    return planned_device()
