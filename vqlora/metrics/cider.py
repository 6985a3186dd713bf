"""CIDEr-D in the scale of its reference implementation, 0..10 (papers print it times 100, so 0.6 is their 60).

What coco-caption calls CIDEr is CIDEr-D: counts clipped at the reference's, a Gaussian penalty on the difference in
length, sigma 6, length counted in bigrams. Source: pycocoevalcap 1.2, cider/cider_scorer.py.

The weights come from document frequencies: in how many reference sets an n-gram occurs. Taken from the corpus
evaluated, as the reference does, a caption's score changes with the subset it is evaluated in (and one example alone
scores 0); frozen, it does not, and scores of subsets compare.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vqlora.metrics.ngrams import MAX_ORDER, Corpus, Ngrams, count_ngrams, locate

_SIGMA = 6.0
_SCALE = 10.0


@dataclass(frozen=True, kw_only=True)
class DocumentFrequencies:
    """In how many of `num_documents` reference sets each n-gram (words joined by a space) occurs."""

    num_documents: int
    counts: Mapping[str, int]

    def __post_init__(self) -> None:
        if self.num_documents < 1:
            raise ValueError(f"num_documents is {self.num_documents}: at least one reference set is needed")


def document_frequencies(references: Sequence[Sequence[str]]) -> DocumentFrequencies:
    """Frequencies over sets of tokenised references, to be frozen."""
    owner = np.repeat(np.arange(len(references)), [len(texts) for texts in references])
    counts: dict[str, int] = {}
    for grams in count_ngrams([text for texts in references for text in texts])[1]:
        frequency = _distinct_owners(grams.keys(owner), grams.distinct)
        counts.update(zip(grams.texts, frequency.tolist(), strict=True))
    return DocumentFrequencies(num_documents=len(references), counts=counts)


def cider_d(corpus: Corpus, frozen: DocumentFrequencies | None = None) -> np.ndarray:
    """CIDEr-D of each item's hypothesis against its own references [items]; the corpus score is the mean."""
    items, owner = corpus.items, corpus.owner
    log_documents = np.log(frozen.num_documents if frozen else items)
    similarity = np.zeros(len(owner))
    for grams in corpus.orders:
        key = grams.keys(owner)
        if frozen:
            frequency = np.array([frozen.counts.get(text, 0) for text in grams.texts], dtype=np.int64)
        else:
            frequency = _distinct_owners(key[grams.caption >= items], grams.distinct)
        weight = grams.count * (log_documents - np.log(np.maximum(1, frequency)))[grams.ngram]
        similarity += _clipped_cosine(grams, key, weight, corpus)

    bigrams = np.maximum(0, corpus.lengths - 1)
    similarity *= np.exp(-((bigrams[owner] - bigrams) ** 2) / (2 * _SIGMA**2))
    total = np.bincount(owner[items:], weights=similarity[items:], minlength=items)
    return total / MAX_ORDER / corpus.references * _SCALE


def _distinct_owners(key: np.ndarray, distinct: int) -> np.ndarray:
    """In how many items each n-gram occurs [distinct]."""
    ordered = np.sort(key)  # numpy's own unique hashes here, which takes eight times as long
    return np.bincount(ordered[np.diff(ordered, prepend=-1) > 0] % max(1, distinct), minlength=distinct)


def _clipped_cosine(grams: Ngrams, key: np.ndarray, weight: np.ndarray, corpus: Corpus) -> np.ndarray:
    """Cosine of each caption [captions] with its item's hypothesis, whose weights are clipped at the caption's."""
    captions = len(corpus.owner)
    norm = np.sqrt(np.bincount(grams.caption, weights=weight**2, minlength=captions))
    ours = grams.caption < corpus.items
    index, found = locate(key, key[ours])
    dot = np.minimum(weight[ours][index[found]], weight[found]) * weight[found]
    product = np.bincount(grams.caption[found], weights=dot, minlength=captions)
    scale = norm[corpus.owner] * norm
    return np.divide(product, scale, out=np.zeros(captions), where=scale > 0)
