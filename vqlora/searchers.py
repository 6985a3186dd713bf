"""What proposes trials to Ray Tune: the listed ones first, then a searcher's points, each at all its seeds.

`SafeOptunaSearch` closes four holes of Ray 2.60's OptunaSearch, each measured: a missing or NaN metric left the Optuna
trial RUNNING for ever, and a trial stopped early was told as COMPLETE with the score of its first steps.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.trial import TrialState
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from vqlora.asked import Asked
from vqlora.record import Status
from vqlora.study import Objective

REPEATS = 50  # proposals in a row that are all known: the space is taken as exhausted


class SafeOptunaSearch(OptunaSearch):
    """OptunaSearch that tells Optuna the truth: failed trials FAIL, stopped ones PRUNED, the others COMPLETE."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        if trial_id in self._completed_trials:
            return
        self._completed_trials.add(trial_id)
        trial, study = self._ot_trials[trial_id], self._ot_study
        assert study is not None, "a trial was suggested, so there is a study"
        names = self.metric if isinstance(self.metric, list) else [self.metric]
        values = [(result or {}).get(name) for name in names]
        is_whole = all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)
        if (result or {}).get("status") == Status.STOPPED:
            study.tell(trial, state=TrialState.PRUNED)
        elif error or not is_whole:
            study.tell(trial, state=TrialState.FAIL)
        else:
            study.tell(trial, cast("list[float]", values))

    def learn(self, point: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        """Tells Optuna of a point that an earlier launch ran; one without all objectives teaches nothing."""
        study = self._ot_study
        assert study is not None, "it was set up with the study's objectives and space"
        names = self.metric if isinstance(self.metric, list) else [self.metric]
        values = [result.get(name) for name in names]
        axes = cast("dict[str, Any]", self._space)
        if result.get("status") == Status.DONE and all(isinstance(value, (int, float)) for value in values):
            study.add_trial(
                optuna.trial.create_trial(
                    params={axis: point[axis] for axis in axes}, distributions=axes, values=cast("list[float]", values)
                )
            )


def with_objectives(searcher: Any, objectives: Iterable[Objective], space: Mapping[str, Any]) -> Any:
    """The searcher with the study's objectives and space set, as Tune would set one metric. ValueError if it can't."""
    wanted = list(objectives)
    metrics, modes = [one.metric for one in wanted], [one.direction for one in wanted]
    several = isinstance(searcher, OptunaSearch)
    name = type(searcher).__name__
    if len(wanted) > 1 and not several:
        raise ValueError(f"{name} takes one objective, the study has {metrics}; use SafeOptunaSearch")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    chosen = (metrics, modes) if several else (metrics[0], modes[0])
    accepts: Any = searcher.set_search_properties  # OptunaSearch takes lists, its annotation does not say so
    if not accepts(*chosen, dict(space)):
        raise ValueError(f"{name} refused the study's space; give the searcher no space of its own")
    return searcher


@dataclass(kw_only=True)
class Group:
    """One proposed point: its trials at all seeds, and the searcher's ids that wait for their mean."""

    trials: tuple[Asked, ...]
    waiting: list[str] = field(default_factory=list)
    results: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def is_complete(self) -> bool:
        return len(self.results) == len(self.trials)

    def mean(self) -> dict[str, Any]:
        """Means over seeds of what is a number; status 'done' only if all are, 'stopped' before 'failed'."""
        rows = list(self.results.values())
        statuses = {str(row.get("status")) for row in rows}
        names = {name for row in rows for name, value in row.items() if isinstance(value, (int, float))}
        whole = {name: [row[name] for row in rows if row.get(name) is not None] for name in names}
        means = {name: sum(found) / len(rows) for name, found in whole.items() if len(found) == len(rows)}
        worst = next(
            (one for one in (Status.FAILED, Status.OUT_OF_MEMORY, Status.STOPPED) if one in statuses), Status.DONE
        )
        return {**means, "status": worst.value}


class StudySearch(Searcher):
    """Proposes a study's trials; Tune's config of each is {'asked': ..., 'stale': ...}.

    listed: trials to run first. searcher, ask: what proposes points, and a point as trials at all seeds; None = only
    the listed ones. samples: distinct points wanted of the searcher. answered: what the store already knows by
    fingerprint; a proposed trial that is known runs no more, and on_known hears of it. known: points that earlier
    launches proposed; those answered at all seeds count as samples, and the searcher learns of them.
    stale: {trial: attempt} of records that do not count; a newer one is of this launch, so its trial is finished.
    Never saved: a study launched again replays its answered points instead of unpickling anything.
    """

    def __init__(
        self,
        *,
        listed: Iterable[Asked],
        answered: Mapping[str, Mapping[str, Any]],
        searcher: Any = None,
        ask: Callable[[Mapping[str, Any]], list[Asked]] | None = None,
        samples: int = 0,
        on_known: Callable[[Asked], None] | None = None,
        known: Iterable[Mapping[str, Any]] = (),
        stale: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self._stale = dict(stale or {})
        self._on_known = on_known
        self._queue = deque(listed)
        self._searcher, self._ask, self._left = searcher, ask, samples if searcher else 0
        self._answers = {fingerprint: dict(row) for fingerprint, row in answered.items()}
        self._groups: dict[tuple[str, ...], Group] = {}
        self._running: dict[str, Asked] = {}
        self._proposals = 0
        self._is_barren = False  # nothing new came since the last result
        for point in known if searcher else ():
            self._recall(point)

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def has_work(self) -> bool:
        """Whether any trial is left to run. Points whose answers are known are told on the way."""
        return bool(self._queue) or self._propose()

    def suggest(self, trial_id: str) -> Any:
        if not self._queue and not self._is_barren:
            self._is_barren = not self._propose()
        if not self._queue:
            return None if self._running and self._left > 0 else Searcher.FINISHED
        asked = self._queue.popleft()
        self._running[trial_id] = asked
        return {"asked": asked.to_json(), "stale": self._stale.get(asked.trial)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        asked = self._running.pop(trial_id)
        row = dict(result or {})
        row.setdefault("status", Status.FAILED.value if error else Status.STOPPED.value)
        self._answers[asked.fingerprint] = row
        self._is_barren = False
        for group in list(self._groups.values()):
            self._tell(group)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: a searcher learns of finished points only."""

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; there is nothing in it."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise ValueError("a study is not restored from Tune's files; launch it again, and only what is missing runs")

    def _recall(self, point: Mapping[str, Any]) -> None:
        assert self._ask is not None, "whoever gives a searcher says how to ask its points"
        trials = tuple(self._ask(point))
        key = tuple(one.fingerprint for one in trials)
        if key in self._groups or not all(fingerprint in self._answers for fingerprint in key):
            return
        group = Group(trials=trials, results={one.trial: self._answers[one.fingerprint] for one in trials})
        self._groups[key] = group
        self._left -= 1
        for one in trials:
            if self._on_known:
                self._on_known(one)
        if hasattr(self._searcher, "learn"):
            self._searcher.learn(point, group.mean())

    def _propose(self) -> bool:
        """Asks for points until one brings trials to run; False when none does."""
        for _ in range(REPEATS):
            if self._left <= 0 or self._ask is None:
                return False
            self._proposals += 1
            name = f"point-{self._proposals}"
            point = self._searcher.suggest(name)
            if point is None or point == Searcher.FINISHED:
                return False
            trials = tuple(self._ask(point))
            key = tuple(one.fingerprint for one in trials)
            is_new = key not in self._groups
            group = self._groups.setdefault(key, Group(trials=trials))
            group.waiting.append(name)
            self._left -= is_new
            if is_new:
                self._enqueue(trials)
            self._tell(group)
            if self._queue:
                return True
        return False

    def _enqueue(self, trials: Iterable[Asked]) -> None:
        taken = {one.fingerprint for one in self._running.values()}
        for one in trials:
            if one.fingerprint not in self._answers.keys() | taken:
                self._queue.append(one)
            elif one.fingerprint in self._answers and self._on_known:
                self._on_known(one)

    def _tell(self, group: Group) -> None:
        group.results = {
            one.trial: self._answers[one.fingerprint] for one in group.trials if one.fingerprint in self._answers
        }
        if group.is_complete():
            mean = group.mean()
            for name in group.waiting:
                self._searcher.on_trial_complete(name, result=mean, error=mean["status"] != Status.DONE)
            group.waiting = []
