"""METEOR 1.5 and SPICE by their own programs, through pycocoevalcap: extra `java` and a Java runtime.

No Python package computes either (NLTK's METEOR is another metric), so nothing here replaces them: where a program is
missing its score is refused. SPICE fetches 200 MB of models from Stanford the first time.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from typing import Any

NAMES = ("METEOR", "SPICE")


def java_scores(
    predictions: Mapping[str, str], references: Mapping[str, Sequence[str]], names: Sequence[str]
) -> dict[str, tuple[float, list[float]]]:
    """(score, score of each id) 0..1 of tokenised captions, by the names asked for.

    Raises:
        ValueError: a name that is none of NAMES, Java or the package missing, or a program that failed.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no score of Java's; use {NAMES}")
    if shutil.which("java") is None:
        raise ValueError("METEOR and SPICE need a Java runtime: apt-get install default-jre-headless")
    if find_spec("pycocoevalcap") is None:
        raise ValueError("METEOR and SPICE need pycocoevalcap: pip install 'vqlora[java]'")
    hypotheses = {id_: [text] for id_, text in predictions.items()}
    truths = {id_: list(texts) for id_, texts in references.items()}
    return {name: _run(name, truths, hypotheses) for name in names}


def _run(name: str, truths: dict[str, list[str]], hypotheses: dict[str, list[str]]) -> tuple[float, list[float]]:
    scorer = None
    try:
        with redirect_stdout(StringIO()):  # SPICE prints its progress
            scorer = _scorer(name)
            score, rows = scorer.compute_score(truths, hypotheses)
    except Exception as error:  # whatever a missing model, a full disk or a broken pipe raises there
        raise ValueError(f"{name}: its program failed: {error}") from error
    finally:
        end_program(scorer)
    each = [float(row["All"]["f"] if isinstance(row, dict) else row) for row in rows]
    return float(score), each


def end_program(scorer: Any) -> None:
    """Ends the Java process that METEOR's scorer leaves running, and closes its pipes."""
    process = getattr(scorer, "meteor_p", None)
    if process is not None:
        process.kill()
        process.communicate()


def _scorer(name: str) -> Any:
    if name == "METEOR":
        from pycocoevalcap.meteor.meteor import Meteor

        return Meteor()
    from pycocoevalcap.spice.spice import Spice

    return Spice()
