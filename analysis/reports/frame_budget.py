"""Which frames, how many, at how many bits? The verdict and plots of `studies/frame_budget.py`.

The sampler is chosen on validation at half of the most frames and held against uniform with all of them; the margin was
set before any run. The seconds that choosing frames took stand beside the training they are part of.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis import contrasts, views
from analysis.claims import within_margin
from analysis.compare import Member, compare, pair
from analysis.configs import Config, configurations, finished, label, levels
from analysis.contrasts import Contrast
from analysis.plots import Answer, Finding
from analysis.reports import general
from analysis.table import Evidence
from vqlora.record import Record

MARGIN_SHARE = 0.01  # of uniform's score with all frames
LOGDETS = ("flat_logdet", "full_logdet")
CONTROLS = ("uniform", "random")


def answer(evidence: Evidence) -> Answer:
    """Half the frames against all, and what quantisation-aware choice adds. ValueError without the study's axes."""
    missing = [axis for axis in ("sampler", "frames", "bits") if axis not in evidence.axes]
    if missing:
        raise ValueError(f"the records have no axis {missing[0]!r}; a study of other axes needs another name")
    metric = general.score(evidence)[0]
    configs = configurations(evidence, metric=metric)
    findings = [*_half(evidence, configs), *_aware(evidence)]
    plots = [
        *general.frontiers(evidence, configs, group="sampler"),
        views.grid(configs, metric=metric, across="frames", down="sampler"),
        views.curves(evidence, group="sampler"),
    ]
    return Answer(findings=findings, plots=plots)


def _half(evidence: Evidence, configs: Sequence[Config]) -> list[Finding]:
    """The sampler that validation chooses at half the frames against uniform at all of them, for each bit width."""
    metric, direction = general.score(evidence)
    points = [record.point for record in finished(evidence)]
    frames = levels(points, "frames")
    most, half = frames[-1], frames[-1] // 2
    found: list[Finding] = []
    for bits in levels(points, "bits") if half in frames else []:
        known = [one for one in configs if one.point["frames"] == half and one.point["bits"] == bits]
        known = [one for one in known if one.point["sampler"] not in CONTROLS and one.has(f"val.{metric}")]
        if not known:
            continue
        chosen = (max if direction == "max" else min)(known, key=lambda one: one.values[f"val.{metric}"])
        few = _of(evidence, chosen.point["sampler"], half, bits)
        found += _not_worse(evidence, few, _of(evidence, "uniform", most, bits), (metric, direction))
    return found


def _not_worse(
    evidence: Evidence, few: Sequence[Record], all_: Sequence[Record], score: tuple[str, str]
) -> list[Finding]:
    metric, direction = score
    if not few or not all_:
        return []
    name, other = (f"{one.point['sampler']} with {one.point['frames']} frames" for one in (few[0], all_[0]))
    where = f"{label(metric)} on test at {few[0].point['bits']} bits"
    pairs = pair([Member(one.trial, (), one.seed) for one in few], [Member(one.trial, (), one.seed) for one in all_])
    scores = evidence.scores(split="test", metric=metric)
    try:
        found = compare(scores, pairs, left=name, right=other, rng=np.random.default_rng(0))
        margin = within_margin(found.difference, margin=MARGIN_SHARE * found.right_mean, direction=direction)
    except ValueError as error:
        return [Finding(sentence=f"{name} against {other}: not answered", basis=str(error), clear=False)]
    share = _mean(few, "train_flops") / _mean(all_, "train_flops")
    seconds = _mean(few, "selection_seconds")
    cost = f"; {share:.0%} of the training FLOPs, and {seconds:.3g} s to choose the frames of all clips"
    basis = f"{found.basis()}; margin {MARGIN_SHARE:.0%} of {other}; sampler chosen on validation"
    return [
        Finding(sentence=found.sentence(where), basis=found.basis(), clear=found.difference.clear_of_zero),
        Finding(sentence=margin.sentence(name, other, where) + cost, basis=basis, clear=margin.not_worse),
    ]


def _aware(evidence: Evidence) -> list[Finding]:
    """quant_logdet against the same choice that does not know the noise of quantisation, at the fewest bits."""
    metric, direction = general.score(evidence)
    points = [record.point for record in finished(evidence)]
    bits = levels(points, "bits")[0]
    asked = [
        Contrast(
            left=f"quant_logdet with {frames} frames at {bits} bits",
            lefts=_of(evidence, "quant_logdet", frames, bits),
            right=other,
            rights=_of(evidence, other, frames, bits),
            by=(),
        )
        for frames in levels(points, "frames")
        for other in LOGDETS
        if _of(evidence, "quant_logdet", frames, bits) and _of(evidence, other, frames, bits)
    ]
    return contrasts.findings(evidence, asked, metric=metric, direction=direction)


def _of(evidence: Evidence, sampler: object, frames: object, bits: object) -> list[Record]:
    wanted = {"sampler": sampler, "frames": frames, "bits": bits}
    return [r for r in finished(evidence) if all(r.point[axis] == value for axis, value in wanted.items())]


def _mean(records: Sequence[Record], cost: str) -> float:
    values = [getattr(record.cost, cost) for record in records]
    return float(np.mean([np.nan if value is None else value for value in values]))
