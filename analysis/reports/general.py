"""Any study: the best configuration, the frontiers of its objectives, a grid of two axes, learning curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis import contrasts, views
from analysis.configs import Config, configurations, finished, label, levels, score_draws
from analysis.contrasts import Contrast
from analysis.counting import MEANS
from analysis.plots import Answer, Chart, Finding, Plot
from analysis.table import Evidence, config_name

OBJECTIVES = (("val.cider", "max"), ("cost.train_peak_gib", "min"), ("cost.latency_ms", "min"))


def answer(evidence: Evidence) -> Answer:
    """The verdict and the plots of a study that has no module of its own; colours go to the axis of fewest values."""
    metric, direction = score(evidence)
    configs = configurations(evidence, metric=metric)
    sizes = {axis: len(levels((config.point for config in configs), axis)) for axis in evidence.axes}
    varied = [axis for axis, size in sizes.items() if size > 1] or list(evidence.axes[:1])
    group = min(varied, key=lambda axis: sizes[axis])
    others = [axis for axis in varied if axis != group]
    plots: list[Plot] = [*frontiers(evidence, configs, group=group)]
    if others:
        plots.append(views.grid(configs, metric=metric, across=others[0], down=group))
    plots.append(views.curves(evidence, group=group))
    findings = [best(configs, metric=metric, direction=direction), *_worth(evidence, configs)]
    return Answer(findings=findings, plots=plots)


def _worth(evidence: Evidence, configs: Sequence[Config]) -> list[Finding]:
    """The cheapest trained configuration against the one that validation chooses, and whether it may replace it."""
    metric, direction = score(evidence)
    cost = next((name for name, _ in objectives(evidence) if name.startswith("cost.")), "")
    known = [one for one in configs if one.method != "zero_shot" and one.has(cost, f"val.{metric}", f"test.{metric}")]
    known = [one for one in known if one.device == known[0].device]
    if metric not in MEANS or len(known) < 2:
        return []
    chosen = (max if direction == "max" else min)(known, key=lambda one: one.values[f"val.{metric}"])
    cheapest = min(known, key=lambda one: one.values[cost])
    if cheapest is chosen:
        return []
    sides = [
        [one for one in finished(evidence) if config_name(one.point, evidence.axes) == side.name]
        for side in (cheapest, chosen)
    ]
    names = (f"{cheapest.name} (least {label(cost)})", f"{chosen.name} (best on validation)")
    asked = Contrast(left=names[0], lefts=sides[0], right=names[1], rights=sides[1], by=(), in_margin=True)
    return contrasts.findings(evidence, [asked], metric=metric, direction=direction)


def objectives(evidence: Evidence) -> tuple[tuple[str, str], ...]:
    """What the study wants: (column, 'max' or 'min'); CIDEr against memory and latency where it did not say."""
    return evidence.asked.objectives or OBJECTIVES


def score(evidence: Evidence) -> tuple[str, str]:
    """The first objective that is a score: its name without the split, and its direction."""
    scores = [one for one in (*objectives(evidence), *OBJECTIVES) if one[0].startswith("val.")]
    return scores[0][0].removeprefix("val."), scores[0][1]


def best(configs: Sequence[Config], *, metric: str, direction: str) -> Finding:
    """The configuration that validation chooses, at its test score."""
    val, test = f"val.{metric}", f"test.{metric}"
    known = [config for config in configs if config.has(val, test)]
    if not known:
        return Finding(sentence=f"no finished trial has {label(metric)} on both splits", basis="no choice", clear=False)
    first = (max if direction == "max" else min)(known, key=lambda config: config.values[val])
    low, high = first.score.low, first.score.high
    span = f"[{low:.3f}, {high:.3f}]" if np.isfinite(low) else "(no interval without per-clip scores)"
    return Finding(
        sentence=f"best on validation of {len(known)} configurations: {first.name}, "
        f"{label(metric)} {first.values[test]:.3f} {span} on test",
        basis=f"95% bootstrap over clips, {first.seeds} seed{'s' if first.seeds > 1 else ''}; chosen on validation, "
        "so the choice does not flatter the test score",
        clear=first.score.clear_of_zero,
    )


def frontiers(evidence: Evidence, configs: Sequence[Config], *, group: str) -> list[Chart]:
    """One frontier for each cost that is wanted, by default memory and latency, and for each device: no mixing."""
    metric, direction = score(evidence)
    wanted = [name for name, _ in objectives(evidence) if name.startswith("cost.")]
    costs = wanted or [name for name, _ in OBJECTIVES if name.startswith("cost.")]
    devices = sorted({config.device for config in configs})
    found: list[Chart] = []
    for cost in costs:
        for place, device in enumerate(devices, 1):
            own = [one for one in configs if one.device == device and one.has(cost, f"val.{metric}", f"test.{metric}")]
            name = f"frontier-{cost.removeprefix('cost.')}" + (f"-{place}" if len(devices) > 1 else "")
            if own:
                few = range(len(own)) if len(own) <= views.MOST_HOVERS else ()
                draws = score_draws(evidence, own, few, metric=metric, split="test")
                drawn = {"cost": cost, "group": group, "id": name, "draws": draws}
                found.append(views.frontier(own, metric=metric, direction=direction, **drawn))
    return found
