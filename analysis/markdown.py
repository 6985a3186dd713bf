"""A report in the form that is committed: Markdown with SVGs beside it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from analysis.accounts import counts, left_out, provenance, subtitle, trial_table
from analysis.layout import sentence
from analysis.plots import Finding
from analysis.report import Report
from analysis.tables import MOST_ROWS


def markdown(report: Report, *, sha256: str) -> str:
    """Verdict, counts, what was left out, figures, tables, trials, methods, checklist, provenance."""
    evidence = report.evidence
    parts = [
        f"# {_plain(report.name)}",
        _plain(subtitle(evidence)),
        _findings(report.verdict) or "No trial has finished, so there is no verdict.",
        "● the interval is clear of zero · ○ it is not",
        f"**{counts(evidence)}**",
        *([_table(("left out", "reason"), left_out(evidence))] if left_out(evidence) else []),
        *(["## What the frontier says", _findings(report.frontier)] if report.frontier else []),
    ]
    parts += ["## How predictions came true", _findings(report.theory)] if report.theory else []
    for plot in report.plots:
        picture = f"![{_plain(plot.summary)}]({report.name}-{plot.id}.svg)"
        parts += [f"## {_plain(plot.title)}", _plain(plot.summary), picture]
    for one in report.tables:
        parts += [f"## {_plain(one.title)}", _plain(one.note), _table(one.header, one.texts(MOST_ROWS))]
    parts += ["## All trials", _table(*trial_table(evidence, short=True))]
    points = [f"{place}. **{_plain(what)}**: {_plain(said)}" for place, (what, said) in enumerate(report.checklist, 1)]
    parts += ["## Methods", _plain(report.methods), "## What a journal asks", "\n".join(points)]
    parts += ["## Provenance", _table(("what", "value", "trials"), provenance(evidence))]
    parts += [f"`python -m analysis report` makes the interactive page of these records; its SHA-256 is `{sha256}`."]
    return "\n\n".join(parts) + "\n"


def _findings(findings: Sequence[Finding]) -> str:
    return "\n".join(
        f"{number}. {'●' if one.clear else '○'} **{_plain(sentence(one.sentence))}** {_plain(sentence(one.basis))}"
        for number, one in enumerate(findings, 1)
    )


def _plain(text: str) -> str:
    """Text for Markdown, which would read markup in it: HTML escaped, Markdown's own signs too, one line."""
    one_line = " ".join(escape(text, quote=False).split())
    return "".join(f"\\{sign}" if sign in "\\`*_[]|#!" else sign for sign in one_line)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_plain if k != 1 else str, line)) + " |" for k, line in enumerate(lines))
