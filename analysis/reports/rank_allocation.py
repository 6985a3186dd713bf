"""Where should an adapter's parameters go? The verdict and plots of `studies/rank_allocation.py`.

The best fixed split is chosen on validation, so that it is as good as trying them all would make it.
"""

from __future__ import annotations

from analysis import contrasts, views
from analysis.configs import Config, configurations, finished
from analysis.contrasts import Contrast
from analysis.plots import Answer, Finding
from analysis.reports import general
from analysis.table import Evidence
from vqlora.record import Record

OTHERS = ("uniform", "eva", "random", "entropy 0.5", "entropy 1")


def answer(evidence: Evidence) -> Answer:
    """The sketch against the best split and against every other rule. ValueError without the axis rule."""
    if "rule" not in evidence.axes:
        raise ValueError("the records have no axis 'rule'; a study of other axes needs another name")
    metric, direction = general.score(evidence)
    configs = configurations(evidence, metric=metric)
    split = _best_split(configs, metric, direction)
    asked = [_against(evidence, rule) for rule in ((split,) if split else ()) + OTHERS if _of(evidence, rule)]
    findings = (
        contrasts.findings(evidence, asked, metric=metric, direction=direction) if _of(evidence, "sketch") else []
    )
    if split:
        chosen = Finding(sentence=f"best fixed split: {split}", basis="by the score on validation", clear=False)
        findings = [chosen, *findings]
    plots = [*general.frontiers(evidence, configs, group="rule"), views.curves(evidence, group="rule")]
    return Answer(findings=findings, plots=plots)


def _against(evidence: Evidence, rule: str) -> Contrast:
    sides = {"lefts": _of(evidence, "sketch"), "rights": _of(evidence, rule)}
    return Contrast(left="sketch", right=rule, **sides, by=(), in_margin=rule.startswith("share"))


def _of(evidence: Evidence, rule: str) -> list[Record]:
    return [record for record in finished(evidence) if record.point["rule"] == rule]


def _best_split(configs: list[Config], metric: str, direction: str) -> str | None:
    name = f"val.{metric}"
    splits = [one for one in configs if str(one.point["rule"]).startswith("share") and one.has(name)]
    if not splits:
        return None
    return str((max if direction == "max" else min)(splits, key=lambda one: one.values[name]).point["rule"])
