"""How do rank and bits trade score against memory? The verdict and the plots of `studies/rank_bits.py`.

Does training help, does quantisation hurt, does rank matter, what do bits save: each sentence with its interval, paired
over the same points, seeds and clips, and corrected for the other contrasts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from analysis import contrasts, views
from analysis.configs import Config, configurations, finished, label, levels, method_of, number
from analysis.contrasts import Contrast
from analysis.plots import Answer, Chart, Finding, Marks, Plot
from analysis.reports import general
from analysis.table import Evidence
from analysis.trends import law_of
from vqlora.record import Record

MEMORY = {"cost.train_peak_gib": "training", "cost.infer_peak_gib": "inference"}


def answer(evidence: Evidence) -> Answer:
    """The study's verdict and plots, in reading order. ValueError for records without the axes rank and bits."""
    missing = [axis for axis in ("rank", "bits") if axis not in evidence.axes]
    if missing:
        raise ValueError(f"the records have no axis {missing[0]!r}; a study of other axes needs another name")
    metric = general.score(evidence)[0]
    configs = configurations(evidence, metric=metric)
    trained = [record for record in finished(evidence) if method_of(record) != "zero_shot"]
    metrics = [name for name in dict.fromkeys((metric, "loss")) if any(name in r.metrics["test"] for r in trained)]
    trends = [law_of(evidence, trained, metric=name, factor="rank", block="bits") for name in metrics]
    adapted = [config for config in configs if config.method != "zero_shot"]
    plots: list[Plot] = [
        *general.frontiers(evidence, configs, group="bits"),
        *([views.grid(adapted, metric=metric, across="rank", down="bits")] if adapted else []),
        *(chart for _, chart in trends if chart),
        *_memory(adapted),
        views.curves(evidence, group="bits"),
    ]
    findings = [*_contrasts(evidence, trained), *(finding for finding, _ in trends), *_bits_save(adapted)]
    return Answer(findings=findings, plots=plots)


def _contrasts(evidence: Evidence, trained: Sequence[Record]) -> list[Finding]:
    """Highest rank against zero-shot, fewest bits against most, highest rank against lowest."""
    metric, direction = general.score(evidence)
    ranks, bits = (levels((record.point for record in trained), axis) for axis in ("rank", "bits"))
    if not trained:
        return [Finding(sentence="no comparison", basis="no adapter has finished its training", clear=False)]
    base = [record for record in finished(evidence) if method_of(record) == "zero_shot"]

    def at(axis: str, value: object) -> list[Record]:
        return [record for record in trained if record.point[axis] == value]

    shared = [value for value in levels((record.point for record in base), "bits") if value in bits]
    where = "" if shared in ([], bits) else f" (bits {', '.join(map(str, shared))})"
    high = at("rank", ranks[-1])
    asked = [
        Contrast(left=f"LoRA rank {ranks[-1]}{where}", lefts=high, right=f"zero-shot{where}", rights=base, by=["bits"])
    ]
    if len(bits) > 1:
        few, many = f"QLoRA (bits {bits[0]})", f"LoRA (bits {bits[-1]})"
        sides = {"lefts": at("bits", bits[0]), "rights": at("bits", bits[-1])}
        asked.append(Contrast(left=few, right=many, **sides, by=["rank"], in_margin=True))
    if len(ranks) > 1:
        low = at("rank", ranks[0])
        asked.append(Contrast(left=f"rank {ranks[-1]}", lefts=high, right=f"rank {ranks[0]}", rights=low, by=["bits"]))
    return contrasts.findings(evidence, asked, metric=metric, direction=direction)


def _memory(configs: Sequence[Config]) -> list[Chart]:
    """Peak memory by bits, in training and in inference, a mark for each configuration; one plot for each device."""
    found: list[Chart] = []
    devices = sorted({config.device for config in configs})
    for place, device in enumerate(devices, 1):
        own = [config for config in configs if config.device == device]
        rows = [
            (str(value), *(_range([c.values[m] for c in own if c.point["bits"] == value and c.has(m)]) for m in MEMORY))
            for value in levels((config.point for config in own), "bits")
        ]
        measured = (f"bits {bits}: training {train} GiB, inference {infer} GiB" for bits, train, infer in rows)
        found.append(
            Chart(
                id="memory" + (f"-{place}" if len(devices) > 1 else ""),
                title="Peak memory by bits",
                summary=f"{'; '.join(measured)}. Measured on {device}.",
                x_label="bits",
                y_label="peak memory, GiB",
                header=("bits", "training, GiB", "inference, GiB"),
                rows=rows,
                marks=[_memory_marks(own, column, style) for style, column in enumerate(MEMORY)],
                from_zero=True,
            )
        )
    return found


def _memory_marks(configs: Sequence[Config], column: str, style: int) -> Marks:
    order = [str(value) for value in levels((config.point for config in configs), "bits")]
    known = sorted((c for c in configs if c.has(column)), key=lambda c: order.index(str(c.point["bits"])))
    return Marks(
        name=MEMORY[column],
        x=[str(config.point["bits"]) for config in known],
        y=[config.values[column] for config in known],
        hovers=[[config.name, f"{label(column)} {number(config.values[column])} GiB"] for config in known],
        style=style,
    )


def _range(values: Sequence[float]) -> str:
    if not values:
        return "–"
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def _bits_save(configs: Sequence[Config]) -> list[Finding]:
    """What the fewest bits save of the most, at the ranks where both were measured, for each device."""
    found: list[Finding] = []
    for device in sorted({config.device for config in configs}):
        for column, name in MEMORY.items():
            own = [config for config in configs if config.device == device and config.has(column)]
            bits = levels((config.point for config in own), "bits")
            if len(bits) < 2:
                continue
            few, many = (_by_rank(own, column, lambda c, b=b: c.point["bits"] == b) for b in (bits[0], bits[-1]))
            shared = sorted(set(few) & set(many))
            if not shared:
                continue
            low, high = (float(np.mean([side[rank] for rank in shared])) for side in (few, many))
            sides = f"{number(low)} GiB at bits {bits[0]} against {number(high)} GiB at bits {bits[-1]}"
            sentence = f"peak memory in {name}: {sides} ({low / high - 1:+.0%})"
            basis = f"mean over {len(shared)} ranks at which both were measured, on {device}; a measurement, no sample"
            found.append(Finding(sentence=sentence, basis=basis, clear=low != high))
    return found


def _by_rank(configs: Sequence[Config], column: str, wanted: Callable[[Config], bool]) -> dict[int, float]:
    return {config.point["rank"]: config.values[column] for config in configs if wanted(config)}
