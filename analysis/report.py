"""Evidence -> one self-contained HTML file, and the committed form: NAME.md with SVGs.

Equal evidence gives equal bytes: fixed ids, fixed seeds, no dates but the records'.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from analysis import figures, page, vectors
from analysis.configs import label, number
from analysis.plots import Answer
from analysis.reports import general
from analysis.table import COST_COLUMNS, Evidence
from vqlora.record import Status


def answer(evidence: Evidence) -> Answer:
    """The study's verdict and plots, by `analysis.reports.NAME` or else `general`; none without a finished trial."""
    if not evidence.count(Status.DONE):
        return Answer(findings=[], plots=[])
    name = f"analysis.reports.{evidence.study}"
    known = evidence.study.isidentifier() and importlib.util.find_spec(name) is not None
    module = importlib.import_module(name) if known else general
    return module.answer(evidence)


def write_html(evidence: Evidence, path: Path, *, answered: Answer | None = None) -> str:
    """Writes the report, whole or not at all, and returns its SHA-256."""
    data = html(evidence, answered or answer(evidence)).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(data)
    unfinished.replace(path)
    return hashlib.sha256(data).hexdigest()


def write_markdown(evidence: Evidence, folder: Path, *, sha256: str, answered: Answer | None = None) -> Path:
    """Writes NAME.md and NAME-PLOT.svg into the folder; `sha256` is the HTML's."""
    answered = answered or answer(evidence)
    folder.mkdir(parents=True, exist_ok=True)
    for plot in answered.plots:
        (folder / f"{evidence.study}-{plot.id}.svg").write_text(vectors.svg(plot))
    path = folder / f"{evidence.study}.md"
    path.write_text(markdown(evidence, answered, sha256=sha256))
    return path


def html(evidence: Evidence, answered: Answer) -> str:
    """The report as one page."""
    plots = [
        page.plot(
            id=plot.id,
            title=plot.title,
            summary=plot.summary,
            config=json.dumps(figures.CONFIG),
            figure=figures.to_json(plot),
            header=plot.header,
            rows=plot.rows,
        )
        for plot in answered.plots
    ]
    parts = [
        f"<header><h1>{escape(evidence.study)}</h1>",
        page.paragraph(f"{evidence.asked.question or 'A study'} · version {evidence.version}", kind="soft"),
        "</header>",
        page.verdict([(_sentence(one.sentence), _sentence(one.basis), one.clear) for one in answered.findings])
        if answered.findings
        else page.paragraph("No trial has finished, so there is no verdict."),
        page.paragraph(counts(evidence), kind="counts"),
        _left_out(evidence),
        f'<div class="plots">{"".join(plots)}</div>' if plots else "",
        f"<section><h2>All trials</h2>{page.table(*trial_table(evidence))}</section>",
        f"<section><h2>Provenance</h2>{page.table(('what', 'value', 'trials'), provenance(evidence))}</section>",
    ]
    library = figures.library() if plots else ""
    return page.page(title=f"{evidence.study} {evidence.version}", body="\n".join(parts), library=library)


def markdown(evidence: Evidence, answered: Answer, *, sha256: str) -> str:
    """The committed form: verdict, counts, what was left out, figures, configurations."""
    findings = [
        f"{number}. {'●' if one.clear else '○'} **{_plain(_sentence(one.sentence))}** {_plain(_sentence(one.basis))}"
        for number, one in enumerate(answered.findings, 1)
    ]
    parts = [
        f"# {_plain(evidence.study)}",
        _plain(f"{evidence.asked.question or 'A study'} · version {evidence.version}"),
        "\n".join(findings) or "No trial has finished, so there is no verdict.",
        "● the interval is clear of zero · ○ it is not",
        f"**{counts(evidence)}**",
        *([_markdown_table(("left out", "reason"), left_out(evidence))] if left_out(evidence) else []),
    ]
    for plot in answered.plots:
        picture = f"![{_plain(plot.summary)}]({evidence.study}-{plot.id}.svg)"
        parts += [f"## {_plain(plot.title)}", _plain(plot.summary), picture]
    parts += ["## All trials", _markdown_table(*trial_table(evidence, short=True))]
    parts += ["## Provenance", _markdown_table(("what", "value", "trials"), provenance(evidence))]
    parts += [f"`python -m analysis report` makes the interactive page of these records; its SHA-256 is `{sha256}`."]
    return "\n\n".join(parts) + "\n"


def counts(evidence: Evidence) -> str:
    """Such as '45 asked · 41 done · 3 out of memory · 1 failed'."""
    found = [(evidence.count(status), status.value.replace("_", " ")) for status in Status]
    shown = [f"{many} {word}" for many, word in found if many or word == "done"]
    open_trials = len(set(evidence.asked.trials) - {record.trial for record in evidence.records})
    waiting = [f"{open_trials} without a record"] if open_trials else []
    return " · ".join([f"{evidence.asked_count} asked", *shown, *waiting])


def left_out(evidence: Evidence) -> list[tuple[str, str]]:
    """Trials, records and clips that count nowhere, each with its reason."""
    clips = Counter((clip["id"], clip["reason"]) for record in evidence.records for clip in record.skipped)
    trials = [(one.what, one.reason) for one in evidence.left_out]
    return trials + [(f"clip {id}", f"{reason} ({many} trials)") for (id, reason), many in sorted(clips.items())]


def trial_table(evidence: Evidence, *, short: bool = False) -> tuple[list[str], list[list[str]]]:
    """All trials with every column that holds anything; `short`: only what the general objectives name."""
    frame = evidence.frame
    metric = general.score(evidence)[0]
    wanted = {f"val.{metric}", f"test.{metric}", *(name for name, _ in general.OBJECTIVES)}
    measured = set(frame.columns[frame.notna().any()])
    numbers = [name for name in frame.columns if name.startswith(("val.", "test.")) or name in COST_COLUMNS]
    shown = [name for name in numbers if name in measured and (not short or name in wanted)]
    names = ["trial", "method", *evidence.axes, "seed", "status", *shown]
    columns: list[list[str]] = []
    for name in names:
        columns.append([number(value) if isinstance(value, float) else _text(value) for value in frame[name].tolist()])
    return names, [list(row) for row in zip(*columns, strict=True)]


def provenance(evidence: Evidence) -> list[tuple[str, str, str]]:
    """With what the trials ran: each distinct value and how many trials had it."""
    found: Counter[tuple[str, str]] = Counter()
    for record in evidence.records:
        own = record.provenance
        commit = f"{own.commit or 'unknown'}{' (working tree differed)' if own.dirty else ''}"
        found.update(
            [("commit", commit), ("device", own.device), ("platform", own.platform)]
            + [("versions", ", ".join(f"{name} {value}" for name, value in sorted(own.versions.items())))]
            + [("data digest", own.data_digest or "–"), ("base digest", own.base_digest or "–")]
            + [("decoder", own.decoder or "–"), ("executor", own.executor or "–")]
            + [("base", str(record.recipe.get("base"))), ("data", str(record.recipe.get("data")))]
            + [(f"how {label('cost.' + name)} was measured", how) for name, how in record.cost.how.items()]
        )
    rows = [(what, value, str(many)) for (what, value), many in sorted(found.items())]
    times = sorted(stamp for record in evidence.records for stamp in (record.started_at, record.ended_at) if stamp)
    return rows + ([("from, to", f"{times[0]}, {times[-1]}", str(len(evidence.records)))] if times else [])


def _left_out(evidence: Evidence) -> str:
    rows = left_out(evidence)
    if not rows:
        return page.paragraph("Nothing was left out, no clip was skipped.", kind="soft")
    label = f"What was left out and why ({len(rows)})"
    return page.folded(label, page.table(("left out", "reason"), rows), opened=len(rows) <= 12)


def _text(value: object) -> str:
    return "–" if value is None or (isinstance(value, float) and np.isnan(value)) else str(value)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _plain(text: str) -> str:
    """Text for Markdown, which would read markup in it: HTML escaped, Markdown's own signs too, one line."""
    one_line = " ".join(escape(text, quote=False).split())
    return "".join(f"\\{sign}" if sign in "\\`*_[]|#!" else sign for sign in one_line)


def _markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(_plain if k != 1 else str, line)) + " |" for k, line in enumerate(lines))
