"""Evidence -> a Report: verdict, plots, tables, words. `layout`, `markdown`, `latex` and `export` give it a form.

Equal evidence gives equal bytes: fixed ids, fixed seeds, no dates but the records'.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

from analysis import effects, forecasts, methods, predictions, tables, verdicts
from analysis.plots import Answer, Finding, Plot
from analysis.reports import general
from analysis.results import Results, results
from analysis.table import Evidence
from analysis.tables import Table
from vqlora.record import Status


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that is said about one study. verdict: answers to its question; frontier: what its frontier allows to say.

    theory: how predictions came true, where the records keep any. tables: scores, costs, importance, forecasts,
    coverage; without a finished trial only the last.
    """

    evidence: Evidence
    results: Results
    verdict: Sequence[Finding]
    frontier: Sequence[Finding]
    theory: Sequence[Finding]
    plots: Sequence[Plot]
    tables: Sequence[Table]
    methods: str
    checklist: Sequence[tuple[str, str]]

    @property
    def name(self) -> str:
        """The study's name, which names files too."""
        return self.evidence.study


def report_of(evidence: Evidence) -> Report:
    """The report of a study; its own module in `analysis.reports`, if it has one, gives verdict and plots."""
    found = results(evidence)
    answered = answer(evidence)
    explained = tables.explained(evidence, found.metric)
    made = [tables.scores(found), tables.costs(found)] if found.configs else []
    made += [tables.importances(found, explained)] if explained else []
    held = predictions.forecasts(evidence)
    made += [forecasts.table(held)] if held else []
    return Report(
        evidence=evidence,
        results=found,
        verdict=answered.findings,
        frontier=verdicts.sentences(found),
        theory=forecasts.findings(held),
        plots=[*answered.plots, *effects.plots(evidence, found, explained), *forecasts.plots(held)],
        tables=[*made, tables.coverage(evidence)],
        methods=methods.paragraph(evidence, found, answered),
        checklist=methods.checklist(evidence, found, answered),
    )


def answer(evidence: Evidence) -> Answer:
    """The study's verdict and plots, by `analysis.reports.NAME` or else `general`; none without a finished trial."""
    if not evidence.count(Status.DONE):
        return Answer(findings=[], plots=[])
    name = f"analysis.reports.{evidence.study}"
    known = evidence.study.isidentifier() and importlib.util.find_spec(name) is not None
    module = importlib.import_module(name) if known else general
    return module.answer(evidence)
