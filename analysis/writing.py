"""The only writer of files: a report's page, its committed form, and what goes into a manuscript."""

from __future__ import annotations

import hashlib
from pathlib import Path

from analysis import markdown, vectors
from analysis.report import Report


def whole(path: Path, data: bytes) -> str:
    """Writes the file whole or not at all, and returns its SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_bytes(data)
    unfinished.replace(path)
    return hashlib.sha256(data).hexdigest()


def write_markdown(report: Report, folder: Path, *, sha256: str) -> Path:
    """Writes NAME.md and NAME-PLOT.svg into the folder; `sha256` is the page's."""
    folder.mkdir(parents=True, exist_ok=True)
    for plot in report.plots:
        (folder / f"{report.name}-{plot.id}.svg").write_text(vectors.svg(plot))
    path = folder / f"{report.name}.md"
    path.write_text(markdown.markdown(report, sha256=sha256))
    return path
