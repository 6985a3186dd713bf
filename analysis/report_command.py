"""`python -m analysis report STUDY...`: the page of one study or several, and all that a manuscript takes from it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from analysis import export, latex, layout, table, writing
from analysis.joined import join
from analysis.plots import Plot
from analysis.report import Report, report_of
from analysis.table import Evidence

FORMATS = ("svg", "pdf", "png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options and what it runs."""
    parser.add_argument(
        "where", metavar="STUDY_OR_RECORDS", nargs="+", help="STORAGE/STUDY, STORAGE/STUDY/VERSION or NAME.jsonl"
    )
    parser.add_argument("--version", help="which version, where a study has several")
    parser.add_argument("-o", "--output", metavar="FILE.html", type=Path, help="default: NAME.html in this folder")
    parser.add_argument("--markdown", metavar="DIR", type=Path, help="also write NAME.md with its SVGs there")
    parser.add_argument("--figures", metavar="DIR", type=Path, help="also write every plot for a manuscript there")
    parser.add_argument("--format", default="pdf", help="of --figures: any of svg,pdf,png with commas (default pdf)")
    parser.add_argument("--latex", metavar="DIR", type=Path, help="also write tables, methods and checklist as LaTeX")
    parser.add_argument("--csv", metavar="DIR", type=Path, help="also write every table and every plotted point")
    parser.add_argument("--watch", action="store_true", help="write the page again whenever a trial has ended")
    parser.add_argument("--interval", type=float, default=5.0, help="of --watch, seconds between looks (default 5)")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Writes what was asked for and prints the paths, the page's last."""
    formats = given.format.split(",")
    odd = [one for one in formats if one not in FORMATS]
    if odd:
        raise ValueError(f"format {odd[0]!r} is not one of {', '.join(FORMATS)}")
    if given.watch:
        _watch(given)
        return
    several = [report_of(one) for one in _read(given)]
    page = _page(given, several, reload=False)
    for report in several:
        for path in _manuscript(given, report, formats, alone=len(several) == 1):
            print(path.resolve())
        if given.markdown:
            print(writing.write_markdown(report, given.markdown, sha256=page[1]).resolve())
    print(page[0].resolve())


def _read(given: argparse.Namespace) -> list[Evidence]:
    return [table.read(where, version=given.version) for where in given.where]


def _page(given: argparse.Namespace, several: list[Report], *, reload: bool) -> tuple[Path, str]:
    """(its path, its SHA-256)."""
    if len(several) == 1:
        report, parts = several[0], []
    else:
        report, parts = report_of(join([one.evidence for one in several])), several
    path = given.output or Path(f"{report.name}.html")
    return path, writing.whole(path, layout.html(report, several=parts, reload=reload).encode())


def _manuscript(given: argparse.Namespace, report: Report, formats: list[str], *, alone: bool) -> list[Path]:
    """Figures, LaTeX and CSV; of several studies each has a folder of its own."""
    written: list[Path] = []
    plots: list[Plot] = list(report.plots)

    def folder(asked: Path) -> Path:
        return asked if alone else asked / report.name

    if given.figures:
        written += export.write_figures(folder(given.figures), plots=plots, formats=formats)
    if given.latex:
        options = {"tables": report.tables, "methods": report.methods, "checklist": report.checklist}
        pictures = [path for path in written if path.suffix == ".pdf" and not path.stem.endswith("-wide")]
        written += latex.write(folder(given.latex), figures=pictures, **options)
    if given.csv:
        written += export.write_csv(folder(given.csv), tables=report.tables, plots=plots)
    return written


def _watch(given: argparse.Namespace) -> None:
    """Rewrites the page whenever the records differ, until all that was asked for has ended; the last has no reload."""
    seen: list[object] = []
    while True:
        found = _read(given)
        now: list[object] = [[(one.trial, one.status, one.attempt) for one in each.records] for each in found]
        waiting = any(_waits(one) for one in found)
        if now != seen:
            seen = now
            print(_page(given, [report_of(one) for one in found], reload=waiting)[0].resolve(), flush=True)
        if not waiting:
            return
        time.sleep(given.interval)


def _waits(evidence: Evidence) -> bool:
    """Whether a trial that was asked for has no record yet; a study that kept no list is never waited for."""
    known = {record.trial for record in evidence.records}
    return bool(set(evidence.asked.trials) - known)
