"""What a law is: y = E + sum_k c_k term_k(shape, x), linear in E and the coefficients, with a few shape parameters.

Every law of `vocabulary` has this form, so the linear part can be solved for and only the shape is searched. A
user-written law is one more `Law` (`written`). How laws are fitted: `fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.intp]
Terms = Callable[[Floats, Floats], Floats]


class FitError(ValueError):
    """Data on which a law cannot be fitted at all: too few levels, constant inputs, values that are not finite."""


@dataclass(frozen=True, kw_only=True)
class Law:
    """One form.

    factors: the columns of x, [n, f]. terms(shape [..., e], x) gives [..., n, t]; slopes(shape, x) its derivative in
    the shape parameters, [..., n, t, e]. exponents: names of the shape parameters, each > 0 and searched from low to
    high; one named in `within` is in the units of that factor and its range is times the factor's least and largest
    value. positive: E and the coefficients are not negative (losses); otherwise of either sign (scores). units: of
    factors and parameters where they have any. steps: of the first grid over each exponent.
    """

    name: str
    equation: str
    factors: tuple[str, ...]
    coefficients: tuple[str, ...]
    exponents: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    terms: Terms
    slopes: Terms
    positive: bool = True
    within: Mapping[str, str] = field(default_factory=dict[str, str])
    units: Mapping[str, str] = field(default_factory=dict[str, str])
    source: str = ""
    steps: int = 16

    def __post_init__(self) -> None:
        if not len(self.exponents) == len(self.low) == len(self.high):
            raise ValueError(f"law {self.name}: {len(self.exponents)} exponents need as many low and high edges")
        if not all(0 < low < high for low, high in zip(self.low, self.high, strict=True)):
            raise ValueError(f"law {self.name}: ranges {self.low} to {self.high}; each needs 0 < low < high")
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"law {self.name}: a name stands twice in {self.names}; give each parameter its own")
        unknown = set(self.within.values()) - set(self.factors)
        if unknown:
            raise ValueError(f"law {self.name}: within names {sorted(unknown)[0]!r}, which is none of {self.factors}")

    @property
    def names(self) -> tuple[str, ...]:
        """Its parameters: the asymptote E, the coefficients, the exponents."""
        return ("E", *self.coefficients, *self.exponents)

    def ranges(self, x: Floats) -> tuple[Floats, Floats]:
        """The least and largest value of each exponent, [e] and [e], at x [n, f]."""
        low, high = np.array(self.low), np.array(self.high)
        for name, factor in self.within.items():
            k, column = self.exponents.index(name), x[:, self.factors.index(factor)]
            low[k], high[k] = low[k] * column.min(), high[k] * column.max()
        return low, high


def powers(exponents: Sequence[str], *terms: Mapping[int, tuple[str, int]], factors: int) -> tuple[Terms, Terms]:
    """terms and slopes of products of powers; a term is {column of x: (exponent's name, 1 to fall or -1 to grow)}."""
    signs = np.zeros((factors, len(terms), len(exponents)))
    for k, term in enumerate(terms):
        for column, (name, sign) in term.items():
            signs[column, k, exponents.index(name)] = -sign

    def values(shape: Floats, x: Floats) -> Floats:
        return np.exp(np.log(x) @ np.einsum("fte,...e->...ft", signs, shape))

    def slopes(shape: Floats, x: Floats) -> Floats:
        return values(shape, x)[..., None] * np.einsum("nf,fte->nte", np.log(x), signs)

    return values, slopes


def by_complex_step(terms: Terms) -> Terms:
    """The slopes of terms that numpy also evaluates at complex arguments: exact to rounding, no step to choose.

    Squire and Trapp, SIAM Review 40, 1998: f'(s) = Im f(s + ih) / h. Terms with abs, max or comparisons need slopes
    written by hand.
    """

    def slopes(shape: Floats, x: Floats) -> Floats:
        steps = 1e-40j * np.eye(shape.shape[-1])
        moved = [terms(shape + step, x).imag / 1e-40 for step in steps]  # pyright: ignore[reportArgumentType]
        return np.stack(moved, axis=-1)

    return slopes


def written(
    name: str,
    terms: Terms,
    *,
    factors: Sequence[str],
    coefficients: Sequence[str],
    exponents: Mapping[str, tuple[float, float]],
    positive: bool = True,
    slopes: Terms | None = None,
    equation: str = "",
) -> Law:
    """A law of one's own: y = E + sum_k coefficient_k terms(shape [..., e], x [n, f])[..., n, k].

    exponents: {name: (low, high)}. Without `slopes` the derivative is taken by a complex step.
    """
    return Law(
        name=name,
        equation=equation or f"y = E + {name}({', '.join(factors)})",
        factors=tuple(factors),
        coefficients=tuple(coefficients),
        exponents=tuple(exponents),
        low=tuple(low for low, _ in exponents.values()),
        high=tuple(high for _, high in exponents.values()),
        terms=terms,
        slopes=slopes or by_complex_step(terms),
        positive=positive,
        source="user-written",
    )


def columns(x: ArrayLike) -> Floats:
    """[n, f], a copy."""
    values = np.array(x, dtype=np.float64)
    return values[:, None] if values.ndim == 1 else values


def block_codes(blocks: Sequence[Hashable] | None, points: int) -> tuple[Codes, tuple[Hashable, ...]]:
    """Each point's block as a number, [n], and the blocks' names."""
    names = tuple(dict.fromkeys(blocks or ("all",)))
    codes = [names.index(block) for block in blocks] if blocks else [0] * points
    return np.array(codes, dtype=np.intp), names
