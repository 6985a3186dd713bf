"""`python -m analysis`: the report of a study, a front of any table, the records as they are committed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from analysis import evidence as committed
from analysis import fit_command, frontier_command, report_command, table
from vqlora.lines import one_line


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and gives its exit status: 0, or 2 with one line on stderr for input that cannot be used."""
    given = _parser().parse_args(arguments)
    try:
        given.run(given)
    except (ValueError, OSError) as error:
        print(f"analysis: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("report", help="write one HTML file that opens offline, and print its path")
    report_command.add_arguments(one)
    two = commands.add_parser("records", help="write a storage's records in the form that is committed")
    two.add_argument("where", metavar="STUDY_OR_RECORDS", help="STORAGE/STUDY, STORAGE/STUDY/VERSION or NAME.jsonl")
    two.add_argument("--version", help="which version, where a study has several")
    two.add_argument("-o", "--output", metavar="DIR", type=Path, required=True, help="for NAME.jsonl and its examples")
    two.set_defaults(run=_records)
    fit_command.add(commands)
    frontier_command.add_arguments(commands.add_parser("pareto", help="the front of any table, and its hypervolume"))
    return parser


def _records(given: argparse.Namespace) -> None:
    found = table.read(given.where, version=given.version)
    for path in committed.write(found, given.output):
        print(path.resolve())


if __name__ == "__main__":
    raise SystemExit(main())
