"""ROUGE-L as coco-caption computes it: beta 1.2, best precision and best recall over references taken separately.

Not the number of the `rouge-score` package (beta 1, a stemmer). Source: pycocoevalcap 1.2, rouge/rouge.py.
"""

from collections.abc import Sequence

BETA = 1.2


def rouge_l(hypothesis: str, references: Sequence[str]) -> float:
    """ROUGE-L in 0..1 of one tokenised hypothesis against at least one reference; a corpus score is the mean.

    Words stand between single spaces, as in the reference implementation; so an empty caption is one empty word, and
    scores 1 against an empty reference.
    """
    words = hypothesis.split(" ")
    positions: dict[str, int] = {}
    for index, word in enumerate(words):
        positions[word] = positions.get(word, 0) | 1 << index
    precision = recall = 0.0
    for reference in set(references):
        other = reference.split(" ")
        common = _longest_common_subsequence(positions, len(words), other)
        precision, recall = max(precision, common / len(words)), max(recall, common / len(other))
    if precision == 0 or recall == 0:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _longest_common_subsequence(positions: dict[str, int], length: int, other: Sequence[str]) -> int:
    """Bit-parallel (Hyyro 2004): a zero bit of `row` at i is a step of the usual table's row at word i."""
    full = (1 << length) - 1
    row = full
    for word in other:
        matched = row & positions.get(word, 0)
        row = (row + matched | row - matched) & full
    return length - row.bit_count()
