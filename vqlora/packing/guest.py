"""Tune's side of a packed trial: posts it on the board and hands its rows to Tune. Imports no torch, so it is light."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray import tune

NAMESPACE = "vqlora"
POLL_SECONDS = 0.1


class Guest(tune.Trainable):
    """A trial that runs on a warm worker. config: {'asked': ..., 'stale': ..., 'board': name of the board's actor}."""

    def __repr__(self) -> str:
        """What the dashboard and the logs call this process."""
        return f"Guest({self.config['asked']['study']} {self.config['asked']['trial']})"

    def setup(self, config: dict[str, Any]) -> None:
        self._board = ray.get_actor(config["board"], namespace=NAMESPACE)
        self._sit(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next trial in the same process, which spares its start."""
        self._sit(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Waits for the next row. The last one says `done`. An error of the study ends all its trials."""
        while not self._rows:
            rows, final = ray.get(self._board.read.remote(self._trial, self._seen))
            self._rows += rows
            self._seen += len(rows)
            if final is not None and not self._rows:
                return {**self._last, **final, "done": True}
            if not self._rows:
                time.sleep(POLL_SECONDS)
        self._last = dict(self._rows.pop(0))
        return self._last

    def _sit(self, config: dict[str, Any]) -> None:
        asked = config["asked"]
        self._trial: str = asked["trial"]
        self._rows: list[dict[str, Any]] = []
        self._last: dict[str, Any] = {}
        self._seen = 0
        ray.get(self._board.post.remote({**asked, "stale": config["stale"]}))
