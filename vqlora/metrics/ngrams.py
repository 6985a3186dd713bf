"""N-gram counts of many captions at once, as arrays: what BLEU and CIDEr-D share."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

MAX_ORDER = 4


@dataclass(frozen=True, kw_only=True)
class Ngrams:
    """The distinct n-grams of each caption for one n: three aligned arrays, sorted by caption, then n-gram.

    `caption` [k] indexes the captions given, `ngram` [k] is a number from 0 to `distinct` - 1 shared by all captions,
    `count` [k] says how often that caption has it. `first` [distinct] is where an n-gram begins in `words`.
    """

    order: int
    caption: np.ndarray
    ngram: np.ndarray
    count: np.ndarray
    first: np.ndarray
    words: Sequence[str]

    @property
    def distinct(self) -> int:
        return len(self.first)

    def keys(self, owner: np.ndarray) -> np.ndarray:
        """One number for each entry's item and n-gram [k], `owner` [captions] being the item of each caption."""
        return owner[self.caption] * max(1, self.distinct) + self.ngram

    @cached_property
    def texts(self) -> list[str]:
        """The distinct n-grams, words joined by a space, by their number."""
        return [" ".join(self.words[start : start + self.order]) for start in self.first]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Tokenised captions as n-gram counts: first one hypothesis for each of `items`, then all references.

    `owner` [captions] is the item of each caption, `lengths` [captions] are in words, `orders` n = 1..4.
    """

    items: int
    owner: np.ndarray
    lengths: np.ndarray
    orders: tuple[Ngrams, ...]

    @property
    def references(self) -> np.ndarray:
        """How many references each item has [items]."""
        return np.bincount(self.owner[self.items :], minlength=self.items)


def read_corpus(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Corpus:
    """Count tokenised captions, words between white space; every hypothesis needs at least one reference."""
    items = len(hypotheses)
    if len(references) != items or not all(references):
        raise ValueError(f"{items} hypotheses need as many sets of references, none of them empty")
    owner = np.concatenate([np.arange(items), np.repeat(np.arange(items), [len(texts) for texts in references])])
    lengths, orders = count_ngrams([*hypotheses, *(text for texts in references for text in texts)])
    return Corpus(items=items, owner=owner, lengths=lengths, orders=orders)


def count_ngrams(captions: Sequence[str]) -> tuple[np.ndarray, tuple[Ngrams, ...]]:
    """Lengths in words [captions] and the n-grams of n = 1..4 of tokenised captions (words between white space)."""
    split = [caption.split() for caption in captions]
    lengths = np.array([len(words) for words in split], dtype=np.int64)
    words = [word for caption in split for word in caption]
    number_of: dict[str, int] = {}
    word_ids = np.array([number_of.setdefault(word, len(number_of)) for word in words], dtype=np.int64)
    owner = np.repeat(np.arange(len(captions)), lengths)
    position = np.arange(len(words))
    remaining = np.cumsum(lengths)[owner] - position  # words of the same caption from here on

    ids, orders = np.zeros_like(word_ids), []
    for order in range(1, MAX_ORDER + 1):
        alive = remaining >= order
        position, remaining = position[alive], remaining[alive]
        keys = ids[alive] * max(1, len(number_of)) + word_ids[position + order - 1]
        distinct, first, ids = np.unique(keys, return_index=True, return_inverse=True)
        pairs, count = np.unique(owner[position] * max(1, len(distinct)) + ids, return_counts=True)
        caption, ngram = np.divmod(pairs, max(1, len(distinct)))
        orders.append(
            Ngrams(order=order, caption=caption, ngram=ngram, count=count, first=position[first], words=words)
        )
    return lengths, tuple(orders)


def locate(needles: np.ndarray, haystack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each needle stands in the sorted haystack, and whether it stands there at all (index 0 if not)."""
    index = np.searchsorted(haystack, needles)
    index[index == len(haystack)] = 0
    found = haystack[index] == needles if len(haystack) else np.zeros(len(needles), dtype=bool)
    return index, found
