"""Learning rates chosen alike for all methods, and ranges that grow when the best lies on their edge."""

from __future__ import annotations

import runpy
from itertools import pairwise
from pathlib import Path

import pytest

from vqlora.asked import expand
from vqlora.record import Provenance, Record, Status
from vqlora.study import Objective
from vqlora.tuned import choose

BEST = Objective(metric="val.cider", direction="max")


def record(method: str, rate: float, seed: int, cider: float | None) -> Record:
    done = cider is not None
    metrics = {"val": {"cider": cider}, "test": {"cider": 9.0 - cider}} if cider is not None else {}
    return Record(
        study="s", version="1", trial=f"{method}-{rate}-{seed}", point={"method": method, "rate": rate}, seed=seed,
        recipe={}, fingerprint=f"{method}{rate}{seed}", status=Status.DONE if done else Status.FAILED,
        provenance=Provenance(commit=None, dirty=None, versions={}, device="cpu", platform=""), metrics=metrics,
        error=None if done else "diverged",
    )  # fmt: skip


def test_the_best_mean_on_validation_is_chosen_and_an_edge_is_named() -> None:
    scores = {
        "inner": {1e-3: (0.5, 0.4), 2e-3: (0.8, 0.7), 4e-3: (0.9, 0.1)},
        "upper": {1e-3: (0.1, 0.1), 2e-3: (0.2, 0.2), 4e-3: (0.3, 0.3)},
        "lower": {1e-3: (0.3, 0.3), 2e-3: (0.2, 0.2), 4e-3: (0.1, 0.1)},
        "fails": {1e-3: (0.1, 0.1), 2e-3: (0.2, 0.2), 4e-3: (0.9, None)},
        "alone": {0.0: (0.5, 0.5)},
    }
    records = [
        record(name, rate, seed, value)
        for name, rows in scores.items()
        for rate, values in rows.items()
        for seed, value in enumerate(values)
    ]
    found = {one.name: one for one in choose(records, BEST)}
    assert {name: (one.rate, one.beyond) for name, one in found.items()} == {
        "inner": (2e-3, None),
        "upper": (4e-3, 8e-3),
        "lower": (1e-3, 5e-4),
        "fails": (2e-3, None),
    }
    assert found["inner"].score == pytest.approx(0.75) and found["inner"].trials == 6


def test_the_methods_study_gives_every_method_five_rates_and_two_seeds() -> None:
    study = runpy.run_path(str(Path(__file__).parents[1] / "studies" / "baselines.py"))["study"]
    asked = expand(study)
    counts: dict[str, set[tuple[float, int]]] = {}
    for one in asked:
        counts.setdefault(one.point["method"], set()).add((one.point["rate"], one.seed))
    assert len(counts.pop("zero_shot")) == 1
    assert {len(rows) for rows in counts.values()} == {10} and len(counts) >= 12
    for name in counts:
        own = sorted(rate for rate, seed in counts[name] if seed == 0)
        assert all(b / a == pytest.approx(2, rel=0.01) for a, b in pairwise(own))
