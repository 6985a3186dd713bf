"""Before a trial runs: loss gap of a bit plan, loss against rank, memory and latency. What came true: `predictions`.

Formulas, assumptions and bounds are derived in `THEORY.md` under the same headings. Plain arrays in, numpy only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from analysis.agreement import Floats, finite

GIB = 2**30


# ---- (i) the loss gap of a bit plan ------------------------------------------------------------------------------


class Gap(NamedTuple):
    """A predicted rise of the loss, and what it cannot exceed to second order."""

    expected: float
    bound: float


def bit_gap(output_errors: ArrayLike, gradient_energies: ArrayLike, widths: ArrayLike, *, tokens: int) -> Gap:
    """The rise of a clip's loss L by a bit plan: tokens / 2 sum_l error_l energy_l / width_l.

    L: log loss summed over the clip's targets; divide the gap by their number for a mean. Of each layer, [l]:
    output_errors E|(W - Q(W)) x|^2 per token, gradient_energies E|dL/dy|^2 per token, widths of outputs. tokens: that
    pass the layers for one clip. The bound takes each error to lie along its gradient.
    """
    errors, energies, outputs = (
        _positive(one, name)
        for one, name in (
            (output_errors, "output_errors"),
            (gradient_energies, "gradient_energies"),
            (widths, "widths"),
        )
    )
    if not errors.shape == energies.shape == outputs.shape or (outputs < 1).any():
        raise ValueError(f"{errors.size} errors, {energies.size} energies, {outputs.size} widths: give one per layer")
    aligned = tokens / 2 * errors * energies
    return Gap(expected=float((aligned / outputs).sum()), bound=float(aligned.sum()))


def bit_drift(products: ArrayLike) -> float:
    """The same rise to first order, -sum_l E sum_t g_t d_t; zero at a stationary point, the larger part far from one.

    products: E over clips of a layer's gradient times its output error, summed over the clip's tokens, [l].
    """
    return -float(finite(products, "products").sum())


# ---- (ii) loss against rank --------------------------------------------------------------------------------------


def tail(singular_values: ArrayLike, ranks: ArrayLike) -> Floats:
    """Energy that rank r leaves out, sum_{k > r} s_k^2, at each of `ranks`.

    singular_values: of one layer's gradient, [k], in any order. By Eckart and Young no update of that rank keeps more.
    """
    energies = np.sort(_positive(singular_values, "singular_values") ** 2)[::-1]
    kept = np.concatenate([[0.0], np.cumsum(energies)])
    at = np.minimum(_positive(ranks, "ranks").astype(int), energies.size)
    return np.maximum(kept[-1] - kept[at], 0.0)


class Tail(NamedTuple):
    """Two estimates of the tail at each rank: in expectation the true one lies between them."""

    low: Floats
    high: Floats


class Sketch(NamedTuple):
    """What two probe sketches tell of a gradient G, scaled to it: squared singular values of a sketch, [q], the energy
    of one along the other's left singular vectors, [q], and the energy of G. Of several layers: their sums."""

    own: Floats
    seen: Floats
    energy: float


def sketched_tail(sketch: Sketch, ranks: ArrayLike) -> Tail:
    """The tail of a gradient from its sketch. low: of the sketch's own values, whose head holds energy of the tail too.

    high: what the directions of one sketch miss of the other. ValueError for a rank beyond q: nothing is known of it.
    """
    wanted, own, seen = (
        _positive(one, name) for one, name in ((ranks, "ranks"), (sketch.own, "own"), (sketch.seen, "seen"))
    )
    if wanted.max() > own.size:
        raise ValueError(f"rank {wanted.max():g} is beyond the sketch's {own.size} columns; ask for a wider sketch")
    caught = np.concatenate([[0.0], np.cumsum(seen)])[wanted.astype(int)]
    return Tail(low=tail(np.sqrt(own), wanted), high=np.maximum(sketch.energy - caught, 0.0))


# ---- (iii) memory and latency, where other trials are known; where none is, `vqlora.planner` -----------------------


def other_bits_gib(peak_gib: float, *, base_bytes: float, other_base_bytes: float) -> float:
    """Peak in training at other bits: activations, gradients and Adam's moments stay, the base changes."""
    return peak_gib + (other_base_bytes - base_bytes) / GIB


def sustained_ms(flops: float, *, flops_per_second: float) -> float:
    """The roof of arithmetic: how long so many FLOPs take at a rate that the device is known to sustain."""
    if not flops_per_second > 0:
        raise ValueError(f"{flops_per_second} FLOPs a second; a rate is positive")
    return 1e3 * flops / flops_per_second


def _positive(values: ArrayLike, name: str) -> Floats:
    found = finite(values, name)
    if (found < 0).any():
        raise ValueError(f"{name} holds {found.min():g}; it cannot be negative")
    return found
