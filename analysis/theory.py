"""Before a trial runs: loss gap of a bit plan, loss against rank, memory, latency. What came true is for `agreement`.

Formulas, assumptions and bounds are derived in `THEORY.md` under the same headings. Plain arrays in, numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass
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


def output_error(error: ArrayLike, inputs: ArrayLike) -> float:
    """Mean squared error of a layer's output per token, |(W - Q(W)) x|^2.

    error: W - Q(W), [out, in]; inputs: E[x x^T], [in, in], or its diagonal, [in]. ValueError for other shapes.
    """
    lost, moments = finite(error, "error"), finite(inputs, "inputs")
    if lost.ndim != 2 or moments.shape not in ((lost.shape[1],), (lost.shape[1],) * 2):
        raise ValueError(f"error of shape {lost.shape} and inputs of {moments.shape} are not [out, in] and [in, in]")
    weighted = lost * moments if moments.ndim == 1 else lost @ moments
    return float((weighted * lost).sum())


def bit_gap(output_errors: ArrayLike, gradient_energies: ArrayLike, widths: ArrayLike, *, tokens: int) -> Gap:
    """The rise of a clip's loss L by a bit plan: tokens / 2 sum_l error_l energy_l / width_l.

    L: log loss summed over the clip's targets; divide the gap by their number for a mean. output_errors: [l] as above
    at each layer's bits; gradient_energies: E|dL/dy|^2 per token, [l]; widths: the layers' outputs, [l]; tokens: that
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


def uniform_error(bits: ArrayLike, *, block: int) -> Floats:
    """Relative squared error of normal weights rounded evenly between -absmax and absmax of each block.

    E[absmax^2] / (3 (2^bits - 2)^2), with 2^bits - 1 levels; E[absmax^2] of `block` standard normal numbers by
    integration. Bits of at least 2. NF4's code book leaves 28 % less than this at 4 bits and blocks of 64.
    """
    wide = finite(bits, "bits")
    if (wide < 2).any() or block < 2:
        raise ValueError(f"bits {wide.min():g} and block {block}: both must be at least 2")
    grid = np.linspace(0, 12, 6001)
    density = np.sqrt(2 / np.pi) * np.exp(-(grid**2) / 2)
    below = np.minimum(np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(grid))]), 1.0)
    largest = float(np.trapezoid(2 * grid * (1 - below**block), grid))
    return largest / (3 * (2.0**wide - 2) ** 2)


# ---- (ii) loss against rank --------------------------------------------------------------------------------------


def tail(singular_values: ArrayLike, ranks: ArrayLike, *, total: float | None = None) -> Floats:
    """Energy that rank r leaves out, sum_{k > r} s_k^2, at each of `ranks`; `total`: the whole energy, if known better.

    singular_values: of one layer's gradient, [k], in any order. By Eckart and Young no update of that rank keeps more.
    """
    energies = np.sort(_positive(singular_values, "singular_values") ** 2)[::-1]
    whole = float(energies.sum()) if total is None else total
    kept = np.concatenate([[0.0], np.cumsum(energies)])
    at = np.minimum(_positive(ranks, "ranks").astype(int), energies.size)
    return np.maximum(whole - kept[at], 0.0)


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


def sketch_of(first: ArrayLike, second: ArrayLike, *, inputs: int) -> Sketch:
    """From Y = G A^T, [out, q], for two A of random orthonormal rows; inputs: columns of G. Means over both orders."""
    one, two = finite(first, "first"), finite(second, "second")
    if one.shape != two.shape or one.ndim != 2:
        raise ValueError(f"sketches {one.shape} and {two.shape}: give two [out, q]")
    scale, own, seen = inputs / one.shape[1] / 2, np.zeros(min(one.shape)), np.zeros(min(one.shape))
    for mine, other in ((one, two), (two, one)):
        left, values, _ = np.linalg.svd(mine, full_matrices=False)
        own += scale * values**2
        seen += scale * ((left.T @ other) ** 2).sum(axis=1)
    return Sketch(own=own, seen=seen, energy=scale * float((one**2).sum() + (two**2).sum()))


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


def rank_gap(tails: ArrayLike, curvatures: ArrayLike) -> Floats:
    """Loss above that of full rank, sum_l tail_l(r) / (2 curvature_l). tails: [l, ranks]; curvatures: [l] or one."""
    energies, bends = _positive(tails, "tails"), _positive(curvatures, "curvatures")
    if energies.ndim != 2 or (bends <= 0).any() or bends.shape not in ((), (len(energies),)):
        raise ValueError(f"tails {energies.shape} and curvatures {bends.shape}: give [layers, ranks] and > 0 per layer")
    return (energies / (2 * np.broadcast_to(bends, len(energies))[:, None])).sum(axis=0)


# ---- (iii) memory and latency ------------------------------------------------------------------------------------


def effective_bits(bits: float, *, block: int = 64, scale_bits: float = 32, second_block: int = 0) -> float:
    """Bits per weight with one scale per block; with second_block scales of 8 bits that share one of scale_bits."""
    if not second_block:
        return bits + scale_bits / block
    return bits + 8 / block + scale_bits / (block * second_block)


def training_gib(*, base_bytes: float, trained: float, activation_bytes: float) -> float:
    """Base; fp32 master, gradient and Adam's two moments of what is trained; activations kept for backward."""
    return (base_bytes + 16 * trained + activation_bytes) / GIB


def inference_gib(*, base_bytes: float, adapter_bytes: float, cache_bytes: float) -> float:
    """Base, adapter and the cache of keys and values."""
    return (base_bytes + adapter_bytes + cache_bytes) / GIB


def cache_bytes(*, layers: int, heads: int, width: int, tokens: int, value_bytes: float = 2) -> float:
    """Keys and values of one clip: heads are those of keys, width is a head's."""
    return 2 * layers * heads * width * tokens * value_bytes


@dataclass(frozen=True, kw_only=True)
class Device:
    """flops and bytes_per_second: attainable peaks. start_seconds: of each pass, launch and Python."""

    flops: float
    bytes_per_second: float
    start_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.flops <= 0 or self.bytes_per_second <= 0 or self.start_seconds < 0:
            raise ValueError(f"device {self} needs positive peaks and no negative start")


def pass_seconds(device: Device, *, flops: float, bytes_moved: float) -> float:
    """Roofline of one pass: start + max(flops / peak, bytes / bandwidth); never less on this device."""
    return device.start_seconds + max(flops / device.flops, bytes_moved / device.bytes_per_second)


def latency_ms(
    device: Device, *, weights: float, weight_bytes: float, prompt: int, generated: int, cache_bytes_per_token: float
) -> float:
    """One clip: a pass over the prompt and one for each generated token, which reads all weights and the cache.

    weights: parameters a token passes; prompt: its tokens, frames included. The vision tower is a pass of its own.
    """
    whole = pass_seconds(device, flops=2 * weights * prompt, bytes_moved=weight_bytes)
    for past in range(prompt, prompt + max(generated - 1, 0)):
        moved = weight_bytes + cache_bytes_per_token * past
        whole += pass_seconds(device, flops=2 * weights, bytes_moved=moved)
    return 1e3 * whole


def _positive(values: ArrayLike, name: str) -> Floats:
    found = finite(values, name)
    if (found < 0).any():
        raise ValueError(f"{name} holds {found.min():g}; it cannot be negative")
    return found
