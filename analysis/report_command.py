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
    whole, parts = _reports(_read(given))
    path, sha256 = _page(given, whole, parts, reload=False)
    for report, folder in [(whole, ""), *((part, part.name) for part in parts)]:
        for written in _manuscript(given, report, formats, folder):
            print(written.resolve())
    for report in parts or [whole] if given.markdown else []:
        print(writing.write_markdown(report, given.markdown, sha256=sha256).resolve())
    print(path.resolve())


def _read(given: argparse.Namespace) -> list[Evidence]:
    return [table.read(where, version=given.version) for where in given.where]


def _reports(several: list[Evidence]) -> tuple[Report, list[Report]]:
    """The report of one study; of several the one of all their trials together, and each one's own."""
    if len(several) == 1:
        return report_of(several[0]), []
    return report_of(join(several)), [report_of(one) for one in several]


def _page(given: argparse.Namespace, whole: Report, parts: list[Report], *, reload: bool) -> tuple[Path, str]:
    """(its path, its SHA-256)."""
    path = given.output or Path(f"{whole.name}.html")
    return path, writing.whole(path, layout.html(whole, several=parts, reload=reload).encode())


def _manuscript(given: argparse.Namespace, report: Report, formats: list[str], folder: str) -> list[Path]:
    """Figures, LaTeX and CSV; of several studies each has a folder of its own below that of all together."""
    written: list[Path] = []
    plots: list[Plot] = list(report.plots)
    if given.figures:
        written += export.write_figures(given.figures / folder, plots=plots, formats=formats)
    if given.latex:
        options = {"tables": report.tables, "methods": report.methods, "checklist": report.checklist}
        drawn = {path.stem: path for path in written if path.suffix == ".pdf"}
        pictures = {drawn[plot.id]: plot for plot in plots if plot.id in drawn}
        written += latex.write(given.latex / folder, name=report.name, figures=pictures, **options)
    if given.csv:
        written += export.write_csv(given.csv / folder, tables=report.tables, plots=plots)
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
            print(_page(given, *_reports(found), reload=waiting)[0].resolve(), flush=True)
        if not waiting:
            return
        time.sleep(given.interval)


def _waits(evidence: Evidence) -> bool:
    """Whether a trial that was asked for has no record yet; a study that kept no list is never waited for."""
    known = {record.trial for record in evidence.records}
    return bool(set(evidence.asked.trials) - known)
