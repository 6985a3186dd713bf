"""One question: a Ray Tune search space, the recipe of a point, what is wanted, how many seeds.

The space speaks Ray Tune's vocabulary (`tune.grid_search`, `tune.choice`, `tune.loguniform`). Axes hold
scalars, so a point is a row of the result table; `recipe(**point, ...)` turns scalars into objects.
Expanding a study needs no torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vqlora.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is wanted of a trial, read from `val.*` or `cost.*`; never from test.

    metric: 'val.cider', 'cost.train_peak_gib', ...; direction: 'max' or 'min'.
    """

    metric: str
    direction: Literal["max", "min"]

    def __post_init__(self) -> None:
        if self.direction not in ("max", "min"):
            raise ValueError(f"direction {self.direction!r} of {self.metric} is not 'max' or 'min'")
        if not self.metric.startswith(("val.", "cost.")):
            raise ValueError(f"objective {self.metric!r} must start with 'val.' or 'cost.'; test is for reporting only")


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question and its design.

    recipe: called as recipe(**point, base=, data=, steps=, seed=). searcher and scheduler: called without
    arguments when the study starts and give a Ray Tune searcher and trial scheduler; None = the grid, no stopping.
    points: asked beside the space, such as a reference that no grid holds.
    only: {axis: values as texts}; listed points with another value are left out. settings: {field of the recipe, such
    as 'frames.size': value} in every trial. samples: Tune's num_samples. A study whose frozen workload changes gets a
    new version. extend: adds parts of one's own, see `vqlora.extend`; called in every process that runs trials.
    """

    name: str
    version: str
    question: str
    space: Mapping[str, Any]
    recipe: Callable[..., Recipe]
    objectives: tuple[Objective, ...]
    base: str
    data: str
    steps: int
    seeds: int = 1
    samples: int = 1
    points: tuple[Mapping[str, Any], ...] = ()
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    searcher: Callable[[], Any] | None = None
    scheduler: Callable[[], Any] | None = None
    extend: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        for label, value in (("name", self.name), ("version", self.version)):
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
                raise ValueError(f"study {label} {value!r} becomes a folder; use letters, digits, '.', '_' and '-'")
        if not self.space:
            raise ValueError(
                f"study {self.name}: the space is empty; give it at least one axis, such as tune.grid_search([4, 8])"
            )
        if not self.objectives:
            raise ValueError(
                f"study {self.name}: no objective; name at least one, such as "
                "Objective(metric='val.cider', direction='max')"
            )
        if self.seeds < 1:
            raise ValueError(f"study {self.name}: seeds {self.seeds} must be >= 1")
