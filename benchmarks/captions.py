"""Caption scores against the Java reference: seconds for the same captions, raw and tokenised.

Question: is scoring without Java fast enough to sit inside a training loop? Peer: pycocoevalcap 1.2, whose tokeniser is
a Java program started anew for every call. Three workloads of our own sentences: 100 captions with 5 references, Java's
start included, as in a validation; 2990 with 20 (MSR-VTT's test) from raw text; the same already tokenised, where both
sides are Python. Rounds are interleaved, each side's figure is the median; `ratio` is theirs over ours.
Goals: 20, 5 and 3 times. Command: python benchmarks/captions.py
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from vqlora.metrics.captions import score_captions

HERE = Path(__file__).parent
RESULT = HERE / "results" / "captions.json"
sys.path.insert(0, str(HERE.parent / "tests" / "fixtures"))  # the strings and their grammar belong to the tests
made: Any = import_module("make_metrics_reference")
Captions = tuple[dict[str, str], dict[str, list[str]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of the large workloads (%(default)s)")
    rounds = parser.parse_args().rounds
    small, large = captions(100, 5), captions(2990, 20)
    rows = [
        measure("100 x 5, raw text", small, "ptb", goal=20, rounds=5),
        measure("2990 x 20, raw text", large, "ptb", goal=5, rounds=rounds),
        measure("2990 x 20, tokenised", tokenised(large), "words", goal=3, rounds=rounds),
    ]
    print(f"{'workload':>22} {'ours s':>8} {'reference s':>12} {'ratio':>6} {'goal':>5}")
    for row in rows:
        seconds = f"{row['ours_s']:>8.3f} {row['reference_s']:>12.3f}"
        print(f"{row['workload']:>22} {seconds} {row['ratio']:>6.1f} {row['goal']:>5}")
    versions = {name: version(name) for name in ("pycocoevalcap", "numpy")} | {"python": platform.python_version()}
    result = {"benchmark": "captions", "device": processor(), "versions": versions, "rounds": rounds, "rows": rows}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def captions(items: int, references: int) -> Captions:
    """Predictions that echo, shorten or miss their references."""
    rng = random.Random(items)
    sets = {str(item): [made.sentence(rng) for _ in range(references)] for item in range(items)}
    predictions = {}
    for id, own in sets.items():
        words = rng.choice(own if rng.random() < 0.8 else sets["0"]).split()
        predictions[id] = " ".join(word for word in words if rng.random() < 0.85)
    return predictions, sets


def tokenised(raw: Captions) -> Captions:
    """The same as words between spaces, by the reference's own tokeniser."""
    predictions, sets = raw
    theirs = PTBTokenizer().tokenize({id: [{"caption": text} for text in own] for id, own in sets.items()})
    ours = PTBTokenizer().tokenize({id: [{"caption": text}] for id, text in predictions.items()})
    return {id: texts[0] for id, texts in ours.items()}, theirs


def measure(name: str, texts: Captions, segment: str, *, goal: float, rounds: int) -> dict[str, Any]:
    """Median seconds of each side; their scores are compared first."""
    predictions, sets = texts

    def ours() -> dict[str, float]:
        return dict(score_captions(predictions, sets, segment=segment).scores)

    def reference() -> dict[str, float]:
        return reference_scores(predictions, sets, is_raw=segment == "ptb")

    # The original's tokens of a caption may depend on the next one's (see vqlora.metrics.ptb): 0.1 points of raw text.
    tolerance = 1e-3 if segment == "ptb" else 1e-6
    found, expected = ours(), reference()
    for key, value in expected.items():
        assert abs(found[key] - value) < tolerance, f"{name}: {key} is {found[key]}, the reference says {value}"
    seconds: dict[str, list[float]] = {"ours": [], "reference": []}
    for _ in range(rounds):
        seconds["ours"].append(seconds_of(ours))
        seconds["reference"].append(seconds_of(reference))
    mine, theirs = (statistics.median(seconds[side]) for side in ("ours", "reference"))
    return {"workload": name, "ours_s": mine, "reference_s": theirs, "ratio": theirs / mine, "goal": goal}


def reference_scores(predictions: dict[str, str], sets: dict[str, list[str]], *, is_raw: bool) -> dict[str, float]:
    """The reference's own way from captions to scores."""
    hypotheses = {id: [text] for id, text in predictions.items()}
    if is_raw:
        sets = PTBTokenizer().tokenize({id: [{"caption": text} for text in own] for id, own in sets.items()})
        hypotheses = PTBTokenizer().tokenize({id: [{"caption": text}] for id, text in predictions.items()})
    bleu, _ = Bleu(4).compute_score(sets, hypotheses, verbose=0)
    rouge, _ = Rouge().compute_score(sets, hypotheses)
    cider, _ = Cider().compute_score(sets, hypotheses)
    return {
        **{f"bleu_{n}": v for n, v in enumerate(bleu, start=1)},
        "rouge_l": float(rouge),
        "cider": float(np.mean(cider)),
    }


def seconds_of(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def processor() -> str:
    """The CPU's name, as Linux states it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} x {len(names)}" if names else platform.processor()


if __name__ == "__main__":
    main()
