"""The board of a packed study: trials wait on it, warm workers take them by turns, rows go back to their Tune trials.

Plain Python without ray: the launcher makes it a named actor. All times are seconds of the clock given. A worker is a
token that is new at every start, so a worker that was presumed dead cannot speak for a trial that was given to another.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Literal

from vqlora.extend import Extend, once
from vqlora.packing.keys import pack_key

DEATHS = 3  # a trial whose worker died so often ends as failed; from the second on it runs alone, so blame is certain
STARVED = "the cluster has no free device, or processes cannot start: see `ray status`, and ask for what it has"
IDLE_DEATHS = 3  # workers that die so often in a row before they take a trial end the study

Verdict = Literal["go on", "wait", "stop", "leave"]
Order = tuple[Literal["run", "wait", "leave"], Mapping[str, Any] | None]


@dataclass(kw_only=True)
class Seat:
    """One trial on the board. worker: who runs it; rows: what it sent; seen: how many of them its Tune trial has.

    key: of the trials that it may share steps with, see `pack_key`. complaint: why a worker gave it back.
    """

    asked: Mapping[str, Any]
    key: str | None = None
    worker: str | None = None
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    seen: int = 0
    final: Mapping[str, Any] | None = None
    deaths: int = 0
    complaint: str | None = None
    is_unwanted: bool = False

    @property
    def is_waiting(self) -> bool:
        return self.worker is None and self.final is None and not self.is_unwanted

    @property
    def is_suspect(self) -> bool:
        return self.deaths >= DEATHS - 1


class Board:
    """Queue and post office of one study on one cluster. start_limit: seconds without any sign of a worker."""

    def __init__(
        self, *, start_limit: float, clock: Callable[[], float] = time.monotonic, extend: Extend = None
    ) -> None:
        once(extend)  # so that it can tell which recipes go together
        self._seats: dict[str, Seat] = {}
        self._places: dict[int, str] = {}
        self._clock, self._start_limit = clock, start_limit
        self._last_sign = clock()
        self._idle_deaths: Counter[int] = Counter()
        self._reason: str | None = None
        self._is_closed = False

    # What Tune's trials call.

    def post(self, asked: Mapping[str, Any]) -> None:
        """Puts a trial up; nothing if it already is."""
        self._seats.setdefault(asked["trial"], Seat(asked=asked, key=pack_key(asked)))

    def read(self, trial: str, start: int) -> tuple[list[Mapping[str, Any]], Mapping[str, Any] | None]:
        """(rows from number `start` on, the final row or None)."""
        seat = self._seats[trial]
        seat.seen = start
        return list(seat.rows[start:]), seat.final

    def drop(self, trial: str) -> None:
        """The scheduler stopped the trial; its worker is told at its next row."""
        seat = self._seats.get(trial)
        if seat and seat.final is None:
            seat.is_unwanted = True

    # What workers call.

    def join(self, place: int, worker: str) -> None:
        """A worker starts at a place (its rank); whoever was there before is dead."""
        self._last_sign = self._clock()
        before, self._places[place] = self._places.get(place), worker
        if before is not None and not self._give_back(before):
            self._idle_deaths[place] += any(seat.is_waiting for seat in self._seats.values())
        if self._idle_deaths[place] >= IDLE_DEATHS:
            self.close(f"workers died {IDLE_DEATHS} times in a row before they took a trial; see the job's logs")

    def take(self, worker: str, key: str | None = None) -> Order:
        """The next trial for a worker, to wait, or to leave for good.

        key: of the trials that the worker is running; it gets only such, and leaves other workers their share.
        """
        self._last_sign = self._clock()
        if self._is_closed or worker not in self._places.values():
            return "leave", None
        running = [seat for seat in self._seats.values() if seat.worker is not None]
        if any(seat.is_suspect for seat in running):
            return "wait", None
        waiting = sorted((seat for seat in self._seats.values() if seat.is_waiting), key=lambda seat: seat.is_suspect)
        if not waiting or (waiting[0].is_suspect and running):
            return "wait", None
        if key is not None:
            waiting = [seat for seat in waiting if seat.key == key and not seat.is_suspect]
            own = sum(seat.worker == worker for seat in running)
            if own >= ceil((own + len(waiting)) / len(self._places)):
                return "wait", None
        waiting[0].worker = worker
        self._idle_deaths.clear()
        return "run", waiting[0].asked

    def beat(self) -> bool:
        """A worker lives; whether it has to leave."""
        self._last_sign = self._clock()
        return self._is_closed

    def send(self, trial: str, worker: str, row: Mapping[str, Any]) -> tuple[Verdict, int]:
        """Takes a row; gives what the worker has to do and the row's number."""
        verdict = self.verdict(trial, worker, -1)
        if verdict == "go on":
            self._seats[trial].rows.append(row)
        return verdict, len(self._seats[trial].rows) - 1

    def verdict(self, trial: str, worker: str, number: int) -> Verdict:
        """What to do after row `number`: 'wait' for the Tune trial to decide, 'stop' the trial, 'leave' the study."""
        seat = self._seats[trial]
        if self._is_closed or seat.worker != worker:
            return "leave"
        if seat.is_unwanted:
            return "stop"
        return "go on" if seat.seen > number else "wait"

    def give_back(self, trial: str, worker: str, error: str) -> None:
        """A worker could not run the trial for an error beside it; counts like the worker's death."""
        if self._seats[trial].worker == worker:
            self._seats[trial].complaint = error
            _vacate(self._seats[trial])

    def finish(self, trial: str, worker: str, final: Mapping[str, Any]) -> None:
        """The trial's record is written; `final` is the last row its Tune trial reports."""
        seat = self._seats[trial]
        if seat.worker == worker:
            seat.worker, seat.final = None, final

    # What the launcher calls.

    def close(self, reason: str | None = None) -> None:
        """Sends all workers away. With a reason, the study has failed."""
        self._is_closed = True
        self._reason = self._reason or reason

    def failure(self) -> str | None:
        """Why no trial can run any more, else None. The launcher asks every few seconds."""
        if not self._is_closed and self._clock() - self._last_sign > self._start_limit:
            self.close(f"no worker gave a sign for {self._start_limit:.0f} s; {STARVED}")
        return self._reason

    def taken(self) -> int:
        """Trials that a worker has now."""
        return sum(seat.worker is not None for seat in self._seats.values())

    def is_settled(self) -> bool:
        """Whether no worker still has to write the record of a trial that the scheduler stopped."""
        return not any(seat.worker is not None and seat.is_unwanted for seat in self._seats.values())

    def _give_back(self, worker: str) -> bool:
        """Puts a dead worker's trials back on the queue, or ends them as failed; whether it had one."""
        seats = [seat for seat in self._seats.values() if seat.worker == worker]
        for seat in seats:
            _vacate(seat)
        return bool(seats)


def _vacate(seat: Seat) -> None:
    """The trial waits for another worker, or ends as failed."""
    seat.worker = None
    seat.deaths += 1
    if seat.deaths >= DEATHS:
        error = f"its worker died {seat.deaths} times, the last time with no other trial running"
        if seat.complaint:
            error = f"it could not be run {seat.deaths} times; the last error known:\n{seat.complaint}"
        seat.final = {"status": "failed", "error": error}
