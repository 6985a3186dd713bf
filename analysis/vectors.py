"""Plots -> SVG text by matplotlib, for the committed reports and for papers. No files; equal plots give equal text.

The same palette and shapes as `figures`. Text stays text, so the files are small and searchable.
"""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.plots import PALETTE, Chart, Grid, Line, Marks, Plot, short

SHAPES = ("o", "s", "D", "^", "P", "X", "*", "h")
INK = "#333333"
TALLEST = 20  # signs of a label that stands upright; a longer one would leave no room for the plot
MOST_SIGNS = 60  # of all labels of an x axis that stand beside each other
SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vqlora",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#888888",
    "axes.labelcolor": INK,
    "axes.grid": True,
    "grid.color": "#E2E2E2",
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


def svg(plot: Plot, *, width_inches: float = 6.75, height_inches: float = 3.9) -> str:
    """The plot as SVG on white with its title, without a date and with fixed ids; text stays text."""
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _figure(plot, width_inches, height_inches)
        axes.set_title(plot.title, loc="left", fontsize=10)
        return _compact(_saved(figure, "svg").decode())


def drawn(plot: Plot, *, kind: str, width_inches: float) -> bytes:
    """The plot for a manuscript: 'svg', 'pdf' or 'png' (300 dots an inch), no title, fonts embedded, no date.

    TrueType in PDF (journals refuse Type 3), outlines in SVG. ValueError for another kind.
    """
    if kind not in ("svg", "pdf", "png"):
        raise ValueError(f"format {kind!r} is not one of svg, pdf, png")
    narrow = width_inches < 4
    own: dict[Any, Any] = {
        "svg.fonttype": "path",
        "pdf.fonttype": 42,
        "font.size": 7.5 if narrow else 9,
        "savefig.dpi": 300,
    }
    with matplotlib.rc_context({**SETTINGS, **own}):
        figure, _ = _figure(plot, width_inches, width_inches * (0.8 if narrow else 0.55))
        return _saved(figure, kind)


def _figure(plot: Plot, width_inches: float, height_inches: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    axes = figure.add_subplot()
    if isinstance(plot, Grid):
        _grid(figure, axes, plot)
    elif isinstance(plot, Chart):
        _chart(axes, plot)
    axes.set_xlabel(plot.x_label)
    axes.set_ylabel(plot.y_label)
    return figure, axes


def _saved(figure: Figure, kind: str) -> bytes:
    """Without a date and the maker's version, so that equal plots give equal bytes."""
    undated = {"svg": {"Date": None, "Creator": None}, "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
    data = io.BytesIO()
    figure.savefig(data, format=kind, metadata=undated.get(kind, {"Software": None}))
    return data.getvalue()


def _compact(text: str) -> str:
    """Coordinates to a hundredth of a point, in attributes only, and no spaces at the ends of lines: half the size."""
    rounded = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), text)
    return "\n".join(line.rstrip() for line in rounded.splitlines()) + "\n"


def _chart(axes: Axes, plot: Chart) -> None:
    for band in plot.bands:
        axes.fill_between(band.x, band.low, band.high, color="#808080", alpha=0.25, linewidth=0, label=band.name)
    for line in plot.lines:
        _line(axes, line)
    for marks in plot.marks:
        _marks(axes, marks)
    if plot.log_x:
        axes.set_xscale("log", base=2)
    if plot.ticks:
        axes.set_xticks(plot.ticks, [f"{tick:g}" for tick in plot.ticks])
    names = [value for marks in plot.marks for value in marks.x if isinstance(value, str)]
    if len("".join(names)) > MOST_SIGNS and max(map(len, names)) <= TALLEST:
        axes.tick_params(axis="x", labelrotation=90)
    if plot.from_zero:
        axes.set_ylim(bottom=0)
    if any(axes.get_legend_handles_labels()):
        axes.legend(frameon=False, fontsize=8, loc="best")  # unsaid, matplotlib warns where a busy machine is slow


def _line(axes: Axes, line: Line) -> None:
    axes.plot(
        line.x,
        line.y,
        color=INK if line.style is None else PALETTE[line.style % len(PALETTE)],
        linewidth=1,
        linestyle="--" if line.dashed else "-",
        drawstyle="steps-post" if line.step else "default",
        label=short(line.name) if line.in_legend else None,
    )


def _marks(axes: Axes, marks: Marks) -> None:
    colour = PALETTE[marks.style % len(PALETTE)]
    y = np.asarray(marks.y, dtype=np.float64)
    bars = None
    if marks.low:
        bars = np.nan_to_num(np.abs(np.stack([y - np.asarray(marks.low), np.asarray(marks.high) - y])))
    axes.errorbar(
        list(marks.x),
        y,
        yerr=bars,
        fmt=SHAPES[marks.style % len(SHAPES)],
        color=colour,
        markerfacecolor="none" if marks.hollow else colour,
        markersize=4.5,
        elinewidth=0.7,
        capsize=2,
        label=short(marks.name),
    )
    for x, height, text in zip(marks.x, y, marks.labels, strict=False):
        axes.annotate(short(text), (x, height), xytext=(4, 4), textcoords="offset points", fontsize=6.5, color=INK)


def _grid(figure: Figure, axes: Axes, plot: Grid) -> None:
    values = np.array(plot.values, dtype=np.float64)
    image = axes.imshow(values, cmap="cividis", origin="lower", aspect="auto")
    axes.grid(False)
    axes.set_xticks(range(len(plot.columns)), [short(name) for name in plot.columns])
    axes.set_yticks(range(len(plot.lines)), [short(name) for name in plot.lines])
    middle = np.nanmean([np.nanmin(values), np.nanmax(values)])
    for down, line in enumerate(plot.texts):
        for across, text in enumerate(line):
            colour = "black" if values[down, across] > middle else "white"
            axes.text(across, down, text, ha="center", va="center", color=colour)
    figure.colorbar(image, label=plot.colour_label)
