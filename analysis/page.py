"""The look of a report: one HTML text that needs nothing else. No files, no evidence; what it says comes from `report`.

Text from records is untrusted: everything is escaped here, and the page's own policy allows only the two scripts whose
digests it names and no connection at all, so markup that slipped through could neither run nor load anything. plotly.js
is 4.8 MB: it lies compressed in the page, which unpacks it (`draw.js`) after its text is there to read.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
from collections.abc import Sequence
from html import escape
from pathlib import Path

Rows = Sequence[Sequence[str]]

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("explore.js", "scatter.js", "parallel.js", "lists.js", "gallery.js", "draw.js")


def page(*, title: str, body: str, library: str, reload: int | None = None) -> str:
    """The whole document. library: plotly.js, or '' for a page without plots; reload: seconds between reloads."""
    own = "".join((ASSETS / name).read_text() for name in SCRIPTS)
    scripts = [library, own] if library else []
    digests = " ".join(f"'sha256-{_digest(script)}'" for script in scripts) or "'none'"
    policy = f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data: blob:"
    again = f'<meta http-equiv="refresh" content="{reload}">' if reload else ""
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">{again}'
        f"<title>{escape(title)}</title><style>{(ASSETS / 'page.css').read_text()}</style>"
    )
    drawn = f"{packed('library', library)}<script>{own}</script>" if library else ""
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


def plot(
    *,
    id: str,
    title: str,
    summary: str,
    config: str,
    figure: str,
    header: Sequence[str],
    rows: Rows,
    more: int = 0,
) -> str:
    """One plot with its summary above and its numbers below; figure and config are JSON. more: rows not shown."""
    said, unshown = escape(summary), not_shown(more)
    return (
        f'<section><h2>{escape(title)}</h2><p class="soft">{said}</p>'
        f'<div class="plot" id="{escape(id)}" role="img" aria-label="{said}" data-config="{escape(config)}"></div>'
        f'<script type="application/json" id="data-{escape(id)}">{figure}</script>'
        f"{folded('The numbers of this plot', table(header, rows) + unshown)}</section>"
    )


def plain(text: str) -> str:
    """Text for a place in markup that is made elsewhere."""
    return escape(text)


def packed(id: str, text: str) -> str:
    """Text for the page's scripts, compressed; equal text gives equal bytes."""
    data = base64.b64encode(gzip.compress(text.encode(), compresslevel=6, mtime=0)).decode()
    return f'<script type="text/plain" id="{escape(id)}">{data}</script>'


def not_shown(rows: int) -> str:
    """Says that a table goes on; nothing where it does not."""
    return paragraph(f"{rows} more rows are in the CSV (--csv).", kind="soft") if rows > 0 else ""


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
