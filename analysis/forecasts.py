"""Predictions held against measurements (`predictions`) in words, a table and plots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.configs import label
from analysis.plots import Chart, Finding, Marks
from analysis.predictions import FIRST, LATENCY, MEMORY, MOST_POINTS, OTHER_BITS, RANK, SECOND, SUSTAINED, Forecast
from analysis.tables import Cell, Table

GOAL = 0.8  # rank correlation of losses
LOSSES = (SECOND, FIRST, RANK)
PROBE = "a probe of the untrained base on training clips"
SOURCES: dict[str, str] = {
    MEMORY: "the planner",
    OTHER_BITS: "the peak of the same trial at 16 bits and what the base takes at each",
    LATENCY: "the planner, for the longest caption allowed on an H100",
    SUSTAINED: "FLOPs counted on one clip, at the rate that the device sustained in training",
}
UNITS: dict[str, str] = {
    SECOND: "nats a token",
    FIRST: "nats a token",
    RANK: "squared gradient",
    MEMORY: "GiB",
    OTHER_BITS: "GiB",
}
UNITS |= {LATENCY: "ms", SUSTAINED: "ms"}
MEASURED: dict[str, str] = dict.fromkeys((MEMORY, OTHER_BITS), label("cost.train_peak_gib", unit=True))
MEASURED |= dict.fromkeys((LATENCY, SUSTAINED), label("cost.latency_ms", unit=True))


def findings(found: Sequence[Forecast]) -> list[Finding]:
    """A sentence for each: how alike the order is, and whether that is what the theory promised."""
    return [_finding(one) for one in found]


def table(found: Sequence[Forecast]) -> Table:
    """Rank correlation and calibration slope of each, with their intervals."""
    rows = []
    for one in found:
        order, scale = one.order, one.scale
        rows.append(
            [
                Cell(value=one.what),
                Cell(value=one.modality),
                Cell(value=float(len(one.names))),
                Cell(value=order.spearman, low=order.low, high=order.high) if order else Cell(value=np.nan),
                Cell(value=scale.slope, low=scale.slope_low, high=scale.slope_high) if scale else Cell(value=np.nan),
                Cell(value=float(order.beyond_noise) if order else np.nan),
                Cell(value=order.concordant if order and order.concordant is not None else np.nan),
            ]
        )
    return Table(
        id="forecasts",
        title="Theory against measurement",
        note="Predicted, then measured, each modality and for costs each device apart; of more than "
        f"{MOST_POINTS} configurations evenly as many; 95% intervals over configurations. Slope: of measured on "
        "predicted, for rank after each was set on the line of the others; 1 is calibrated. Beyond noise: pairs that "
        "differ by more than twice what seeds and clips make of a difference; alike: the share of them that the "
        "prediction orders so.",
        keys=["prediction", "modality", "points", "spearman", "slope", "beyond_noise", "alike"],
        header=["prediction", "modality", "points", "rank correlation", "slope", "beyond noise", "alike"],
        rows=rows,
    )


def plots(found: Sequence[Forecast]) -> list[Chart]:
    """One for each kind of prediction, marks by modality."""
    return [_chart(what, own) for what in UNITS if (own := [one for one in found if one.what == what])]


def _finding(one: Forecast) -> Finding:
    whole = f"{one.what} of {one.modality}"
    if one.order is None or one.scale is None:
        return Finding(sentence=f"{whole}: not answered", basis=one.why, clear=False)
    span = f"{one.order.spearman:.2f} [{one.order.low:.2f}, {one.order.high:.2f}]"
    reached = ", as promised" if one.order.spearman >= GOAL else f", below the {GOAL} that the theory promised"
    promised = reached if one.what in LOSSES else ""
    share = "" if one.order.concordant is None else f", {one.order.concordant:.0%} of them ordered alike"
    pairs = f"{one.order.beyond_noise} pair{'' if one.order.beyond_noise == 1 else 's'}"
    return Finding(
        sentence=f"{whole}: rank correlation of predicted and measured {span} over {len(one.names)}{promised}",
        basis=f"from {SOURCES.get(one.what, PROBE)}; {pairs} beyond noise{share}; slope "
        f"{one.scale.slope:.2g} [{one.scale.slope_low:.2g}, {one.scale.slope_high:.2g}], 1 is calibrated",
        clear=one.order.low > 0 or one.order.high < 0,
    )


def _chart(what: str, found: Sequence[Forecast]) -> Chart:
    measured = MEASURED.get(what, f"{label('loss')} on test, nats a token")
    said = [f"{one.modality} {one.order.spearman:.2f}" for one in found if one.order]
    return Chart(
        id=f"forecast-{what.replace(',', '').replace(' ', '-')}",
        title=f"Predicted against measured: {what}",
        summary=f"Rank correlations: {', '.join(said) or 'too few points for any'}. Each mark is a held-out "
        + (
            "configuration's loss less that of the same one at 16 bits."
            if what in (SECOND, FIRST)
            else "configuration."
        ),
        x_label=f"predicted, {UNITS[what]}",
        y_label=f"rise of {measured}" if what in (SECOND, FIRST) else measured,
        header=("modality", "configuration", "predicted", "measured"),
        rows=[
            (one.modality, name, f"{x:.4g}", f"{y:.4g}")
            for one in found
            for name, x, y in zip(one.names, one.predicted, one.measured, strict=True)
        ],
        marks=[
            Marks(
                name=one.modality,
                x=one.predicted,
                y=one.measured,
                hovers=[[one.modality, name] for name in one.names],
                style=style,
            )
            for style, one in enumerate(found)
        ],
    )
