"""How much of a score's variance over the study each axis explains: functional ANOVA on the study's own table.

The score is written as mean + effect of each axis + effect of each pair + the rest, effects averaging to zero over the
levels (Hooker 2007; for hyperparameters Hutter, Hoos and Leyton-Brown, ICML 2014). Every level weighs the same, however
often it was tried. Missing cells are filled by the least-squares fit of axes and pairs. What seeds alone would have
produced is taken off each share.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
MOST_LEVELS = 8  # an axis of more numbers is cut into as many bins of equal counts
MOST_CELLS = 200_000
ROUNDING = 1e-12  # a share below it is what arithmetic leaves of nothing


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one axis, or a pair, explains. share: of the variance between cells, seed noise taken off; spread: the
    largest minus the smallest marginal mean, in the score's unit; levels: {level: marginal mean}, empty for a pair.
    """

    axes: tuple[str, ...]
    share: float
    spread: float
    levels: Mapping[Hashable, float]


@dataclass(frozen=True, kw_only=True)
class Importance:
    """shares: axes and pairs, largest first. rest: higher orders and what the fit misses; noise: the share that seeds
    alone explain, None without replicates; filled: cells without a trial, estimated; sd: of the cells' scores.
    """

    shares: tuple[Share, ...]
    rest: float
    noise: float | None
    cells: int
    filled: int
    sd: float


def importance(columns: Mapping[str, Sequence[Hashable]], score: ArrayLike) -> Importance:
    """Of axes {name: one level a trial} for scores [trials]. A trial with a NaN score or a level None is left out.

    ValueError where fewer than two axes' levels vary, and for more cells than can be held.
    """
    values = np.asarray(score, dtype=np.float64)
    kept = ~np.isnan(values)
    for own in columns.values():
        kept &= np.array([level is not None for level in own], dtype=np.bool_)
    levels: dict[str, list[Hashable]] = {}
    codes: dict[str, NDArray[np.intp]] = {}
    for name, own in columns.items():
        found, places = _levels([level for level, keep in zip(own, kept.tolist(), strict=True) if keep])
        if len(found) > 1:
            levels[name], codes[name] = found, places
    if not levels:
        raise ValueError("no axis takes two levels among the finished trials, so none can be important")
    return _decomposed(levels, codes, values[kept])


def _decomposed(
    levels: Mapping[str, Sequence[Hashable]], codes: Mapping[str, NDArray[np.intp]], values: Floats
) -> Importance:
    names = list(levels)
    shape = tuple(len(levels[name]) for name in names)
    if np.prod(shape, dtype=np.float64) > MOST_CELLS:
        raise ValueError(f"{' x '.join(map(str, shape))} cells are too many; ask for fewer axes")
    flat = np.ravel_multi_index(tuple(codes[name] for name in names), shape)
    counts = np.bincount(flat, minlength=int(np.prod(shape)))
    sums = np.bincount(flat, weights=values, minlength=counts.size)
    means = np.divide(sums, counts, out=np.full(counts.size, np.nan), where=counts > 0)
    noise = _pure_error(values, means[flat], counts)
    cells = _filled(means.reshape(shape), counts.reshape(shape))
    total = float(cells.var())
    per_cell = noise / counts[counts > 0].mean() if noise is not None else 0.0
    effects = _effects(cells, names)
    found = [
        Share(
            axes=own,
            share=_share(effect, cells.size, per_cell, total),
            spread=float(np.ptp(effect)),
            levels=_marginal(levels[own[0]], effect + cells.mean()) if len(own) == 1 else {},
        )
        for own, effect in effects.items()
    ]
    ordered = tuple(sorted(found, key=lambda one: (-one.share, one.axes)))
    explained = sum(one.share for one in ordered)
    own_noise = min(1.0, per_cell / total) if noise is not None and total else None
    return Importance(
        shares=ordered,
        rest=max(0.0, 1 - explained - (own_noise or 0.0)) if total else 0.0,
        noise=own_noise,
        cells=cells.size,
        filled=int((counts == 0).sum()),
        sd=float(np.sqrt(total)),
    )


def _effects(cells: Floats, names: Sequence[str]) -> dict[tuple[str, ...], Floats]:
    """Main effects, then pairs less their mains, as marginal means over all other axes."""
    centred = cells - cells.mean()
    every = set(range(cells.ndim))
    mains = [centred.mean(axis=tuple(every - {axis})) for axis in range(cells.ndim)]
    found: dict[tuple[str, ...], Floats] = {(names[axis],): main for axis, main in enumerate(mains)}
    for one, other in combinations(range(cells.ndim), 2):
        both = centred.mean(axis=tuple(every - {one, other}))
        found[names[one], names[other]] = both - mains[one][:, None] - mains[other][None, :]
    return found


def _share(effect: Floats, cells: int, per_cell: float, total: float) -> float:
    """Variance of the effect over its levels, less what noise of `per_cell` in each cell adds to it, of the total."""
    degrees = float(np.prod([size - 1 for size in effect.shape]))
    by_noise = per_cell * degrees / cells
    share = max(0.0, float((effect**2).mean()) - by_noise) / total if total else 0.0
    return share if share > ROUNDING else 0.0


def _filled(means: Floats, counts: NDArray[np.intp]) -> Floats:
    """The cells' means; an empty cell gets the value of the fit of mains and, where there are enough cells, pairs."""
    empty = counts == 0
    if not empty.any():
        return means
    design = _design(means.shape, pairs=False)
    wider = _design(means.shape, pairs=True)
    if wider.shape[1] < (~empty).sum():
        design = wider
    weights = np.sqrt(counts[~empty])
    fitted, *_ = np.linalg.lstsq(design[~empty.ravel()] * weights[:, None], means[~empty] * weights, rcond=None)
    found = means.copy()
    found[empty] = (design @ fitted)[empty.ravel()]
    return found


def _design(shape: tuple[int, ...], *, pairs: bool) -> Floats:
    """Sum-to-zero columns of a full grid: the mean, each axis, each pair."""
    places = np.array(list(product(*(range(size) for size in shape))))
    mains = []
    for axis, size in enumerate(shape):
        coding = np.vstack([np.eye(size - 1), -np.ones(size - 1)])
        mains.append(coding[places[:, axis]])
    columns = [np.ones((len(places), 1)), *mains]
    if pairs:
        columns += [
            (one[:, :, None] * other[:, None, :]).reshape(len(places), -1) for one, other in combinations(mains, 2)
        ]
    return np.concatenate(columns, axis=1)


def _pure_error(values: Floats, cell_means: Floats, counts: NDArray[np.intp]) -> float | None:
    degrees = int((counts[counts > 0] - 1).sum())
    return float(((values - cell_means) ** 2).sum() / degrees) if degrees else None


def _levels(values: Sequence[Hashable]) -> tuple[list[Hashable], NDArray[np.intp]]:
    """(levels, each value's place); many different numbers become bins named by their middle."""
    distinct = list(dict.fromkeys(values))
    if len(distinct) > MOST_LEVELS and all(isinstance(value, int | float) for value in distinct):
        numbers = np.asarray(values, dtype=np.float64)
        edges = np.unique(np.quantile(numbers, np.linspace(0, 1, MOST_LEVELS + 1)[1:-1]))
        places = np.searchsorted(edges, numbers, side="right")
        used, places = np.unique(places, return_inverse=True)
        return [float(np.median(numbers[places == place])) for place in range(len(used))], places
    place = {value: index for index, value in enumerate(distinct)}
    return distinct, np.array([place[value] for value in values], dtype=np.intp)


def _marginal(levels: Sequence[Hashable], means: Floats) -> dict[Hashable, float]:
    return {level: float(mean) for level, mean in zip(levels, means, strict=True)}
