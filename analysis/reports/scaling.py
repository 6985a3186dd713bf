"""With which law does the score grow? The verdict and plots of `studies/scaling.py`: one law for each factor."""

from __future__ import annotations

from dataclasses import replace

from analysis import views
from analysis.configs import configurations, finished
from analysis.plots import Answer, Plot
from analysis.reports import general
from analysis.table import Evidence
from analysis.trends import law_of

FACTORS = ("clips", "rank", "frames")


def answer(evidence: Evidence) -> Answer:
    """Laws of score and loss over clips seen, rank and frames. ValueError for records without these axes."""
    missing = [axis for axis in (*FACTORS, "bits") if axis not in evidence.axes]
    if missing:
        raise ValueError(f"the records have no axis {missing[0]!r}; a study of other axes needs another name")
    metric = general.score(evidence)[0]
    configs = configurations(evidence, metric=metric)
    trained = finished(evidence)
    trends = [
        (factor, *law_of(evidence, trained, metric=name, factor=factor, block="bits"))
        for factor in FACTORS
        for name in dict.fromkeys((metric, "loss"))
    ]
    plots: list[Plot] = [
        *general.frontiers(evidence, configs, group="bits"),
        *(replace(chart, id=f"{chart.id}-{factor}") for factor, _, chart in trends if chart),
        views.grid(configs, metric=metric, across="clips", down="rank"),
        views.curves(evidence, group="bits"),
    ]
    return Answer(findings=[finding for _, finding, _ in trends], plots=plots)
