"""What a paired contrast can find: the smallest difference, and how many seeds a given one would need.

The variance of a mean difference over G configurations, S seeds of each and C clips is clip / C + seed / (G S). More
seeds shrink the second part only, so there is a difference that no number of seeds finds.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from analysis.bootstrap import clip_means, seed_noise

MOST_SEEDS = 200


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The noise of one contrast. clip_variance: of the clips' mean differences; seed_variance: of one seed's, None
    where no configuration has two.
    """

    clip_variance: float
    seed_variance: float | None
    clips: int
    configurations: int

    def power(self, effect: float, *, seeds: int, level: float = 0.95) -> float:
        """The chance that a true difference of that size is found at 1 - level, two-sided; from the noncentral t."""
        variance, degrees = self._variance(seeds)
        if variance == 0:
            return 1.0 if effect else 1 - level
        critical, shift = stats.t.ppf((1 + level) / 2, degrees), abs(effect) / np.sqrt(variance)
        found = stats.nct.sf(critical, degrees, shift) + stats.nct.cdf(-critical, degrees, shift)
        # far out the noncentral t underflows to NaN; there the difference is certain to be found
        return float(found) if np.isfinite(found) else 1.0

    def detectable(self, *, seeds: int, power: float = 0.8, level: float = 0.95) -> float:
        """The smallest true difference found with that power."""
        variance, _ = self._variance(seeds)
        if variance == 0:
            return 0.0
        low, high = 0.0, float(np.sqrt(variance))
        while self.power(high, seeds=seeds, level=level) < power:
            low, high = high, 2 * high
        while high - low > 1e-6 * high:
            middle = (low + high) / 2
            low, high = (middle, high) if self.power(middle, seeds=seeds, level=level) < power else (low, middle)
        return high

    def seeds_for(self, effect: float, *, power: float = 0.8, level: float = 0.95) -> int | None:
        """The fewest seeds of each configuration that find `effect`; None where not even MOST_SEEDS do.

        ValueError where no configuration has two seeds, because then their noise is not known.
        """
        if self.seed_variance is None:
            raise ValueError("no configuration has two seeds, so the noise between seeds is unknown; run a second seed")
        low, high = 2, MOST_SEEDS
        if self.power(effect, seeds=high, level=level) < power:
            return None
        while low < high:  # power rises with seeds
            middle = (low + high) // 2
            low, high = (low, middle) if self.power(effect, seeds=middle, level=level) >= power else (middle + 1, high)
        return low

    def sentence(self, effect: float, *, seeds: int) -> str:
        """What this design can find, and what the difference at hand would need."""
        found = f"with {seeds} seed{'s' if seeds > 1 else ''} and {self.clips} clips a difference of "
        found += f"{self.detectable(seeds=seeds):.3f} is found in 4 of 5 repetitions"
        if self.seed_variance is None:
            return f"{found}, were there no noise between seeds"
        needed = self.seeds_for(effect) if effect else None
        if needed is None:
            return f"{found}; one of {abs(effect):.3f} needs more clips, not more seeds"
        return f"{found}; one of {abs(effect):.3f} needs {needed} seeds"

    def _variance(self, seeds: int) -> tuple[float, float]:
        """(of the mean difference, Satterthwaite's degrees of freedom)."""
        if seeds < 1:
            raise ValueError(f"{seeds} seeds; a contrast has at least one")
        parts = [(self.clip_variance / self.clips, max(1, self.clips - 1))]
        if self.seed_variance is not None:
            number = self.configurations * seeds
            parts.append((self.seed_variance / number, max(1, number - self.configurations)))
        total = sum(part for part, _ in parts)
        return total, total**2 / sum(part**2 / own for part, own in parts) if total else 1.0


def plan_of(differences: ArrayLike, *, groups: Sequence[Hashable]) -> Plan:
    """From paired differences [pairs, clips] of configurations `groups`."""
    values = np.asarray(differences, dtype=np.float64)
    by_clip, noise = clip_means(values, groups=groups), seed_noise(values, groups=groups)
    return Plan(
        clip_variance=float(by_clip.var(ddof=1)) if by_clip.size > 1 else 0.0,
        seed_variance=float((noise.rows.mean(axis=1) ** 2).sum() / len(noise.rows)) if noise.degrees else None,
        clips=values.shape[1],
        configurations=len(set(groups)),
    )
