"""The whole matrix of conformance: every family x method x bit plan on its tiny base, or the reason it is refused.

Question: which combinations work? Each cell trains five steps on two decoded clips and must pass `vqlora.contracts`:
the loss falls, only what was asked moves, token by token the logits are those of one pass, what is saved loads to the
bit, checkpointing changes nothing. There is no peer: no other trainer offers the matrix. Rows are written as they come,
and a row that is there with the same versions is not run again, so a call that was broken off goes on.
Command: python benchmarks/conformance.py [--pairs] [--family NAME ...] [--minutes M]
About half an hour on two idle cores; --pairs, which is what CI runs, about four minutes. Writes
benchmarks/results/conformance.json and, for the documentation, conformance.md beside it.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

from vqlora.contracts import CASES, PLANS, examine, pairs
from vqlora.models.families import FAMILIES
from vqlora.models.sizes import TINY_OF

RESULT = Path(__file__).parent / "results" / "conformance.json"
PACKAGES = ("torch", "transformers", "peft", "bitsandbytes")
NAMES = {FAMILIES[kind].name: f"random:{base}" for kind, base in TINY_OF.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", action="store_true", help="every two of a family, a method and a plan, once")
    parser.add_argument("--family", nargs="+", default=list(NAMES), choices=list(NAMES), metavar="NAME")
    parser.add_argument("--minutes", type=float, help="stop after about so many; another call goes on")
    given = parser.parse_args()
    versions = {name: version(name) for name in PACKAGES} | {"python": platform.python_version()}
    rows = _known(versions)
    there = {_key(row) for row in rows}
    bases = [NAMES[name] for name in given.family]
    asked = (pairs if given.pairs else product)(bases, list(CASES), list(PLANS))
    began = time.perf_counter()
    for base, method, plan in asked:
        family = next(name for name, own in NAMES.items() if own == base)
        if (family, method, plan) in there:
            continue
        if given.minutes is not None and time.perf_counter() - began > 60 * given.minutes:
            break
        rows.append(_row(family, method, plan))
        _write(rows, versions)
    print("\n".join(table(rows)))
    print(json.dumps(_result(rows, versions)))


def _row(family: str, method: str, plan: str) -> dict[str, Any]:
    """One cell; a broken promise is a row too."""
    began = time.perf_counter()
    try:
        found = asdict(examine(NAMES[family], CASES[method], PLANS[plan]))
        outcome = "refused" if found["refused"] else "works"
    except Exception:  # whatever breaks in a cell is what the cell has to say
        found, outcome = {"error": traceback.format_exc(limit=-1).strip().splitlines()[-1]}, "fails"
    seconds = round(time.perf_counter() - began, 2)
    return {"family": family, "method": method, "plan": plan, "outcome": outcome, "seconds": seconds, **found}


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Families x methods as Markdown: of the bit plans run, how many work, and the reasons of those refused."""
    methods = [name for name in CASES if any(row["method"] == name for row in rows)]
    lines = ["| family | " + " | ".join(methods) + " |", "|---|" + "---|" * len(methods)]
    reasons: dict[str, int] = {}
    for family in dict.fromkeys(row["family"] for row in rows):
        cells = []
        for method in methods:
            here = [row for row in rows if row["family"] == family and row["method"] == method]
            works = sum(row["outcome"] == "works" for row in here)
            notes = sorted({reasons.setdefault(row["refused"], len(reasons) + 1) for row in here if row.get("refused")})
            fails = " FAILS" * any(row["outcome"] == "fails" for row in here)
            cells.append(f"{works}/{len(here)}{fails}" + "".join(f" [{note}]" for note in notes) if here else "-")
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    return [*lines, "", *(f"[{number}] {reason}" for reason, number in reasons.items())]


def _known(versions: dict[str, str]) -> list[dict[str, Any]]:
    if not RESULT.is_file():
        return []
    kept = json.loads(RESULT.read_text())
    return kept["rows"] if kept["versions"] == versions else []


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["family"], row["method"], row["plan"]


def _result(rows: Sequence[dict[str, Any]], versions: dict[str, str]) -> dict[str, Any]:
    return {"benchmark": "conformance", "device": f"cpu {platform.machine()}", "versions": versions, "rows": rows}


def _write(rows: Sequence[dict[str, Any]], versions: dict[str, str]) -> None:
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(_result(rows, versions), indent=0) + "\n")
    outcomes = [row["outcome"] for row in rows]
    head = f"{len(rows)} combinations: " + ", ".join(f"{outcomes.count(o)} {o}" for o in ("works", "refused", "fails"))
    text = ["# Families x methods x bit plans", "", head + ". A cell says how many of the bit plans run work.", ""]
    RESULT.with_suffix(".md").write_text("\n".join([*text, *table(rows)]) + "\n")


if __name__ == "__main__":
    main()
