"""`python -m analysis fit FILE.csv --law NAME --x N=col,D=col --y col`: a law fitted to anyone's table."""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

from analysis.laws import LAWS, Fit, FitStatus, Law, Objective, fit
from analysis.laws.power import variance_weights
from analysis.laws.selection import Form, choose, within_one_se
from analysis.laws.spread import Spread, spread_of


def add(commands: Any) -> None:
    """Adds the command's parser."""
    parser = commands.add_parser("fit", help="fit a law to the rows of a CSV file, with intervals")
    parser.add_argument("file", metavar="FILE.csv", type=Path)
    parser.add_argument("--law", choices=sorted(LAWS), required=True)
    parser.add_argument("--x", required=True, metavar="FACTOR=COLUMN,...", help="each factor's column")
    parser.add_argument("--y", required=True, metavar="COLUMN")
    parser.add_argument("--cluster", metavar="COLUMN,...", help="rows drawn together; default: rows of equal factors")
    parser.add_argument("--bootstrap", type=int, default=0, metavar="N", help="refits for 95 %% intervals; default 0")
    parser.add_argument("--method", choices=("percentile", "bca", "parametric"), default="percentile")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--delta", type=float, default=1e-3, help="of the Huber loss of log residuals; default 1e-3")
    parser.add_argument("--squares", choices=("log", "plain"), help="least squares of such residuals instead")
    parser.add_argument("--noise", metavar="COLUMN", help="weights, from replicates whose noise may vary with it")
    parser.add_argument("--where", metavar="COLUMN=VALUE", help="only these rows, such as status=done")
    parser.add_argument("--compare", metavar="LAW,...", help="other forms, by how they extrapolate in cost")
    parser.add_argument("--cost", metavar="COLUMN", help="for --compare; default: the product of factors")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.set_defaults(run=run)


def run(given: argparse.Namespace) -> None:
    law, loss = LAWS[given.law], _loss(given)
    named = _factors(law, given.x)
    together = given.cluster.split(",") if given.cluster else []
    more = [column for column in (given.cost, given.noise) if column]
    rows, left_out = _rows(given, [*named.values(), given.y, *more], together)
    x = [tuple(float(row[column]) for column in named.values()) for row in rows]
    y = [float(row[given.y]) for row in rows]
    clusters = [tuple(row[column] for column in together) for row in rows] if together else x
    sizes = [float(row[given.noise]) for row in rows] if given.noise else None
    began = time.perf_counter()
    weights = variance_weights(y, sizes, clusters=clusters, log=loss.log) if sizes else None
    fitted = fit(law, x, y, loss=loss, weights=weights)
    spread = None
    if given.bootstrap:
        rng = np.random.default_rng(given.seed)
        drawn = {"clusters": clusters, "weights": weights, "method": given.method, "resamples": given.bootstrap}
        spread = spread_of(fitted, x, y, rng=rng, **drawn)
    seconds = time.perf_counter() - began
    print("\n".join(_told(fitted, spread, given.method, left_out, seconds)))
    if given.compare:
        laws = [law, *(_known(name, law) for name in given.compare.split(","))]
        prices = [float(row[given.cost]) for row in rows] if given.cost else [math.prod(point) for point in x]
        print("\n".join(_compared(choose(laws, x, y, cost=prices, loss=loss))))
    if given.json:
        print(json.dumps(_plain(fitted, spread, seconds), allow_nan=False))


def _loss(given: argparse.Namespace) -> Objective:
    if given.squares:
        return Objective(log=given.squares == "log", delta=None)
    return Objective(delta=given.delta)


def _known(name: str, like: Law) -> Law:
    fitting = [one.name for one in LAWS.values() if len(one.factors) == len(like.factors)]
    if name not in fitting:
        raise ValueError(f"--compare {name!r} is no law of {len(like.factors)} factors; use {', '.join(fitting)}")
    return LAWS[name]


def _compared(forms: list[Form]) -> list[str]:
    """One line a form, best extrapolation first."""
    alike = {form.law.name for form in within_one_se(forms)}
    lines = ["forms, by the mean error of predicting dearer rows from the cheapest 50, 60, 70 and 80 %:"]
    for form in forms:
        if form.fit is None or form.error is None:
            lines.append(f"  {form.law.name:>15}: {form.refused}")
            continue
        signed = float(np.mean([test.signed for test in form.tests]))
        mark = "  within one standard error of the best" if form.law.name in alike else ""
        lines.append(
            f"  {form.law.name:>15}: error {form.error:.3%} (signed {signed:+.3%}), AICc {form.aicc:.1f}, "
            f"BIC {form.bic:.1f}, {form.fit.status.value}{mark}"
        )
    return lines


def _factors(law: Law, text: str) -> dict[str, str]:
    """{factor: column} in the law's order."""
    pairs = {factor: column for factor, _, column in (part.partition("=") for part in text.split(","))}
    if set(pairs) != set(law.factors) or not all(pairs.values()):
        wanted = ",".join(f"{factor}=COLUMN" for factor in law.factors)
        raise ValueError(f"--x {text!r} does not name the factors of the {law.name} law; use --x {wanted}")
    return {factor: pairs[factor] for factor in law.factors}


def _rows(given: argparse.Namespace, numbers: list[str], texts: list[str]) -> tuple[list[dict[str, str]], int]:
    """The rows to fit, and how many --where left out or had no finite number in `numbers`."""
    with given.file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        rows = list(reader)
    name, _, value = (given.where or "").partition("=")
    wanted = [*numbers, *texts, *([name] if name else [])]
    missing = [column for column in wanted if column not in (reader.fieldnames or ())]
    if missing:
        has = ", ".join(reader.fieldnames or ())
        raise ValueError(f"{str(given.file)!r} has no column {missing[0]!r}; it has {has}")
    kept = [row for row in rows if not name or row[name] == value]
    kept = [row for row in kept if all(_finite(row[column]) for column in numbers)]
    return kept, len(rows) - len(kept)


def _finite(text: str | None) -> bool:
    try:
        return math.isfinite(float(text or ""))
    except ValueError:
        return False


def _told(fitted: Fit, spread: Spread | None, method: str, left_out: int, seconds: float) -> list[str]:
    search, bounds = fitted.search, f" ({', '.join(fitted.at_bounds)})" if fitted.at_bounds else ""
    lines = [
        f"{fitted.law.equation}   {fitted.law.source}",
        f"{fitted.loss} over {fitted.points} rows, {left_out} left out",
        f"status {fitted.status.value}{bounds}; objective {fitted.objective:.9g}; gradient {search.gradient:.1e}; "
        f"{search.agreeing} of {search.starts} polished starts agree; {seconds:.2f} s",
    ]
    for name, value in fitted.params.items():
        unit = f" {fitted.law.units[name]}" if name in fitted.law.units else ""
        drawn = f"  [{spread.params[name].low:.6g}, {spread.params[name].high:.6g}]" if spread else ""
        held = fitted.profile.get(name)
        profile = f"  profile [{held[0]:.6g}, {held[1]:.6g}]" if held else ""
        lines.append(f"  {name:>6} = {value:.6g}{unit}{drawn}{profile}")
    if fitted.status is FitStatus.NOT_IDENTIFIED:
        lines.append("  other parameters fit as well; do not report these")
    if spread:
        how = "normal noise drawn around the law" if method == "parametric" else "drawn with replacement"
        lines.append(f"95 % intervals: {method}, {spread.clusters} configurations, {how}")
    return lines


def _plain(fitted: Fit, spread: Spread | None, seconds: float) -> dict[str, Any]:
    drawn = {name: [one.low, one.high] for name, one in spread.params.items()} if spread else {}
    return {
        "law": fitted.law.name,
        "params": dict(fitted.params),
        "intervals": drawn,
        "status": fitted.status.value,
        "objective": fitted.objective,
        "seconds": seconds,
    }
