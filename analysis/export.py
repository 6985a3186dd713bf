"""Tables and plotted points as CSV, and the figures of a paper: what leaves a report besides its page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analysis import vectors
from analysis.plots import Chart, Grid, Plot
from analysis.tables import Table

COLUMN_INCHES, PAGE_INCHES = 3.25, 6.75


def write_csv(folder: Path, *, tables: Sequence[Table], plots: Sequence[Plot]) -> list[Path]:
    """ID.csv of every table, numbers unrounded with their interval's ends, and figure-ID.csv of every plotted point."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {f"{one.id}.csv": _table(one) for one in tables}
    texts |= {f"figure-{plot.id}.csv": _points(plot) for plot in plots}
    for name, text in texts.items():
        (folder / name).write_text(text, newline="")
    return [folder / name for name in texts]


def write_figures(folder: Path, *, plots: Sequence[Plot], formats: Sequence[str]) -> list[Path]:
    """Every plot at one column's and the page's width (3.25 and 6.75 inches), fonts embedded; paths in that order."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for plot in plots:
        for suffix, width in (("", COLUMN_INCHES), ("-wide", PAGE_INCHES)):
            for kind in formats:
                path = folder / f"{plot.id}{suffix}.{kind}"
                path.write_bytes(vectors.drawn(plot, kind=kind, width_inches=width))
                written.append(path)
    return written


def _table(one: Table) -> str:
    """An interval is two more columns, of the columns that have one anywhere."""
    spans = [any(np.isfinite(row[place].low) for row in one.rows) for place in range(len(one.keys))]
    header = [name for key, span in zip(one.keys, spans, strict=True) for name in _names(key, span)]
    lines: list[list[object]] = []
    for row in one.rows:
        line: list[object] = []
        for cell, span in zip(row, spans, strict=True):
            line += [_raw(value) for value in ((cell.value, cell.low, cell.high) if span else (cell.value,))]
        lines.append(line)
    return _csv(header, lines)


def _names(key: str, span: bool) -> list[str]:
    return [key, f"{key}.low", f"{key}.high"] if span else [key]


def _points(plot: Plot) -> str:
    """kind, name, x, y, low, high of all that is drawn; a grid's cells as x, y, value."""
    if isinstance(plot, Grid):
        cells = [
            [column, line, _raw(value)]
            for line, values in zip(plot.lines, plot.values, strict=True)
            for column, value in zip(plot.columns, values, strict=True)
        ]
        return _csv([plot.x_label, plot.y_label, plot.colour_label], cells)
    lines: list[list[object]] = []
    if isinstance(plot, Chart):
        for marks in plot.marks:
            ends = zip(marks.low, marks.high, strict=True) if marks.low else (("", "") for _ in marks.y)
            lines += [
                ["mark", marks.name, x, _raw(y), *map(_raw, own)]
                for x, y, own in zip(marks.x, marks.y, ends, strict=True)
            ]
        for line in plot.lines:
            lines += [["line", line.name, x, _raw(y), "", ""] for x, y in zip(line.x, line.y, strict=True)]
        for band in plot.bands:
            places = zip(band.x, band.low, band.high, strict=True)
            lines += [["band", band.name, x, "", _raw(low), _raw(high)] for x, low, high in places]
    return _csv(["kind", "name", "x", "y", "low", "high"], lines)


def _raw(value: object) -> object:
    """A number as Python writes it back exactly; a missing one is empty."""
    if isinstance(value, float):
        return "" if np.isnan(value) else repr(float(value))
    return value


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Texts that a spreadsheet would run as a formula get a leading apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([[_harmless(value) for value in row] for row in rows])
    return text.getvalue()


def _harmless(value: object) -> object:
    if not isinstance(value, str) or value[:1] not in ("=", "+", "-", "@"):
        return value
    try:
        float(value)
    except ValueError:
        return "'" + value
    return value
