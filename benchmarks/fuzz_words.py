"""Hostile words: options of a study's command line, names of data and bases, settings of a recipe."""

from __future__ import annotations

import contextlib
import io
import random
from pathlib import Path
from typing import Any

from fuzz_mutate import TEXTS, any_value, changed_json
from ray import tune

from vqlora.asked import expand, trial_name
from vqlora.data.sets import SETS, open_data
from vqlora.launch import check
from vqlora.options import Runtime, read_options
from vqlora.recipe import Bits, Lora, Recipe, Schedule, recipe_from_json, to_json
from vqlora.record import NAME
from vqlora.store import study_store
from vqlora.study import Objective, Study

FLAGS = (
    "--storage", "--base", "--data", "--steps", "--seeds", "--concurrency", "--together", "--executor", "--workers",
    "--keep", "--memory-cap-gib", "--only", "--set", "--dry-run", "--resume", "--fresh", "--name",
)  # fmt: skip
VALUES = (
    "1", "4", "0", "-1", "auto", "packed", "all", "rank=1", "rank=9,8", "rate=1", "frames.size=28", "method.rank=3",
    "method.rank.text=2", "bits.plan.text=4", "schedule.steps=2", "embedded:videollama", "embedded:nope", "random:",
    "random:videollama3-tiny", "shapes:tiny", "shapes:small=0.5,shapes:tiny=0.5", "table:/none.csv", "./runs",
    "s3://", "s3://key:secret@bucket/x", "gs://x y/z", "ftp://x", "file:///etc", "org/model", "x:y=z,:=1",
)  # fmt: skip


def recipe(*, rank: int, base: str, data: str, steps: int, seed: int) -> Recipe:
    return Recipe(
        base=base, data=data, method=Lora(rank={"text": rank}), bits=Bits.preset("all4"),
        schedule=Schedule(steps=steps), seed=seed,
    )  # fmt: skip


STUDY: dict[str, Any] = {
    "name": "words", "version": "1", "question": "Does it hold?", "space": {"rank": tune.grid_search([1, 8])},
    "recipe": recipe, "objectives": (Objective(metric="val.cider", direction="max"),), "base": "embedded:videollama",
    "data": "shapes:tiny", "steps": 4,
}  # fmt: skip


class Arguments:
    """One command line, one data name, one recipe or one study for each seed."""

    name = "arguments"

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    def one(self, rng: random.Random) -> str:
        """argparse's refusals are exit status 2 with a line on stderr, raised here again as ValueError."""
        return rng.choice((self._line, self._line, self._data, self._recipe, self._study))(rng)

    def _line(self, rng: random.Random) -> str:
        words = [word for _ in range(rng.randint(1, 4)) for word in (rng.choice(FLAGS), rng.choice(VALUES + TEXTS))]
        if rng.random() < 0.3:
            words.pop(rng.randrange(len(words)))
        out, err = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                study, runtime = read_options(Study(**STUDY), words, Runtime())
        except SystemExit as stop:
            if stop.code:
                raise ValueError(err.getvalue().strip().splitlines()[-1]) from stop
            return "accepted"  # --help
        if study.seeds > 1000:
            return "accepted"  # as many trials as were asked for
        listed = expand(study)
        for one in listed:
            assert NAME.fullmatch(one.trial), one.trial
        study_store(runtime.storage, study.name, study.version)
        check(study, listed)
        return "accepted"

    def _data(self, rng: random.Random) -> str:
        kinds = sorted(set(SETS) - {"shapes", "twin"})
        parts = [f"{rng.choice(kinds)}:{rng.choice(TEXTS)}{rng.choice(('', '=1', '=nan', '=1e308'))}" for _ in range(2)]
        open_data(rng.choice((parts[0], ",".join(parts), rng.choice(TEXTS))), self.scratch)
        return "accepted"

    def _recipe(self, rng: random.Random) -> str:
        plain = to_json(recipe(rank=8, base="b", data="d", steps=4, seed=0))
        changed = changed_json(rng, plain)
        made = recipe_from_json(changed if isinstance(changed, dict) else {})
        assert recipe_from_json(to_json(made)).fingerprint() == made.fingerprint()
        return "accepted"

    def _study(self, rng: random.Random) -> str:
        key = rng.choice(("name", "version", "steps", "seeds", "only", "settings"))
        value: Any = rng.choice(TEXTS)
        if key in ("steps", "seeds"):
            value = rng.choice((0, -1, 2, 3))
        if key in ("only", "settings"):
            value = {rng.choice((*TEXTS, "frames.size", "rank", "seed")): rng.choice(((value,), any_value(rng)))}
        study = Study(**{**STUDY, key: value})
        points = [one.point for one in expand(study)]
        assert NAME.fullmatch(trial_name({str(value): value, **points[0]}, 0, "0" * 16))
        return "accepted"
