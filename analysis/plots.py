"""What a plot shows, apart from how it is drawn: a Chart or a Grid, each with its summary and its numbers as a table.

`views` and `trends` make them; `figures` (plotly, interactive) and `vectors` (matplotlib, SVG) draw them, so both show
the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Okabe and Ito's colours without black, the yellow and with grey and brown: tellable apart with any colour vision
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#A0522D")

Coordinates = Sequence[float] | Sequence[str]


def short(text: str, most: int = 28) -> str:
    """A label that leaves room for the plot; the whole text stands in the hover and in the table."""
    return text if len(text) <= most else text[: most - 1] + "…"


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Points of one group. low, high: ends of the interval bars, same length as y or empty; style: colour and shape."""

    name: str
    x: Coordinates
    y: Sequence[float]
    style: int
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    labels: Sequence[str] = ()
    hovers: Sequence[Sequence[str]] = ()
    hollow: bool = False


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line; style None = ink. step: horizontal, then vertical, as an attainment surface goes."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: int | None = None
    dashed: bool = False
    step: bool = False
    in_legend: bool = True


@dataclass(frozen=True, kw_only=True)
class Band:
    """The area between low and high."""

    name: str
    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """What every plot has. id: a fixed name for page and files. header, rows: the numbers, the text alternative."""

    id: str
    title: str
    summary: str
    x_label: str
    y_label: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Chart(Plot):
    """Marks, lines and bands over two axes. ticks: where the x axis is labelled; empty = the drawer's choice."""

    marks: Sequence[Marks] = ()
    lines: Sequence[Line] = ()
    bands: Sequence[Band] = ()
    ticks: Sequence[float] = ()
    log_x: bool = False
    from_zero: bool = False


@dataclass(frozen=True, kw_only=True)
class Grid(Plot):
    """A value for each of columns x lines; NaN where there is none. texts: what stands in the cells."""

    columns: Sequence[str]
    lines: Sequence[str]
    values: Sequence[Sequence[float]]
    texts: Sequence[Sequence[str]]
    colour_label: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One sentence of the verdict. basis: what its interval rests on. clear: whether the interval is clear of zero."""

    sentence: str
    basis: str
    clear: bool


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a study's own module in `reports` gives: its verdict and its plots, in reading order."""

    findings: Sequence[Finding]
    plots: Sequence[Plot]
