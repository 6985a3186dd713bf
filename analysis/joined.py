"""Several studies as one: which study a trial belongs to becomes an axis of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from analysis.counting import LeftOut
from analysis.order import in_order
from analysis.table import Asked, Evidence

AXIS = "study"


def join(several: Sequence[Evidence]) -> Evidence:
    """All trials of several studies; ValueError for fewer than two, a name twice, or an axis that is called 'study'.

    Trials keep their devices, and a frontier never mixes these. Scores are compared on the clips that all studies
    scored; with other data there are none, and so no intervals.
    """
    names = [one.study for one in several]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"studies {names} cannot be joined; give at least two of different names")
    if any(AXIS in one.axes for one in several):
        raise ValueError(f"a study has an axis {AXIS!r}, which is what tells joined studies apart; rename the axis")
    axes = {axis: in_order(v for one in several for v in one.asked.axes.get(axis, ())) for axis in _axes(several)}
    return Evidence(
        study="-and-".join(names),
        version=" and ".join(one.version for one in several),
        asked=Asked(
            question=" · ".join(one.asked.question for one in several if one.asked.question),
            axes={AXIS: tuple(names), **axes},
            objectives=_objectives(several),
            trials=tuple(f"{one.study}.{trial}" for one in several for trial in one.asked.trials),
        ),
        records=tuple(
            replace(record, trial=f"{one.study}.{record.trial}", point={AXIS: one.study, **record.point})
            for one in several
            for record in one.records
        ),
        examples={f"{one.study}.{trial}": rows for one in several for trial, rows in one.examples.items()},
        gallery={name: strip for one in several for name, strip in one.gallery.items()},
        left_out=tuple(
            LeftOut(what=f"{one.study}: {item.what}", reason=item.reason) for one in several for item in one.left_out
        ),
    )


def _axes(several: Sequence[Evidence]) -> list[str]:
    return list(dict.fromkeys(axis for one in several for axis in one.asked.axes))


def _objectives(several: Sequence[Evidence]) -> tuple[tuple[str, str], ...]:
    """Those that all studies asked for, in the first one's order; none where they share none."""
    return tuple(goal for goal in several[0].asked.objectives if all(goal in one.asked.objectives for one in several))
