"""Confidence intervals over videos: whole videos are drawn with replacement, with all their questions or captions.

A score that is a function of sums over items needs only the sums of each video (`resampled_sums`); the others are
computed anew from how often each item was drawn (`draws`). Percentile intervals; seeded, so the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95
SEED = 0
_AT_ONCE = 64  # resamples in memory together


def resampled_sums(rows: np.ndarray, videos: Sequence[str], *, resamples: int = RESAMPLES) -> np.ndarray:
    """Sums [resamples, k] of rows [items, k] over resampled videos; `videos` [items] names each item's video."""
    owner, count = _owners(videos)
    sums = np.zeros((count, rows.shape[1]))
    np.add.at(sums, owner, rows)
    return np.concatenate([drawn @ sums for drawn in _drawn(count, resamples)])


def resampled_means(rows: np.ndarray, videos: Sequence[str], *, resamples: int = RESAMPLES) -> np.ndarray:
    """Means [resamples, k] of rows [items, k] over the items of resampled videos. NaN rows count as no item."""
    known = ~np.isnan(rows)
    sums = resampled_sums(np.concatenate([np.where(known, rows, 0), known], axis=1), videos, resamples=resamples)
    total, items = np.split(sums, 2, axis=1)
    return np.divide(total, items, out=np.full_like(total, np.nan), where=items > 0)


def draws(videos: Sequence[str], *, resamples: int = RESAMPLES) -> Iterator[np.ndarray]:
    """How often each item counts in a resample [items]."""
    owner, count = _owners(videos)
    for drawn in _drawn(count, resamples):
        yield from drawn[:, owner].astype(np.int64)


def interval(values: np.ndarray) -> list[float]:
    """[low, high] of a score's resamples [resamples]; those in which it has no value are left out."""
    known = values[~np.isnan(values)]
    tail = (1 - LEVEL) / 2
    return [float(bound) for bound in np.quantile(known, [tail, 1 - tail])] if len(known) else []


def _owners(videos: Sequence[str]) -> tuple[np.ndarray, int]:
    names, owner = np.unique(np.asarray(videos, dtype=object).astype(str), return_inverse=True)
    return owner, len(names)


def _drawn(count: int, resamples: int) -> Iterator[np.ndarray]:
    """How often each of `count` videos is drawn [at once, count]."""
    rng = np.random.default_rng(SEED)
    for start in range(0, resamples, _AT_ONCE):
        rows = min(_AT_ONCE, resamples - start)
        chosen = rng.integers(count, size=(rows, count)) + np.arange(rows)[:, None] * count
        yield np.bincount(chosen.ravel(), minlength=rows * count).reshape(rows, count).astype(float)
