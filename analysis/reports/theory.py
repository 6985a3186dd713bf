"""Do gradients of the untrained base predict what bits and rank cost? Verdict and plots of `studies/theory.py`.

The predictions themselves, for each modality, are `analysis.predictions`, which any study with a probe gets.
"""

from __future__ import annotations

from analysis import forecasts, predictions, views
from analysis.plots import Answer, Finding
from analysis.table import Evidence


def answer(evidence: Evidence) -> Answer:
    """Of the bit plans what is said of all roles together; of the ranks each role, because each has a curvature."""
    held = predictions.forecasts(evidence)
    main = [one for one in held if one.modality == predictions.EVERY or one.what == predictions.RANK]
    nothing = Finding(sentence="nothing was predicted", basis="no finished trial kept a probe", clear=False)
    return Answer(findings=forecasts.findings(main) or [nothing], plots=[views.curves(evidence, group="place")])
