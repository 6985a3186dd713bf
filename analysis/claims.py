"""What a difference with its interval allows one to claim: not worse, equal within a margin, real among many.

Tests are Student's t on the bootstrap's standard error with its degrees of freedom (`bootstrap.Interval`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.bootstrap import Interval

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Margin:
    """A difference held against a margin. p_not_worse: of non-inferiority; p_equal: of equivalence (two one-sided).

    margin: the largest loss that does not matter, > 0, in the score's unit; it must come from outside of the data.
    """

    difference: Interval
    margin: float
    direction: str
    p_not_worse: float
    p_equal: float
    alpha: float

    @property
    def not_worse(self) -> bool:
        """Whether 'worse by the margin or more' is refuted."""
        return self.p_not_worse <= self.alpha

    @property
    def equal(self) -> bool:
        """Whether a difference of the margin or more is refuted on both sides."""
        return self.p_equal <= self.alpha

    def sentence(self, left: str, right: str, what: str) -> str:
        """What may be said, in words."""
        known = f"(p {self.p_not_worse:.2g}, margin {self.margin:.3g}, alpha {self.alpha:g})"
        if self.equal:
            equal = f"(p {self.p_equal:.2g}, margin {self.margin:.3g}, alpha {self.alpha:g})"
            return f"{left} equals {right} in {what} within the margin {equal}"
        if self.not_worse:
            return f"{left} is not worse than {right} in {what} by the margin {known}"
        return f"that {left} is not worse than {right} in {what} by the margin is not shown {known}"


def within_margin(difference: Interval, *, margin: float, direction: str, alpha: float = 0.05) -> Margin:
    """left - right against a margin. direction: 'max' where more of the score is better, else 'min'.

    Equivalence is Schuirmann's two one-sided tests (1987). ValueError for a margin that is not positive.
    """
    if not margin > 0:
        raise ValueError(f"margin {margin} must be positive: the largest difference that does not matter")
    if direction not in ("max", "min"):
        raise ValueError(f"direction {direction!r} is not 'max' or 'min'")
    above_lower, below_upper = difference.p_above(-margin), 1 - difference.p_above(margin)
    return Margin(
        difference=difference,
        margin=margin,
        direction=direction,
        p_not_worse=above_lower if direction == "max" else below_upper,
        p_equal=max(above_lower, below_upper),
        alpha=alpha,
    )


def holm(p_values: ArrayLike) -> Floats:
    """p adjusted so that the chance of any false claim in the family stays at alpha (Holm 1979). NaN stays NaN."""
    given = np.asarray(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(given))
    if ((given[known] < 0) | (given[known] > 1)).any():
        raise ValueError("a p value lies outside of [0, 1]")
    order = known[np.argsort(given[known], kind="stable")]
    found = np.full(given.shape, np.nan)
    found[order] = np.minimum(np.maximum.accumulate(given[order] * np.arange(len(order), 0, -1)), 1.0)
    return found


def tied_with_best(
    estimates: Sequence[float], p_values: Sequence[float], *, direction: str, alpha: float = 0.05
) -> list[bool]:
    """Which of several are the best or cannot be told from it, p_values being each one's against the best.

    Holm's correction over them; NaN (no test) counts as not told apart, a NaN estimate as no candidate.
    """
    scores = np.asarray(estimates, dtype=np.float64)
    if np.isnan(scores).all():
        return [False] * len(scores)
    best = int((np.nanargmax if direction == "max" else np.nanargmin)(scores))
    tests = np.array([np.nan if index == best else p for index, p in enumerate(p_values)])
    adjusted = holm(tests)
    return [bool(np.isfinite(score) and not adjusted[index] <= alpha) for index, score in enumerate(scores)]
