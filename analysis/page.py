"""The look of a report: one HTML text that needs nothing else. No files, no evidence; what it says comes from `report`.

Text from records is untrusted: everything is escaped here, and the page's own policy allows only the two scripts whose
digests it names and no connection at all, so markup that slipped through could neither run nor load anything.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape

Rows = Sequence[Sequence[str]]

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1e21; --soft: #5b6068; --line: #d9dce0; --panel: #f6f7f8;
  --accent: #005a9c; --grid: #e2e4e7; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --ink: #e6e8ea; --soft: #a2a8b0; --line: #363a40;
  --panel: #1d2024; --accent: #7cc0f5; --grid: #2d3136; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 2.5rem) 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.75rem 0 .5rem; }
p { margin: .35rem 0; max-width: 46rem; overflow-wrap: anywhere; }
.soft, .basis { color: var(--soft); font-size: .875rem; }
.verdict { list-style: none; margin: 1rem 0 0; padding: 0; }
.verdict li { padding: .7rem 0 .7rem 1.9rem; border-top: 1px solid var(--line); position: relative; }
.verdict li:last-child { border-bottom: 1px solid var(--line); }
.verdict .sign { position: absolute; left: .25rem; }
.verdict .sentence { display: block; font-weight: 550; max-width: 58rem; overflow-wrap: anywhere; }
.verdict .basis { display: block; max-width: 58rem; overflow-wrap: anywhere; }
.counts { font-size: 1.1rem; margin: 1.25rem 0 .25rem; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: minmax(0, 1fr); gap: 0 2.5rem; }
@media (min-width: 64rem) { .plots { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
.plot { height: 26rem; width: 100%; }
.scroll { overflow-x: auto; max-height: 34rem; border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; }
table { border-collapse: collapse; font-size: .8125rem; font-variant-numeric: tabular-nums; min-width: 100%; }
th, td { padding: .3rem .65rem; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line); }
td.wide { white-space: normal; min-width: 16rem; overflow-wrap: anywhere; }
th { position: sticky; top: 0; background: var(--panel); font-weight: 600; }
tr:last-child td { border-bottom: 0; }
td.number { text-align: right; }
summary { cursor: pointer; color: var(--accent); font-size: .875rem; padding: .2rem 0; }
a { color: var(--accent); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.js-plotly-plot .xtick text, .js-plotly-plot .ytick text, .js-plotly-plot .xtitle, .js-plotly-plot .ytitle,
.js-plotly-plot .legendtext, .js-plotly-plot .textpoint text, .js-plotly-plot .cbaxis text,
.js-plotly-plot .cbtitle text { fill: var(--ink) !important; }
.js-plotly-plot .gridlayer path { stroke: var(--grid) !important; }
@media print { .plots { display: block; } section { break-inside: avoid; }
  .scroll { max-height: none; overflow: visible; } }
"""

DRAW = """
for (const box of document.querySelectorAll(".plot")) {
  const figure = JSON.parse(document.getElementById("data-" + box.id).textContent);
  Plotly.newPlot(box, figure.data, figure.layout, JSON.parse(box.dataset.config));
}
"""


def page(*, title: str, body: str, library: str) -> str:
    """The whole document. library: plotly.js, or '' for a page without plots."""
    scripts = [library, DRAW] if library else []
    digests = " ".join(f"'sha256-{_digest(script)}'" for script in scripts) or "'none'"
    policy = f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data: blob:"
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
    )
    drawn = "".join(f"<script>{script}</script>" for script in scripts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{body}\n</main>{drawn}</body></html>\n'


def verdict(findings: Sequence[tuple[str, str, bool]]) -> str:
    """Sentences as (sentence, basis, clear); the sign is filled where the interval is clear of zero, else hollow."""
    items: list[str] = []
    for sentence, basis, clear in findings:
        word, sign = ("clear", "●") if clear else ("not clear", "○")
        items.append(
            f'<li><span class="sign" role="img" aria-label="{word}">{sign}</span>'
            f'<span class="sentence">{escape(sentence)}</span><span class="basis">{escape(basis)}</span></li>'
        )
    return f'<ol class="verdict">{"".join(items)}</ol>'


def plot(*, id: str, title: str, summary: str, config: str, figure: str, header: Sequence[str], rows: Rows) -> str:
    """One plot with its summary above and its numbers below; figure and config are JSON."""
    said = escape(summary)
    return (
        f'<section><h2>{escape(title)}</h2><p class="soft">{said}</p>'
        f'<div class="plot" id="{escape(id)}" role="img" aria-label="{said}" data-config="{escape(config)}"></div>'
        f'<script type="application/json" id="data-{escape(id)}">{figure}</script>'
        f"{folded('The numbers of this plot', table(header, rows))}</section>"
    )


def table(header: Sequence[str], rows: Rows) -> str:
    """A table that scrolls inside its frame; cells that read as numbers are set right, long ones wrap."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in header)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    inside = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="table">{inside}</div>'


def folded(label: str, inside: str, *, opened: bool = False) -> str:
    """A part that opens on demand."""
    return f"<details{' open' if opened else ''}><summary>{escape(label)}</summary>{inside}</details>"


def paragraph(text: str, *, kind: str = "") -> str:
    """A paragraph of plain text."""
    opening = f'<p class="{kind}">' if kind else "<p>"
    return f"{opening}{escape(text)}</p>"


def _cell(text: str) -> str:
    plain = text.lstrip("+-−").replace(",", "").replace(".", "", 1)
    kind = ' class="number"' if plain.isdigit() or text == "–" else ' class="wide"' if len(text) > 32 else ""
    return f"<td{kind}>{escape(text)}</td>"


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
