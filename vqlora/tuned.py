"""Studies that compare methods, each at its own learning rate: chosen on validation, alike for all.

A method whose best rate lies on the edge of what was asked gets the next rate out, and the study says so; else its best
would be one of a range that somebody chose. Test is never looked at.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from vqlora.launch import BAD_INPUT, INTERRUPTED, run
from vqlora.lines import one_line
from vqlora.options import Runtime, read_options
from vqlora.record import Record, Status
from vqlora.store import study_store
from vqlora.study import Objective, Study

ROUNDS = 3  # of extensions; a best that still moves out is said to lie on the edge


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A method's best rate and its score, a mean over seeds; beyond: the next rate out where the best is on an edge."""

    name: str
    rate: float
    score: float
    rates: int
    trials: int
    beyond: float | None


def choose(records: Iterable[Record], objective: Objective, *, by: str = "method", rate: str = "rate") -> list[Chosen]:
    """The best rate of each method by an objective of validation, from finished trials. Methods of one rate have none.

    A rate at which a trial failed or did not end is no candidate, but the range reaches to it.
    """
    groups: dict[str, dict[float, list[float | None]]] = {}
    for record in records:
        if {by, rate} <= set(record.point):
            score = record.metrics.get("val", {}).get(objective.metric.removeprefix("val."))
            is_done = record.status is Status.DONE
            own = groups.setdefault(str(record.point[by]), {})
            own.setdefault(float(record.point[rate]), []).append(score if is_done else None)
    return [one for name, own in sorted(groups.items()) if (one := _best(name, own, objective)) is not None]


def _best(name: str, scores: Mapping[float, Sequence[float | None]], objective: Objective) -> Chosen | None:
    sign = 1 if objective.direction == "max" else -1
    rates = sorted(scores)
    means = {
        one: sum(known) / len(known)
        for one in rates
        if len(known := [score for score in scores[one] if score is not None]) == len(scores[one])
    }
    if len(rates) < 2 or not means:
        return None
    best = max(means, key=lambda one: sign * means[one])
    beyond = None
    if best == rates[-1]:
        beyond = best * best / rates[-2]
    elif best == rates[0]:
        beyond = best * best / rates[1]
    return Chosen(
        name=name, rate=best, score=means[best], rates=len(rates), trials=sum(map(len, scores.values())),
        beyond=None if beyond is None else float(f"{beyond:.3g}"),
    )  # fmt: skip


def launch_tuned(study: Study, *, by: str = "method", rate: str = "rate") -> NoReturn:
    """As `launch`, and goes on until no method's best rate lies on an edge, at most ROUNDS times."""
    try:
        status = _run(study, sys.argv[1:], by, rate)
    except ValueError as error:
        print(f"{study.name}: {one_line(error)}", file=sys.stderr)
        status = BAD_INPUT
    raise SystemExit(status)


def _run(study: Study, arguments: Sequence[str], by: str, rate: str) -> int:
    asked, runtime = read_options(study, arguments, Runtime())
    store = study_store(runtime.storage, asked.name, asked.version)
    added: list[Mapping[str, Any]] = []
    status = 0
    for turn in range(ROUNDS + 1):
        status = run(replace(study, points=(*study.points, *added)), arguments, Runtime())
        if runtime.dry_run or status == INTERRUPTED:
            return status
        chosen = choose(store.read().records, asked.objectives[0], by=by, rate=rate)
        _print(chosen, asked.objectives[0].metric)
        wider = [{by: one.name, rate: one.beyond} for one in chosen if one.beyond is not None]
        if not wider or turn == ROUNDS:
            return status
        added += wider
    return status


def _print(chosen: Sequence[Chosen], metric: str) -> None:
    width = max((len(one.name) for one in chosen), default=4)
    for one in chosen:
        edge = "" if one.beyond is None else f"; on the edge, {one.beyond:g} is asked next"
        print(f"{one.name:{width}}  best at {one.rate:g} of {one.rates} rates, {one.trials} trials: {metric} "
              f"{one.score:.4g}{edge}", flush=True)  # fmt: skip
