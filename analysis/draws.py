"""Resampled scores of many configurations at once, and their intervals: `bootstrap` for a whole study.

Clips are drawn once per resample for all configurations; seeds from the pooled deviations of `bootstrap`. The
configurations are taken in blocks, so that memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from analysis.bootstrap import Interval, SeedNoise, clip_weights, degrees_of_freedom, seed_noise

Floats = NDArray[np.float64]
BLOCK = 256  # configurations at once: [resamples, BLOCK] of floats
MOST_DEVIATIONS = 512  # of seeds, evenly taken: more say nothing new about their spread


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some configurations: names, means [n, clips], seeds [n], the noise of each, drawn means [resamples, n]."""

    names: Sequence[Hashable]
    means: Floats
    seeds: NDArray[np.intp]
    noises: Sequence[SeedNoise]
    drawn: Floats


def draw_scores(
    scores: ArrayLike,
    *,
    groups: Sequence[Hashable],
    rng: np.random.Generator,
    noise: SeedNoise | None = None,
    fixed: Collection[Hashable] = (),
    resamples: int = 1000,
) -> Floats:
    """[resamples, configurations]: resampled means of `scores` [rows, clips], configurations as first met in `groups`.

    noise: the seeds' deviations, by default those of the rows; without two seeds anywhere only clips are drawn. fixed:
    groups that no seed changes, such as a base that is not trained.
    """
    blocks = _blocks(scores, groups, rng=rng, noise=noise, fixed=fixed, resamples=resamples)
    return np.concatenate([block.drawn for block in blocks], axis=1)


def mean_intervals(
    scores: ArrayLike,
    *,
    groups: Sequence[Hashable],
    rng: np.random.Generator,
    noise: SeedNoise | None = None,
    fixed: Collection[Hashable] = (),
    resamples: int = 2000,
    level: float = 0.95,
) -> dict[Hashable, Interval]:
    """{group: the mean of its rows with its interval}, as `bootstrap.mean_interval` would have it; NaN for one clip."""
    found: dict[Hashable, Interval] = {}
    for block in _blocks(scores, groups, rng=rng, noise=noise, fixed=fixed, resamples=resamples):
        degrees = [
            degrees_of_freedom(by_clip, own, 1 / size)
            for by_clip, own, size in zip(block.means, block.noises, block.seeds, strict=True)
        ]
        estimates, alone = block.means.mean(axis=1), block.means.shape[1] == 1
        ends = np.quantile(block.drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
        stretch = stats.t.ppf((1 + level) / 2, degrees) / stats.norm.ppf((1 + level) / 2)
        low, high = np.full(ends.shape, np.nan) if alone else estimates + (ends - estimates) * stretch
        errors = block.drawn.std(axis=0, ddof=1)
        for place, name in enumerate(block.names):
            found[name] = Interval(
                estimate=float(estimates[place]),
                low=float(low[place]),
                high=float(high[place]),
                level=level,
                over="clips and seeds" if block.noises[place].degrees else "clips",
                error=np.nan if alone else float(errors[place]),
                degrees=degrees[place],
            )
    return found


def _blocks(
    scores: ArrayLike,
    groups: Sequence[Hashable],
    *,
    rng: np.random.Generator,
    noise: SeedNoise | None,
    fixed: Collection[Hashable],
    resamples: int,
) -> Iterator[Block]:
    values = np.asarray(scores, dtype=np.float64)
    _check(values, groups)
    place = {name: index for index, name in enumerate(dict.fromkeys(groups))}
    codes = np.array([place[group] for group in groups])
    sizes = np.bincount(codes)
    means = np.zeros((len(place), values.shape[1]))
    np.add.at(means, codes, values / sizes[codes, None])
    pooled = noise or seed_noise(values, groups=groups)
    few = pooled.rows[:: max(1, -(-len(pooled.rows) // MOST_DEVIATIONS))]
    still = SeedNoise(rows=pooled.rows[:0], degrees=0)
    weights = clip_weights(values.shape[1], rng=rng, resamples=resamples)
    deviations = few @ weights.T  # [rows of noise, resamples]
    names = list(place)
    for start in range(0, len(names), BLOCK):
        part = slice(start, start + BLOCK)
        noises = [still if name in fixed else pooled for name in names[part]]
        drawn = weights @ means[part].T
        for column, (own, size) in enumerate(zip(noises, sizes[part], strict=True)):
            if own.degrees:
                picks = rng.integers(len(few), size=(size, resamples))
                drawn[:, column] += deviations[picks, np.arange(resamples)].mean(axis=0)
        yield Block(names=names[part], means=means[part], seeds=sizes[part], noises=noises, drawn=drawn)


def _check(values: Floats, groups: Sequence[Hashable]) -> None:
    if values.ndim != 2 or not values.size or len(groups) != len(values):
        raise ValueError(f"scores of shape {values.shape} with {len(groups)} groups; give [rows, clips], a group a row")
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).sum())} scores are NaN or infinite; leave those clips out first")
