"""Does each law recover a known truth, and do its 95 % intervals cover it? A simulation with known answers.

Question: which interval can be believed, where seeds of a configuration share an effect? Each law is fitted to tables
drawn from its truth: a design of configurations, two seeds each; log noise (plain for scores) of 0.3 % of which half
the variance is shared by a configuration's seeds. Intervals: percentiles of a cluster bootstrap over configurations,
its BCa form, a parametric bootstrap, percentiles of an iid bootstrap over rows, and profiles, which take errors to be
independent. Covered or not: each exponent (mean over a law's exponents), the effect over the design, and the
prediction at twice the largest factors. Nominal is .95; with 200 tables one standard error is .015.
Command: python benchmarks/coverage.py [--tables 200] [--resamples 300] [--laws power,chinchilla]
The laws of one call are added to those already in the results with the same settings.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from fitting import device
from numpy.typing import NDArray

from analysis.bootstrap import Interval
from analysis.laws import LAWS, SQUARES, Fit, FitError, Law, Objective, fit
from analysis.laws.descent import Problem
from analysis.laws.fitting import curves, problem_of
from analysis.laws.resampling import clusters_left_out, drawn_clusters, drawn_noise
from analysis.laws.spread import Refits, interval_of, refits_of

RESULT = Path(__file__).parent / "results" / "coverage.json"
NOISE, SEEDS = 0.003, 2
METHODS = ("cluster", "bca", "parametric", "iid", "profile")
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Truth:
    """params in the order of the law's names; levels of each factor, crossed, or `draws` random ones of them."""

    params: tuple[float, ...]
    levels: tuple[tuple[float, ...], ...]
    draws: int = 0


def geometric(low: float, high: float, count: int) -> tuple[float, ...]:
    return tuple(np.geomspace(low, high, count).tolist())


RANKS, EXAMPLES, BITS = geometric(2, 128, 7), geometric(1e3, 1e6, 6), (2.0, 3.0, 4.0, 6.0, 8.0, 16.0)
TRUTHS = {
    "saturating": Truth(params=(1.0, 0.8, 0.7), levels=(geometric(1, 128, 12),)),
    "power": Truth(params=(1.8, 1.5, 0.5), levels=(geometric(1, 128, 12),)),
    "chinchilla": Truth(
        params=(1.8172, 482.01, 2085.43, 0.3478, 0.3658), levels=(geometric(5e7, 1e10, 6), geometric(1e9, 3e11, 6))
    ),
    "multiplicative": Truth(params=(1.2, 8.0, 0.15, 0.25), levels=(RANKS, EXAMPLES)),
    "additive": Truth(params=(1.2, 0.6, 12.0, 0.5, 0.35), levels=(RANKS, EXAMPLES)),
    "add-interact": Truth(params=(1.0, 0.6, 0.8, 6.0, 0.5, 0.4, 0.35), levels=(RANKS, EXAMPLES)),
    "rectified": Truth(params=(1.0, 60.0, 50.0, 0.6), levels=(geometric(10, 1e6, 16),)),
    "precision": Truth(
        params=(1.8, 480.0, 2000.0, 0.35, 0.36, 2.7),
        levels=(geometric(5e7, 1e10, 4), geometric(1e9, 3e11, 3), BITS),
    ),
    "tokens": Truth(params=(0.4, 12.0, 0.12, 0.2), levels=(geometric(5e8, 3e10, 5), geometric(16, 4096, 6))),
    "frames": Truth(params=(1.1, 0.5, 1.2, 0.6, 0.4), levels=(geometric(1, 64, 7), geometric(4, 256, 6))),
    "broken": Truth(params=(0.5, 2.0, 0.1, 0.5, 300.0, 0.5), levels=(geometric(1, 1e6, 40),)),
    "joint": Truth(
        params=(0.9, 0.3, 0.4, 0.5, 0.3, 10.0, 0.5, 2.0, 0.6, 0.35),
        levels=(RANKS, BITS, (0.25, 0.5, 0.75), geometric(1, 64, 7), EXAMPLES),
        draws=120,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--resamples", type=int, default=300)
    parser.add_argument("--laws", default=",".join(TRUTHS))
    given = parser.parse_args()
    versions = {name: version(name) for name in ("numpy", "scipy")} | {"python": platform.python_version()}
    result: dict[str, Any] = {"benchmark": "coverage", "device": device(), "versions": versions}
    result |= {"tables": given.tables, "resamples": given.resamples, "noise": NOISE, "rows": []}
    known = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    if all(known.get(name) == result[name] for name in result if name != "rows"):
        result["rows"] = known["rows"]
    print(f"{'law':>14} {'done':>5} {'bias':>7}  exponents / prediction: {' '.join(METHODS)}")
    for name in given.laws.split(","):
        row = simulated(LAWS[name], TRUTHS[name], given.tables, given.resamples)
        result["rows"] = [one for one in result["rows"] if one["law"] != name] + [row]
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
        said = [" ".join(f"{row[what][method]:.2f}" for method in METHODS[: 5 - k]) for k, what in enumerate(WHATS)]
        print(f"{name:>14} {row['converged']:>5.2f} {row['bias']:>+7.3f}  {' / '.join(said)}  {row['seconds']:.0f} s")
    print(json.dumps(result))


WHATS = ("exponents", "prediction")


def simulated(law: Law, truth: Truth, tables: int, resamples: int) -> dict[str, Any]:
    """One row: how often each interval covers. A table that cannot be fitted counts in `refused` only."""
    began, rng = time.perf_counter(), np.random.default_rng(0)
    hits: list[dict[str, dict[str, float]]] = []
    biases: list[Floats] = []
    statuses: list[str] = []
    clusters: list[int] = []
    for _ in range(tables):
        x, y, clusters = drawn(law, truth, rng)
        try:
            fitted = fit(law, x, y, loss=Objective() if law.positive else SQUARES)
            hits.append(covered(fitted, truth, x, y, clusters, rng, resamples))
        except FitError as error:
            statuses.append(f"refused: {error}")
            continue
        statuses.append(fitted.status.value)
        exponents = np.array([fitted.params[name] for name in law.exponents])
        biases.append(np.log(exponents / truth.params[-len(exponents) :]))
    means = {
        what: {method: float(np.mean([hit[what][method] for hit in hits])) for method in hits[0][what]}
        for what in hits[0]
    }
    return {
        "law": law.name,
        "points": len(clusters),
        "configurations": len(set(clusters)),
        "converged": statuses.count("converged") / tables,
        "statuses": {status: statuses.count(status) for status in sorted(set(statuses))},
        "bias": float(np.abs(np.median(biases, axis=0)).max()),
        "spread": float(np.std(biases, axis=0).max()),
        **means,
        "seconds": time.perf_counter() - began,
    }


def drawn(law: Law, truth: Truth, rng: np.random.Generator) -> tuple[Floats, Floats, list[int]]:
    """A table: x [n, f], y [n] and each row's configuration."""
    if truth.draws:
        configs = np.column_stack([rng.choice(level, truth.draws) for level in truth.levels])
    else:
        configs = np.array(list(itertools.product(*truth.levels)))
    shared = rng.normal(0, NOISE * np.sqrt(0.5), len(configs))
    clusters = np.repeat(np.arange(len(configs)), SEEDS)
    noise = shared[clusters] + rng.normal(0, NOISE * np.sqrt(0.5), len(clusters))
    clean = true_curve(law, truth, configs)[clusters]
    return configs[clusters], clean * np.exp(noise) if law.positive else clean + noise, clusters.tolist()


def true_curve(law: Law, truth: Truth, x: Floats) -> Floats:
    own, rest = truth.params[0], truth.params[1:]
    coefficients, exponents = np.split(np.array(rest), [len(law.coefficients)])
    return own + law.terms(exponents, x) @ coefficients


def covered(
    fitted: Fit, truth: Truth, x: Floats, y: Floats, clusters: list[int], rng: np.random.Generator, resamples: int
) -> dict[str, dict[str, float]]:
    """{what: {method: share of the intervals that cover}}"""
    law = fitted.law
    problem, _ = problem_of(law, x, y, blocks=None, weights=None, loss=fitted.loss)
    left = refits_of(fitted, weighted(problem, clusters_left_out(clusters)))
    cluster = refits_of(fitted, weighted(problem, drawn_clusters(law, x, problem.codes, clusters, rng, resamples)[0]))
    rows = list(range(len(clusters)))
    iid = refits_of(fitted, weighted(problem, drawn_clusters(law, x, problem.codes, rows, rng, resamples)[0]))
    targets = drawn_noise(problem, fitted.search.point, clusters, rng, resamples)
    normal = refits_of(fitted, with_y(problem, targets))
    draws = {"cluster": (cluster, None), "bca": (cluster, left), "parametric": (normal, None), "iid": (iid, None)}
    beyond = 2 * x.max(axis=0, keepdims=True)
    if "s" in law.factors:
        beyond[0, law.factors.index("s")] = 0.5
    exact = np.array([*truth.params[-len(law.exponents) :]])
    ahead = float(true_curve(law, truth, beyond)[0])
    estimates = np.array([fitted.params[name] for name in law.exponents])
    hit: dict[str, dict[str, float]] = {"exponents": {}, "prediction": {}}
    for method, (some, others) in draws.items():
        intervals = [
            interval_of(float(estimates[k]), some.exponents[:, k], others.exponents[:, k] if others else None, 0.95)
            for k in range(len(exact))
        ]
        hit["exponents"][method] = float(
            np.mean([holds(one, value) for one, value in zip(intervals, exact, strict=True)])
        )
        predicted = float(fitted.predict(beyond)[0])
        one = interval_of(predicted, at(law, some, beyond), at(law, others, beyond) if others else None, 0.95)
        hit["prediction"][method] = holds(one, ahead)
    profiles = zip(law.exponents, exact, strict=True)
    inside = [fitted.profile[name][0] <= value <= fitted.profile[name][1] for name, value in profiles]
    hit["exponents"]["profile"] = float(np.mean(inside))
    return hit


def at(law: Law, some: Refits, x: Floats) -> Floats:
    return curves(law, x, some.own, some.coefficients, some.exponents)[:, 0]


def holds(interval: Interval, value: float) -> float:
    return float(interval.low <= value <= interval.high)


def weighted(problem: Problem, weights: Floats) -> Problem:
    return Problem(
        law=problem.law,
        objective=problem.objective,
        x=problem.x,
        y=np.broadcast_to(problem.y, weights.shape),
        weights=weights,
        codes=problem.codes,
    )


def with_y(problem: Problem, y: Floats) -> Problem:
    ones = np.ones(y.shape)
    return Problem(law=problem.law, objective=problem.objective, x=problem.x, y=y, weights=ones, codes=problem.codes)


if __name__ == "__main__":
    main()
