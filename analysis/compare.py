"""One set of trials against another, paired: the same point, the same seed, the same clips.

Scores are per-clip means with the document frequencies of CIDEr frozen by whoever scored them, so a set's score is the
mean over its clips and clips can be resampled. numpy and scipy only; the resampling is `bootstrap`, what a difference
allows one to claim `claims`, how many seeds it would need `power`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.bootstrap import Interval, clip_means, group_mean, mean_interval
from analysis.power import Plan, plan_of


class Member(NamedTuple):
    """One trial of a set: what it is paired by (its point without the compared axis) and its seed.

    seed: None for what no seed can change, such as a base that is not trained.
    """

    trial: str
    key: Hashable
    seed: int | None


class Pair(NamedTuple):
    """Two trials of one key and seed."""

    left: str
    right: str
    key: Hashable


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """left - right over clips and seeds. clips_left_out: scored in some of the trials only, so compared in none.

    effect_size: the mean difference over the standard deviation of the clips' differences (Cohen's d_z); NaN where they
    do not differ. clips_won: the share of clips on which left is higher, ties counted half. plan: its noise, for power.
    """

    left: str
    right: str
    difference: Interval
    left_mean: float
    right_mean: float
    pairs: int
    clips: int
    clips_left_out: int
    effect_size: float
    clips_won: float
    plan: Plan

    def sentence(self, what: str) -> str:
        """What the interval allows one to say, in words."""
        gap = self.difference
        span = f"{gap.estimate:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
        means = f"{self.left_mean:.3f} against {self.right_mean:.3f}"
        if not np.isfinite(gap.low):
            return f"{self.left} against {self.right}: {what} {means}; no interval from {self.clips} clip"
        if not gap.clear_of_zero:
            return f"{self.left} is not distinguishable from {self.right} in {what}: {means}, difference {span}"
        side = "above" if gap.estimate > 0 else "below"
        return f"{self.left} is {side} {self.right} in {what}: {means}, difference {span}"

    def basis(self) -> str:
        """What the interval rests on."""
        single = ", so the noise between seeds is not in it" if self.difference.over == "clips" else ""
        left_out = f", {self.clips_left_out} clips not scored in every trial left out" if self.clips_left_out else ""
        size = f"{self.pairs} pair{'s' if self.pairs > 1 else ''} x {self.clips} clips"
        share = f"left higher on {self.clips_won:.0%} of clips"
        effect = f"; effect size {self.effect_size:.2f} (Cohen's d_z), {share}" if np.isfinite(self.effect_size) else ""
        return (
            f"{self.difference.level:.0%} paired bootstrap, {size}, {self.difference.over} resampled{single}{left_out}"
            f"{effect}"
        )


def pair(left: Sequence[Member], right: Sequence[Member]) -> tuple[Pair, ...]:
    """Trials of equal key and seed; a right member without a seed meets every seed of its key.

    Members without a partner are left out.
    """
    partners = {(member.key, member.seed): member for member in right}
    found: list[Pair] = []
    for member in left:
        partner = partners.get((member.key, member.seed)) or partners.get((member.key, None))
        if partner is not None:
            found.append(Pair(member.trial, partner.trial, member.key))
    return tuple(found)


def compare(
    scores: Mapping[str, Mapping[str, float]],
    pairs: Sequence[Pair],
    *,
    left: str,
    right: str,
    rng: np.random.Generator,
    level: float = 0.95,
) -> Comparison:
    """The paired difference left - right of scores {trial: {clip: score}}.

    ValueError without a pair, for a trial without scores, and where the trials share no clip.
    """
    if not pairs:
        raise ValueError(f"no trial of {left} meets one of {right} at the same point; nothing can be compared")
    trials = sorted({trial for one in pairs for trial in (one.left, one.right)})
    silent = [trial for trial in trials if not scores.get(trial)]
    if silent:
        raise ValueError(f"trial {silent[0]} has no per-clip scores; compare trials whose examples were kept")
    seen = [set(scores[trial]) for trial in trials]
    common = sorted(set.intersection(*seen))
    if not common:
        raise ValueError(f"{left} and {right} share no scored clip; they were not scored on the same test split")
    lefts = _matrix(scores, [one.left for one in pairs], common)
    rights = _matrix(scores, [one.right for one in pairs], common)
    groups = [one.key for one in pairs]
    by_clip = clip_means(lefts - rights, groups=groups)
    return Comparison(
        left=left,
        right=right,
        difference=mean_interval(lefts - rights, groups=groups, rng=rng, level=level),
        left_mean=group_mean(lefts, groups=groups),
        right_mean=group_mean(rights, groups=groups),
        pairs=len(pairs),
        clips=len(common),
        clips_left_out=len(set.union(*seen)) - len(common),
        effect_size=_effect_size(by_clip),
        clips_won=float(((by_clip > 0) + 0.5 * (by_clip == 0)).mean()),
        plan=plan_of(lefts - rights, groups=groups),
    )


def _effect_size(by_clip: NDArray[np.float64]) -> float:
    deviation = float(by_clip.std(ddof=1)) if by_clip.size > 1 else 0.0
    return float(by_clip.mean()) / deviation if deviation else float("nan")


def _matrix(
    scores: Mapping[str, Mapping[str, float]], trials: Sequence[str], clips: Sequence[str]
) -> NDArray[np.float64]:
    return np.array([[scores[trial][clip] for clip in clips] for trial in trials], dtype=np.float64)
