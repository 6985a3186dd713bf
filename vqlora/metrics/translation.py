"""BLEU and chrF of translations by sacrebleu (arXiv:1804.08771): one corpus, its own tokenisers, extra `zh`.

This is not coco-caption's BLEU (`bleu`): sacrebleu smooths, and cuts text by language ('zh' characters, '13a' words).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from vqlora.metrics.intervals import interval, resampled_sums

TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char", "th": "char"}  # what sacrebleu cuts without more packages
DEFAULT_TOKENIZER = "13a"


@dataclass(frozen=True, kw_only=True)
class TranslationScores:
    """scores and intervals of BLEU and chrF, 0..100; signature: sacrebleu's own words for how BLEU was computed."""

    scores: Mapping[str, float]
    intervals: Mapping[str, list[float]]
    signature: str


def score_translations(
    predictions: Mapping[str, str], references: Mapping[str, Sequence[str]], *, language: str
) -> TranslationScores:
    """One prediction per id against its references; ids with fewer references than others have are given no more.

    Raises:
        ValueError: sacrebleu missing, no references, or ids that differ.
    """
    if find_spec("sacrebleu") is None:
        raise ValueError("translation scores need sacrebleu: pip install 'vqlora[zh]'")
    if not references or predictions.keys() != references.keys():
        raise ValueError(f"{len(predictions)} predictions for {len(references)} ids with references; give one for each")
    from sacrebleu.metrics import BLEU, CHRF  # an extra

    ids = list(references)
    widest = max(len(texts) for texts in references.values())
    columns: Any = [[(list(references[id]) + [None] * widest)[place] for id in ids] for place in range(widest)]
    hypotheses = [predictions[id] for id in ids]
    bleu = BLEU(tokenize=TOKENIZERS.get(language, DEFAULT_TOKENIZER))
    scores = {
        "BLEU": bleu.corpus_score(hypotheses, columns).score,
        "chrF": CHRF().corpus_score(hypotheses, columns).score,
    }
    intervals = {"BLEU": _bleu_interval(bleu, hypotheses, columns, ids)}
    return TranslationScores(scores=scores, intervals=intervals, signature=str(bleu.get_signature()))


def _bleu_interval(bleu: Any, hypotheses: list[str], columns: Any, ids: list[str]) -> list[float]:
    """From the counts of single sentences, whose sums give a corpus score."""
    counts = []
    for place, text in enumerate(hypotheses):
        one = bleu.corpus_score([text], [[column[place]] for column in columns])
        counts.append([one.sys_len, one.ref_len, *one.counts, *one.totals])
    sums = resampled_sums(np.array(counts, dtype=float), ids)
    drawn = [
        bleu.compute_bleu(
            correct=[int(n) for n in row[2:6]],
            total=[int(n) for n in row[6:10]],
            sys_len=int(row[0]),
            ref_len=int(row[1]),
            smooth_method="exp",
        ).score
        for row in sums
    ]
    return interval(np.array(drawn))
