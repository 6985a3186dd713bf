"""Results -> the report's tables. One Table is written by page, LaTeX and CSV, so their numbers are the same.

A cell keeps its number; `text` rounds it in one way for all readers, CSV takes it as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.configs import amount, label, number
from analysis.importance import Importance, importance
from analysis.order import in_order
from analysis.results import Column, Results
from analysis.table import Evidence
from vqlora.record import Status

MOST_ROWS = 200  # on a page; CSV and LaTeX have all


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A text, or a number with its interval's ends where it has them. best: the best of its column or tied with it."""

    value: str | float
    low: float = np.nan
    high: float = np.nan
    best: bool = False

    @property
    def text(self) -> str:
        """For a reader: four significant digits, the interval in brackets, '–' for what was not measured."""
        if isinstance(self.value, str):
            return self.value
        if not np.isfinite(self.low):
            return number(self.value)
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, kw_only=True)
class Table:
    """id: a file's name. keys: the columns' names in CSV; header: for readers; note: what marks and intervals are."""

    id: str
    title: str
    note: str
    keys: Sequence[str]
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def texts(self, most: int | None = None) -> list[list[str]]:
        """The first rows as a reader sees them; what is best in its column has a star."""
        return [[cell.text + (" *" if cell.best else "") for cell in row] for row in self.rows[:most]]


def scores(found: Results) -> Table:
    """Every configuration: its score on both splits, its place on the frontier; frontier first, then by validation."""
    val, test = f"val.{found.metric}", f"test.{found.metric}"
    words = label(found.metric)
    rows = [
        [
            Cell(value=config.name),
            *([Cell(value=config.device)] if len(found.fronts) > 1 else []),
            Cell(value=float(config.seeds)),
            Cell(value=config.values.get(val, np.nan)),
            Cell(
                value=config.values.get(test, np.nan),
                low=config.score.low,
                high=config.score.high,
                best=found.tied[row],
            ),
            Cell(value="yes" if row in found.on_front else "no"),
            Cell(value=found.chance[row]),
        ]
        for row in ordered(found)
        for config in [found.configs[row]]
    ]
    device = ["device"] if len(found.fronts) > 1 else []
    goals = " and ".join(f"{label(name)} ({direction})" for name, direction in found.objectives)
    return Table(
        id="scores",
        title="Scores of all configurations",
        note="Test: mean over seeds and clips with its 95% bootstrap interval. * the best on test, or not "
        "distinguishable from it (paired, Holm over all rows, 5%). Frontier: not dominated in "
        f"{goals}, on validation; chance: share of paired resamples of clips and seeds in which that holds.",
        keys=["configuration", *device, "seeds", val, test, "on_front", "chance_on_front"],
        header=["configuration", *device, "seeds", f"{words}, validation", f"{words}, test", "frontier", "chance"],
        rows=rows,
    )


def costs(found: Results) -> Table:
    """What each configuration cost in training and costs in inference; the least of each device is marked."""
    columns = [one for one in found.columns if one.role == "cost"]
    least = _least(found, columns)
    rows = [
        [
            Cell(value=config.name),
            Cell(value=config.device),
            *(
                Cell(value=found.configs[row].values.get(one.key, np.nan), best=row in least[one.key])
                for one in columns
            ),
        ]
        for row in ordered(found)
        for config in [found.configs[row]]
    ]
    return Table(
        id="costs",
        title="What it costs",
        note="Means over seeds, measured on the device named; never compared between devices. * the least on its "
        "device. How each was measured stands under provenance.",
        keys=["configuration", "device", *(one.key for one in columns)],
        header=["configuration", "device", *(f"{one.label}, {one.unit}" if one.unit else one.label for one in columns)],
        rows=rows,
    )


def coverage(evidence: Evidence) -> Table:
    """For each value of each axis how many trials ended how."""
    words = [status.value for status in Status]
    rows = []
    for axis in evidence.axes:
        ends = Counter((record.point.get(axis), record.status.value) for record in evidence.records)
        for value in in_order(own for own, _ in ends):
            counts = [float(ends[value, word]) for word in words]
            rows.append([Cell(value=axis), Cell(value=str(value)), *(Cell(value=n) for n in (*counts, sum(counts)))])
    return Table(
        id="coverage",
        title="Coverage",
        note=f"Trials with a record; {evidence.asked_count} were asked for.",
        keys=["axis", "value", *words, "records"],
        header=["axis", "value", *(word.replace("_", " ") for word in words), "records"],
        rows=rows,
    )


def importances(found: Results, answer: Importance) -> Table:
    """The share of the score's variance that each axis and pair explains."""
    noise = (
        "no replicate, so noise is in the shares" if answer.noise is None else f"seeds alone explain {answer.noise:.1%}"
    )
    filled = f"; {answer.filled} of {answer.cells} cells had no trial and are estimated" if answer.filled else ""
    return Table(
        id="importance",
        title="Which axis matters",
        note=f"Functional ANOVA of {label(found.metric)} on test over the study's own levels, each level weighing the "
        f"same; noise of seeds taken off ({noise}); higher orders {answer.rest:.1%}{filled}. Spread: largest minus "
        "smallest marginal mean.",
        keys=["axes", "share", "spread"],
        header=["axis or pair", "share of variance", "spread"],
        rows=[
            [Cell(value=" × ".join(one.axes)), Cell(value=one.share), Cell(value=one.spread)] for one in answer.shares
        ],
    )


def explained(evidence: Evidence, metric: str, *, without: str = "") -> Importance | None:
    """The functional ANOVA of the test score, from trained trials but `without`; None where it cannot be asked."""
    name = f"test.{metric}"
    frame = evidence.done
    if name not in frame:
        return None
    frame = frame[(frame["method"] != "zero_shot") & (frame["trial"] != without)]
    columns = {axis: [None if value != value else value for value in frame[axis].tolist()] for axis in evidence.axes}
    try:
        return importance(columns, frame[name].tolist())
    except ValueError:
        return None


def ordered(found: Results) -> list[int]:
    """Rows in the order of a reader's interest: the frontier, then by validation score."""
    val, sign = f"val.{found.metric}", -1 if found.direction == "max" else 1
    return sorted(
        range(len(found.configs)),
        key=lambda row: (
            (row not in found.on_front, sign * found.configs[row].values.get(val, np.nan * sign), row)
            if val in found.configs[row].values
            else (True, np.inf, row)
        ),
    )


def budget_sentence(found: Results, row: int, cost: str) -> str:
    """A row as the answer to a budget."""
    config, test = found.configs[row], f"test.{found.metric}"
    score = Cell(value=config.values[test], low=config.score.low, high=config.score.high).text
    return f"{config.name}, {label(found.metric)} {score} on test at {amount(cost, config.values[cost])}"


def _least(found: Results, columns: Sequence[Column]) -> dict[str, set[int]]:
    least: dict[str, set[int]] = {one.key: set() for one in columns}
    for one in columns:
        for device in {config.device for config in found.configs}:
            known = {
                row: config.values[one.key]
                for row, config in enumerate(found.configs)
                if config.device == device and one.key in config.values
            }
            if len(set(known.values())) > 1:
                lowest = min(known.values())
                least[one.key] |= {row for row, value in known.items() if value == lowest}
    return least
