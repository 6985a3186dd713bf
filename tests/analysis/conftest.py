"""Studies drawn from a known truth (`known_truth`), as evidence and in the committed form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from headless import find_chromium
from known_truth import BITS, RANKS, Maker, Truth, ended

from analysis import evidence, layout, table
from analysis.report import report_of
from vqlora.record import Record, Status


@pytest.fixture(scope="session")
def truth() -> Truth:
    return Truth()


@pytest.fixture(scope="session")
def drawn(truth: Truth) -> tuple[list[Record], dict[str, list[dict[str, Any]]]]:
    return Maker(truth).study()


@pytest.fixture(scope="session")
def whole(drawn: tuple[list[Record], dict[str, list[dict[str, Any]]]]) -> table.Evidence:
    """The study as asked: three trials ended badly, one was never run."""
    records, examples = drawn
    ends = {
        "r16-b16-s1": (Status.OUT_OF_MEMORY, "CUDA out of memory: tried to allocate 2.00 GiB"),
        "r2-b8-s1": (Status.FAILED, "RuntimeError: a worker died"),
        "r4-b4-s1": (Status.STOPPED, "stopped at step 24"),
    }
    kept = [ended(one, *ends[one.trial]) if one.trial in ends else one for one in records]
    asked = table.Asked(
        question="How do rank and bits trade score against memory?",
        axes={"rank": (0, *RANKS), "bits": BITS},
        objectives=(("val.cider", "max"), ("cost.train_peak_gib", "min"), ("cost.latency_ms", "min")),
        trials=(*(one.trial for one in records), "r16-b16-s2"),
    )
    return table.collect(kept, {trial: rows for trial, rows in examples.items() if trial not in ends}, asked=asked)


@pytest.fixture(scope="session")
def committed(whole: table.Evidence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's records file in the committed form."""
    return evidence.write(whole, tmp_path_factory.mktemp("records"))[0]


@pytest.fixture(scope="session")
def chromium() -> str:
    return find_chromium()


@pytest.fixture(scope="session")
def page(whole: table.Evidence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study's report as a file."""
    path = tmp_path_factory.mktemp("page") / "rank_bits.html"
    path.write_text(layout.html(report_of(whole)))
    return path
