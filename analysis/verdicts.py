"""What a study's frontier allows one to say: budgets first, then chances, luck, volume and knee, each with a basis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.choices import best_within, knee
from analysis.configs import amount, label
from analysis.plots import Finding
from analysis.results import Front, Results
from analysis.tables import budget_sentence

SHARES = (0.25, 0.5, 0.75)  # budgets: quantiles of the cost over what was measured


def sentences(found: Results) -> list[Finding]:
    """For each device: budgets in each cost, how sure the frontier is, how much validation flatters."""
    said: list[Finding] = []
    for front in found.fronts:
        where = f" on {front.device}" if len(found.fronts) > 1 else ""
        if len(front.rows) < 2 or len(found.objectives) < 2:
            continue
        for cost, _ in found.objectives[1:]:
            said.extend(_budgets(found, front, cost, where))
        said.append(_frontier(found, front, where))
        said.extend(_knees(found, front, where))
    return said


def _budgets(found: Results, front: Front, cost: str, where: str) -> list[Finding]:
    """The best on validation within a quarter, half and three quarters of what was measured; equal answers once."""
    values = np.array([found.configs[row].values[cost] for row in front.rows])
    scores = [found.configs[row].values[f"val.{found.metric}"] for row in front.rows]
    answers: dict[int, float] = {}
    for share in SHARES:
        limit = float(np.quantile(values, share, method="lower"))
        place = best_within(scores, direction=found.direction, inside=values <= limit)
        if place is not None and f"test.{found.metric}" in found.configs[front.rows[place]].values:
            answers.setdefault(front.rows[place], limit)
    return [
        Finding(
            sentence=f"within {amount(cost, limit)} of {label(cost)}{where}: {budget_sentence(found, row, cost)}",
            basis=f"the best on validation of {int((values <= limit).sum())} configurations; the test score's interval "
            "is over clips and seeds, not over the choice",
            clear=found.configs[row].score.clear_of_zero,
        )
        for row, limit in answers.items()
    ]


def _frontier(found: Results, front: Front, where: str) -> Finding:
    goals = ", ".join(label(name) for name, _ in found.objectives)
    count = f"{len(front.members)} of {len(front.rows)} configurations are on the frontier of {goals}{where}"
    if not front.chances:
        return Finding(sentence=count, basis="no chances without per-clip validation scores", clear=False)
    sure = sum(front.chances[row] >= 0.95 for row in front.members)
    open_ = sum(front.chances[row] >= 0.05 for row in front.chances if row not in front.members)
    luck = front.luck if found.direction == "max" else -front.luck
    return Finding(
        sentence=f"{count}; {sure} of them in at least 95% of resamples, {open_} others in at least 5%",
        basis=f"{front.draws} paired resamples of clips and seeds, costs as measured; {_volume(front)}; the "
        f"best of {len(front.rows)} on validation flatters itself by {luck:+.3f} on average, so its test score counts",
        clear=sure == len(front.members) and not open_,
    )


def _volume(front: Front) -> str:
    """The hypervolume with its reference: the worst that was measured, so that it compares within a study only."""
    span = f" [{front.volume.low:.4g}, {front.volume.high:.4g}]" if np.isfinite(front.volume.low) else ""
    worst = ", ".join(f"{value:.4g}" for value in front.worst)
    return f"hypervolume {front.volume.estimate:.4g}{span} up to the worst measured ({worst})"


def _knees(found: Results, front: Front, where: str) -> Sequence[Finding]:
    (score, direction), (cost, _) = found.objectives[:2]
    values = np.array([[found.configs[row].values[name] for name in (score, cost)] for row in front.rows])
    place = knee(values, directions=(direction, "min"))
    if place is None or f"test.{found.metric}" not in found.configs[front.rows[place]].values:
        return []
    row = front.rows[place]
    return [
        Finding(
            sentence=f"knee{where}: {budget_sentence(found, row, cost)}",
            basis=f"the point farthest from the line through the ends of {label(score)} and {label(cost)}, linear axes "
            "scaled to the frontier; it moves with the scale, a budget does not",
            clear=False,
        )
    ]
