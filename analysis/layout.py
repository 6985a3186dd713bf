"""A Report, or several -> one self-contained HTML text, in reading order. The look is `page`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from html import escape

from analysis import explorer, figures, gallery, page
from analysis.accounts import counts, left_out, provenance, subtitle, trial_table
from analysis.plots import Finding, Plot
from analysis.report import Report
from analysis.tables import MOST_ROWS, Table

RELOAD_SECONDS = 10


def html(report: Report, *, several: Sequence[Report] = (), reload: bool = False) -> str:
    """The page of one study; with `several`, `report` is of all their trials together and each has a part of its own.

    reload: the page asks for itself again every RELOAD_SECONDS, for a study that is running.
    """
    explored = explorer.html(report.evidence, report.results)
    if several:
        parts = [_top(report, _title(several)), _verdict(report), explored, _frontier(report), _gallery(report)]
        parts += [*map(_table_section, report.tables), *map(_own, several)]
    else:
        parts = [_top(report, report.name), _verdict(report), _counted(report), explored, _frontier(report)]
        parts += [_theory(report), _plots(report.plots), _gallery(report), _rest(report)]
    library = figures.library() if explored else ""
    title = _title(several) if several else f"{report.name} {report.evidence.version}"
    return page.page(title=title, body="\n".join(parts), library=library, reload=RELOAD_SECONDS if reload else None)


def _title(several: Sequence[Report]) -> str:
    return ", ".join(f"{one.name} {one.evidence.version}" for one in several)


def _top(report: Report, title: str) -> str:
    words = page.paragraph(subtitle(report.evidence), kind="soft")
    return f"<header><h1>{escape(title)}</h1>{words}</header>"


def _own(report: Report) -> str:
    """One study among several: ids get its name, so that none occurs twice."""
    plots = [replace(plot, id=f"{report.name}-{plot.id}") for plot in report.plots]
    parts = [_verdict(report), _counted(report), _theory(report), _plots(plots), _rest(report)]
    return f'<section class="study"><h1>{escape(report.name)}</h1>{"".join(parts)}</section>'


def _verdict(report: Report) -> str:
    if not report.verdict:
        return page.paragraph("No trial has finished, so there is no verdict.")
    return page.verdict(_said(report.verdict))


def _frontier(report: Report) -> str:
    if not report.frontier:
        return ""
    return f"<section><h2>What the frontier says</h2>{page.verdict(_said(report.frontier))}</section>"


def _theory(report: Report) -> str:
    """Where the records hold no prediction there is nothing to say."""
    if not report.theory:
        return ""
    held = next(one for one in report.tables if one.id == "forecasts")
    return f"<section><h2>{held.title}</h2>{page.verdict(_said(report.theory))}{_table(held)}</section>"


def _counted(report: Report) -> str:
    evidence = report.evidence
    rows = left_out(evidence)
    words = f"What was left out and why ({len(rows)})"
    missing = (
        page.folded(words, page.table(("left out", "reason"), rows[:MOST_ROWS]), opened=len(rows) <= 12)
        if rows
        else page.paragraph("Nothing was left out, no clip was skipped.", kind="soft")
    )
    covered = next(one for one in report.tables if one.id == "coverage")
    return page.paragraph(counts(evidence), kind="counts") + missing + page.folded("Coverage by axis", _table(covered))


def _plots(plots: Sequence[Plot]) -> str:
    drawn = [
        page.plot(
            id=plot.id,
            title=plot.title,
            summary=plot.summary,
            config=json.dumps(figures.CONFIG),
            figure=figures.to_json(plot),
            header=plot.header,
            rows=plot.rows[:MOST_ROWS],
            more=max(0, len(plot.rows) - MOST_ROWS),
        )
        for plot in plots
    ]
    return f'<div class="plots">{"".join(drawn)}</div>' if drawn else ""


def _gallery(report: Report) -> str:
    """The command that adds frames names the study's place, which records do not know."""
    return gallery.html(report.evidence, report.results, again="`vqlora gallery STUDY_OR_RECORDS`")


def _rest(report: Report) -> str:
    """Tables, all trials, methods, checklist, provenance."""
    header, rows = trial_table(report.evidence)
    many = page.not_shown(len(rows) - MOST_ROWS)
    points = [
        f"<dt>{place}. {escape(what)}</dt><dd>{escape(said)}</dd>"
        for place, (what, said) in enumerate(report.checklist, 1)
    ]
    parts = [
        *(_table_section(one) for one in report.tables if one.id not in ("coverage", "forecasts")),
        f"<section><h2>All trials</h2>{page.table(header, rows[:MOST_ROWS])}{many}</section>",
        f"<section><h2>Methods</h2>{page.paragraph(report.methods)}</section>",
        f'<section><h2>What a journal asks</h2><dl class="checklist">{"".join(points)}</dl></section>',
        f"<section><h2>Provenance</h2>{page.table(('what', 'value', 'trials'), provenance(report.evidence))}</section>",
    ]
    return "\n".join(parts)


def _table_section(one: Table) -> str:
    return f"<section><h2>{escape(one.title)}</h2>{_table(one)}</section>"


def _table(one: Table) -> str:
    note = page.paragraph(one.note, kind="soft")
    return note + page.table(one.header, one.texts(MOST_ROWS)) + page.not_shown(len(one.rows) - MOST_ROWS)


def _said(findings: Sequence[Finding]) -> list[tuple[str, str, bool]]:
    return [(sentence(one.sentence), sentence(one.basis), one.clear) for one in findings]


def sentence(text: str) -> str:
    """A finding's words as a sentence."""
    return f"{text[:1].upper()}{text[1:]}."
