"""BLEU-1..4 as coco-caption computes it: corpus counts, the closest reference's length, no smoothing but two epsilons.

A corpus score is a function of summed counts, so the counts of single captions are kept: a bootstrap sums a resample
of them and calls `bleu` again. Source of the rules: pycocoevalcap 1.2, bleu/bleu_scorer.py.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vqlora.metrics.ngrams import MAX_ORDER, Corpus, locate

_TINY = 1e-15  # keeps a score without any match above zero ...
_SMALL = 1e-9  # ... and one without any n-gram defined: an empty caption scores 0 to machine precision


@dataclass(frozen=True, kw_only=True)
class BleuCounts:
    """What BLEU needs to know of one caption, or of a corpus: sums over captions.

    `hyp_len` and `ref_len` in words, the latter of the reference closest in length (the shorter of two);
    `match` and `total` [4] count the caption's n-grams that references have (clipped), and all of them, n = 1..4.
    """

    hyp_len: int
    ref_len: int
    match: tuple[int, ...]
    total: tuple[int, ...]


def pool(counts: Iterable[BleuCounts]) -> BleuCounts:
    """The sum of the counts; all zero for none."""
    rows = np.array([(c.hyp_len, c.ref_len, *c.match, *c.total) for c in counts], dtype=np.int64)
    sums = [int(value) for value in rows.reshape(-1, 2 + 2 * MAX_ORDER).sum(axis=0)]
    return BleuCounts(
        hyp_len=sums[0], ref_len=sums[1], match=tuple(sums[2 : 2 + MAX_ORDER]), total=tuple(sums[2 + MAX_ORDER :])
    )


def bleu(counts: BleuCounts) -> tuple[float, ...]:
    """BLEU-1..4 in 0..1 (a hair above 0 where nothing matches, as the reference has it)."""
    scores, product = [], 1.0
    ratio = (counts.hyp_len + _TINY) / (counts.ref_len + _SMALL)
    penalty = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    for order, (match, total) in enumerate(zip(counts.match, counts.total, strict=True), start=1):
        product *= (match + _TINY) / (total + _SMALL)
        scores.append(product ** (1 / order) * penalty)
    return tuple(scores)


def bleu_counts(corpus: Corpus) -> list[BleuCounts]:
    """Counts of each item's hypothesis against its own references."""
    items, lengths = corpus.items, corpus.lengths
    match = np.zeros((items, MAX_ORDER), dtype=np.int64)
    for grams in corpus.orders:
        key, ours = grams.keys(corpus.owner), grams.caption < items
        known, ceiling = _most_in_one_reference(key[~ours], grams.count[~ours])
        index, found = locate(key[ours], known)
        clipped = np.minimum(grams.count[ours][found], ceiling[index[found]])
        match[:, grams.order - 1] = np.bincount(grams.caption[ours][found], weights=clipped, minlength=items)
    starts = np.cumsum([items, *corpus.references])
    return [
        BleuCounts(
            hyp_len=length,
            ref_len=min(lengths[start:end].tolist(), key=lambda other: (abs(other - length), other)),
            match=tuple(match[item].tolist()),
            total=tuple(max(0, length - order) for order in range(MAX_ORDER)),
        )
        for item, (length, start, end) in enumerate(zip(lengths[:items].tolist(), starts, starts[1:], strict=False))
    ]


def _most_in_one_reference(key: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct keys, sorted, and the largest count of each."""
    order = np.argsort(key, kind="stable")
    distinct, starts = np.unique(key[order], return_index=True)
    return distinct, np.maximum.reduceat(count[order], starts) if len(starts) else count
