"""The page's interactive part: the results as data for `assets/explore.js`, and the controls it fills.

The data are compressed; nothing of them is markup. What only a kept point needs is a part of its own.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from analysis import figures, page
from analysis.configs import levels
from analysis.reproduce import command, settings
from analysis.results import Results
from analysis.table import Evidence, config_name

CONTROLS = """
<section id="explore" hidden><h2>Explore the frontier</h2>
<p id="ex-status" role="status" class="soft"></p>
<div class="controls" role="group" aria-label="axes">
<label>Across <select id="ex-x"></select></label><label><input type="checkbox" id="ex-xlog"> log</label>
<label>Up <select id="ex-y"></select></label><label><input type="checkbox" id="ex-ylog"> log</label>
<label>Colour <select id="ex-group"></select></label>
<label>Device <select id="ex-device"></select></label>
<label><input type="checkbox" id="ex-bars" checked> 95% intervals</label>
</div>
<div class="plot" id="ex-plot" role="img"></div>
<p class="soft">A click on a point, or its box in the table, keeps it for comparison.</p>
<section id="ex-kept-part" hidden><h3>Kept, side by side</h3>
<div class="scroll" id="ex-kept" tabindex="0" role="region" aria-label="kept configurations"></div></section>
<details open><summary>Limits</summary><div id="ex-limits" class="limits"></div>
<details><summary>Limits on everything else</summary><div id="ex-more-limits" class="limits"></div></details></details>
<p class="controls"><button type="button" id="ex-clear">Clear limits</button>
<button type="button" id="ex-csv">Save as CSV</button></p>
<h3>Every axis at once</h3>
<p class="soft">Dark lines are on the frontier. A drag along an axis sets its limit, a click clears it; the sliders
above do the same.</p>
<div class="wide"><canvas id="ex-parallel" role="img"></canvas></div>
<h3>Within the limits</h3>
<div class="scroll" id="ex-table" tabindex="0" role="region" aria-label="configurations within the limits"></div>
<button type="button" id="ex-more" hidden>Show more</button>
</section>
"""


def html(evidence: Evidence, found: Results) -> str:
    """The controls and the data; '' where no configuration has finished."""
    if not found.configs:
        return ""
    parts = {"explore-data": data(evidence, found), "explore-details": details(evidence, found)}
    return CONTROLS + "".join(page.packed(name, _text(plain)) for name, plain in parts.items())


def data(evidence: Evidence, found: Results) -> dict[str, Any]:
    """What the plot, the sliders and the table show, by column."""
    metric = f"test.{found.metric}"
    recipes = [_lines(config.recipe) for config in found.configs]
    distinct = list(dict.fromkeys(recipes))
    place = {recipe: index for index, recipe in enumerate(distinct)}
    return {
        "columns": [
            {
                "key": one.key,
                "label": one.label,
                "kind": one.kind,
                "role": one.role,
                "unit": one.unit,
                "direction": one.direction,
                "chosen_by": one.chosen_by,
            }
            for one in found.columns
        ],
        "values": {one.key: [_json(value) for value in found.cells(one)] for one in found.columns},
        "names": [config.name for config in found.configs],
        "low": [_json(config.score.low) for config in found.configs],
        "high": [_json(config.score.high) for config in found.configs],
        "main": [*evidence.axes, f"val.{found.metric}", metric, *(name for name, _ in found.objectives[1:])],
        "interval_of": metric,
        "chance": [_json(value) for value in found.chance],
        "devices": [front.device for front in found.fronts],
        "recipes": distinct,
        "recipe": [place[recipe] for recipe in recipes],
        "x": _first([*(name for name, _ in found.objectives[1:]), *(one.key for one in found.columns)], found),
        "y": _first([metric, f"val.{found.metric}"], found),
        "group": group(evidence, found),
        "config": figures.CONFIG,
    }


def details(evidence: Evidence, found: Results) -> dict[str, Any]:
    """Each configuration's settings and the command that runs its first seed again."""
    commits = {
        (config_name(record.point, evidence.axes), record.provenance.device): record.provenance.commit
        for record in reversed(evidence.records)
    }
    return {
        "settings": [settings(config.recipe) for config in found.configs],
        "commands": [
            command(config.recipe, device=config.device, commit=commits[config.name, config.device])
            for config in found.configs
        ],
    }


def group(evidence: Evidence, found: Results) -> str:
    """The axis of fewest values above one, which gives colours and shapes; '' for none."""
    sizes = {axis: len(levels((config.point for config in found.configs), axis)) for axis in evidence.axes}
    varied = [axis for axis, size in sizes.items() if 1 < size <= 12]
    return min(varied, key=lambda axis: sizes[axis]) if varied else ""


def _first(keys: list[str], found: Results) -> str:
    numbers = {one.key for one in found.columns if one.kind == "number"}
    return next((key for key in keys if key in numbers), next(iter(numbers)))


def _lines(recipe: Any) -> tuple[str, ...]:
    """A recipe for a hover, some settings a line, the long names' last parts only."""
    short = [f"{name.rpartition('.')[2]} {value}" for name, value in settings(recipe).items() if value is not None]
    return tuple(", ".join(short[start : start + 4]) for start in range(0, len(short), 4))


def _json(value: Any) -> Any:
    """Six significant digits are more than a screen shows; a number that is not there is null."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value


def _text(plain: dict[str, Any]) -> str:
    return json.dumps(plain, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
