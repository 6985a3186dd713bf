"""Does a rank that follows the motion of a frame help? The verdict and plots of `studies/temporal.py`.

Every contrast is asked first of the clips that depend on order and on motion, where the method must show its worth, and
then of all. The list was fixed before the headline run; a win over a constant rank that is none over shuffled scores is
no effect of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from analysis import contrasts, views
from analysis.configs import configurations, finished
from analysis.contrasts import Contrast
from analysis.plots import Answer, Finding
from analysis.reports import general
from analysis.table import Evidence
from vqlora.record import Record

CONTRASTS = (
    ("temporal", "constant"),
    ("temporal", "shuffled"),
    ("temporal", "still"),
    ("temporal", "random"),
    ("temporal", "plain"),
    ("entropy", "temporal"),
    ("gate", "plain"),
    ("mixer", "mixer of single frames"),
    ("mixer", "mixer of shuffled frames"),
    ("temporal and mixer", "temporal"),
    ("temporal and memory", "temporal"),
)
HARD = ("order", "motion")  # strata of the embedded clips, true where they matter
UNKNOWN = Finding(
    sentence="where order and motion matter: not answered",
    basis="no scored clip says whether it depends on them; the embedded clips do",
    clear=False,
)


def answer(evidence: Evidence) -> Answer:
    """The contrasts on the hard clips and on all, and the ranks that were active. ValueError without the axis kind."""
    if "kind" not in evidence.axes:
        raise ValueError("the records have no axis 'kind'; a study of other axes needs another name")
    metric = general.score(evidence)[0]
    configs = configurations(evidence, metric=metric)
    hard = _only(evidence, HARD)
    where = _said(hard, " where order and motion matter") if any(hard.examples.values()) else [UNKNOWN]
    findings = [*where, *_said(evidence, ""), *_active(evidence)]
    plots = [*general.frontiers(evidence, configs, group="kind"), views.curves(evidence, group="kind")]
    return Answer(findings=findings, plots=plots)


def _said(evidence: Evidence, where: str) -> list[Finding]:
    metric, direction = general.score(evidence)
    kinds = {kind: _of(evidence, kind) for pair in CONTRASTS for kind in pair}
    asked = [
        Contrast(left=f"{left}{where}", lefts=kinds[left], right=right, rights=kinds[right], by=())
        for left, right in CONTRASTS
        if kinds[left] and kinds[right]
    ]
    return contrasts.findings(evidence, asked, metric=metric, direction=direction)


def _of(evidence: Evidence, kind: str) -> list[Record]:
    return [record for record in finished(evidence) if record.point["kind"] == kind]


def _only(evidence: Evidence, strata: Sequence[str]) -> Evidence:
    """The clips that are in all of the strata."""
    kept = {
        trial: [row for row in rows if all((row.get("strata") or {}).get(name) for name in strata)]
        for trial, rows in evidence.examples.items()
    }
    return replace(evidence, examples=kept)


def _active(evidence: Evidence) -> list[Finding]:
    """The mean share of the rank that frames had, which the constant control has to equal."""
    found: list[Finding] = []
    for kind in dict.fromkeys(str(record.point["kind"]) for record in finished(evidence)):
        names = ("active_text", "active_cross_modal")
        shares = [
            np.mean([record.metrics["val"][name] for name in names if name in record.metrics["val"]])
            for record in _of(evidence, kind)
            if any(name in record.metrics["val"] for name in names)
        ]
        if shares:
            sentence = f"{kind}: frames have {np.mean(shares):.3f} of the rank on average"
            basis = f"validation, mean over roles and {len(shares)} trials; a measurement, no sample"
            found.append(Finding(sentence=sentence, basis=basis, clear=False))
    return found
