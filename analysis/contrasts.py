"""A study's contrasts in sentences: paired, corrected for their number, held against a margin, with their power.

The tests are `compare`, `claims` and `power`; here they become findings of a verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.claims import holm, within_margin
from analysis.compare import Comparison, Member, compare, pair
from analysis.configs import label, method_of
from analysis.plots import Finding
from analysis.table import Evidence
from vqlora.record import Record

ALPHA = 0.05
MARGIN_SHARE = 0.05  # of the other side's score: a loss that is taken not to matter, set before any study was run


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """left against right, paired at equal `by` and seed. in_margin: whether left is as good but for a margin, too."""

    left: str
    lefts: Sequence[Record]
    right: str
    rights: Sequence[Record]
    by: Sequence[str]
    in_margin: bool = False


def findings(evidence: Evidence, asked: Sequence[Contrast], *, metric: str, direction: str) -> list[Finding]:
    """One for each contrast, and one more where a margin is asked for; clear is what stays so after Holm's correction.

    A contrast that cannot be made says why.
    """
    scores = evidence.scores(split="test", metric=metric)
    what = f"{label(metric)} on test"
    made: list[Comparison | str] = []
    for one in asked:
        pairs = pair(
            [_member(record, one.by) for record in one.lefts], [_member(record, one.by) for record in one.rights]
        )
        try:
            made.append(compare(scores, pairs, left=one.left, right=one.right, rng=np.random.default_rng(0)))
        except ValueError as error:
            made.append(str(error))
    tests = [one.difference.p_value if isinstance(one, Comparison) else np.nan for one in made]
    said: list[Finding] = []
    for one, found, own, adjusted in zip(asked, made, tests, holm(tests).tolist(), strict=True):
        if isinstance(found, str):
            said.append(Finding(sentence=f"{one.left} against {one.right}: not answered", basis=found, clear=False))
            continue
        said.append(_difference(found, what, own, adjusted, int(np.isfinite(tests).sum())))
        said += [_margin(found, what, direction)] if one.in_margin and np.isfinite(own) else []
    return said


def _difference(found: Comparison, what: str, own: float, adjusted: float, family: int) -> Finding:
    lost = found.difference.clear_of_zero and adjusted > ALPHA
    tests = f"p {p_text(own)}" + (f", {p_text(adjusted)} by Holm over {family} contrasts" if family > 1 else "")
    seeds = max(1, round(found.pairs / found.plan.configurations))
    power = found.plan.sentence(found.difference.estimate, seeds=seeds)
    return Finding(
        sentence=found.sentence(what)
        + (", which does not survive the correction for the other contrasts" if lost else ""),
        basis="; ".join([found.basis(), *([tests] if np.isfinite(own) else []), power]),
        clear=found.difference.clear_of_zero and adjusted <= ALPHA,
    )


def _margin(found: Comparison, what: str, direction: str) -> Finding:
    """Whether left loses no more than a share of right's score: what 'as good as' can mean."""
    if not found.right_mean > 0:
        return Finding(
            sentence=f"no margin for {what}", basis=f"{found.right} scores {found.right_mean:g}", clear=False
        )
    margin = within_margin(found.difference, margin=MARGIN_SHARE * found.right_mean, direction=direction, alpha=ALPHA)
    return Finding(
        sentence=margin.sentence(found.left, found.right, what),
        basis=f"one-sided t test; margin {MARGIN_SHARE:.0%} of the score of {found.right}, set before any study",
        clear=margin.not_worse,
    )


def _member(record: Record, by: Sequence[str]) -> Member:
    """A base as it is has no seed: greedy captions of it are the same however often they are made."""
    untrained = method_of(record) == "zero_shot"
    return Member(record.trial, tuple(record.point.get(axis) for axis in by), None if untrained else record.seed)


def p_text(value: float) -> str:
    """Two digits; what is smaller than any test of this kind can tell is not written out."""
    return f"{value:.2g}" if value >= 1e-4 else "below 0.0001"
