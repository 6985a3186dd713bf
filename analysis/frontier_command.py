"""`python -m analysis pareto FILE.csv`: the front and its hypervolume of anyone's table."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import choices, pareto

LIMIT = re.compile(r"(?P<column>.+?)(?P<sign><=|>=)(?P<value>[^<>=]+)")


@dataclass(frozen=True, kw_only=True)
class Front:
    """rows: numbers from 0 of the table's rows; missing: rows without a number in an objective; outside: of a limit."""

    rows: tuple[int, ...]
    missing: tuple[int, ...]
    outside: tuple[int, ...]
    hypervolume: float | None

    def plain(self) -> dict[str, object]:
        """What --json prints: JSON's own types only."""
        return {
            "front": list(self.rows),
            "hypervolume": self.hypervolume,
            "missing": list(self.missing),
            "outside": list(self.outside),
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options and what it runs."""
    parser.add_argument("file", metavar="FILE.csv", help="a table with a header; rows are numbered from 0")
    parser.add_argument(
        "--objective", action="append", required=True, metavar="COLUMN:max|min", help="once for each objective"
    )
    parser.add_argument(
        "--reference",
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="the worst value of an objective, once for each: asks for the hypervolume",
    )
    parser.add_argument(
        "--where", action="append", default=[], metavar="COLUMN<=VALUE", help="a limit (<= or >=) on any column"
    )
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    """Prints the front. A row that lacks an objective, or is outside a limit, is not on it and counted."""
    frame = pd.read_csv(given.file)
    objectives = [_objective(text) for text in given.objective]
    found = front_of(frame, objectives=objectives, reference=given.reference, limits=given.where)
    names = [name for name, _ in objectives]
    print(f"{len(found.rows)} of {len(frame)} rows are on the front", end="")
    print(f", {len(found.missing)} lack an objective, {len(found.outside)} are outside a limit")
    if given.json:
        print(json.dumps(found.plain()))
    else:
        print(frame.loc[list(found.rows), names].sort_values(names[0]).to_string())
        if found.hypervolume is not None:
            print(f"hypervolume {found.hypervolume:.6g}")


def front_of(
    frame: pd.DataFrame,
    *,
    objectives: Sequence[tuple[str, str]],
    reference: Sequence[str] = (),
    limits: Sequence[str] = (),
) -> Front:
    """The front of a table. ValueError for unknown columns, text where numbers belong, and a half-given reference."""
    names = [name for name, _ in objectives]
    if len(set(names)) < len(names):
        raise ValueError(f"objective {max(names, key=names.count)!r} is given twice; give each column once")
    directions = [direction for _, direction in objectives]
    values = np.column_stack([_numbers(frame, name) for name in names])
    bounds: dict[str, tuple[float | None, float | None]] = {}
    for text in limits:
        name, least, most = _limit(text)
        old = bounds.get(name, (None, None))
        bounds[name] = (old[0] if least is None else least, old[1] if most is None else most)
    inside = choices.within({name: _numbers(frame, name) for name in bounds}, bounds) if bounds else np.ones(len(frame))
    inside = inside.astype(np.bool_)
    missing = np.isnan(values).any(axis=1)
    kept = np.where(inside[:, None], values, np.nan)
    worst = _reference(reference, names)
    volume = None if worst is None else pareto.hypervolume(kept, reference=worst, directions=directions)
    return Front(
        rows=tuple(np.flatnonzero(pareto.non_dominated(kept, directions=directions)).tolist()),
        missing=tuple(np.flatnonzero(missing).tolist()),
        outside=tuple(np.flatnonzero(~inside).tolist()),
        hypervolume=volume,
    )


def _numbers(frame: pd.DataFrame, name: str) -> np.ndarray:
    if name not in frame:
        raise ValueError(f"column {name!r} is not in the table; it has {', '.join(map(str, frame.columns))}")
    try:
        return np.asarray(pd.to_numeric(frame[name]), dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"column {name!r} holds something that is no number: {error}") from error


def _objective(text: str) -> tuple[str, str]:
    name, sign, direction = text.rpartition(":")
    if not sign or direction not in ("max", "min"):
        raise ValueError(f"objective {text!r} does not say its direction; write COLUMN:max or COLUMN:min")
    return name, direction


def _limit(text: str) -> tuple[str, float | None, float | None]:
    found = LIMIT.fullmatch(text)
    if not found:
        raise ValueError(f"limit {text!r} is not COLUMN<=VALUE or COLUMN>=VALUE")
    value = _value(found["value"], text)
    least, most = (None, value) if found["sign"] == "<=" else (value, None)
    return found["column"].strip(), least, most


def _reference(texts: Sequence[str], names: Sequence[str]) -> list[float] | None:
    if not texts:
        return None
    given = {name: _value(value, text) for text in texts for name, _, value in [text.rpartition("=")]}
    if set(given) != set(names):
        odd = sorted(set(given) ^ set(names))[0]
        raise ValueError(f"reference and objectives differ in {odd!r}; give one worst value for each objective")
    return [given[name] for name in names]


def _value(text: str, whole: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} in {whole!r} is not a number") from None
