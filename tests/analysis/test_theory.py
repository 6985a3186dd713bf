import subprocess
import sys

import numpy as np
import pytest
import torch

from analysis.agreement import agreement, calibrated
from analysis.theory import Sketch, bit_drift, bit_gap, other_bits_gib, sketched_tail, sustained_ms, tail
from vqlora.probe import sketch_energies


def rng(seed=0):
    return np.random.default_rng(seed)


def rounded(weights, levels):
    """Weights [blocks, block] at the nearest of `levels` times each block's largest."""
    largest = np.abs(weights).max(axis=1, keepdims=True)
    return levels[np.abs(weights[..., None] / largest[..., None] - levels).argmin(axis=-1)] * largest


def softmax_regression(weights, inputs, labels):
    """Mean loss of a clip and its gradients at the outputs, [n, classes]."""
    scores = inputs @ weights.T
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    return -np.log(shares[np.arange(len(labels)), labels]).mean(), shares - np.eye(len(weights))[labels]


def test_the_bit_gap_of_a_model_that_fits_its_data_is_what_rounding_costs():
    draw, classes, width = rng(4), 24, 32
    weights, inputs = draw.normal(size=(classes, width)) * 0.2, draw.normal(size=(60_000, width))
    scores = inputs @ weights.T
    labels = (scores + draw.gumbel(size=scores.shape)).argmax(axis=1)  # drawn from the model itself
    base, gradients = softmax_regression(weights, inputs, labels)
    energy, moments = (gradients**2).sum(axis=1).mean(), inputs.T @ inputs / len(inputs)
    predicted, measured = [], []
    for bits in (3, 4, 5):
        lost = weights - rounded(weights, np.linspace(-1, 1, 2**bits - 1))
        gap = bit_gap([((lost @ moments) * lost).sum()], [energy], [classes], tokens=1)
        after, _ = softmax_regression(weights - lost, inputs, labels)
        predicted.append(gap.expected)
        measured.append(after - base)
        assert after - base <= gap.bound
    assert measured == pytest.approx(predicted, rel=0.25)


def test_no_update_of_a_rank_keeps_more_than_the_head():
    gradient = rng(6).normal(size=(12, 9))
    values = np.linalg.svd(gradient, compute_uv=False)
    ranks = np.arange(10)
    lost = tail(values, ranks)
    assert lost[0] == pytest.approx((gradient**2).sum()) and lost[9] == pytest.approx(0, abs=1e-9)
    for rank in range(1, 9):
        basis, _ = np.linalg.qr(rng(rank).normal(size=(12, rank)))
        assert ((gradient - basis @ basis.T @ gradient) ** 2).sum() >= lost[rank]


def test_the_tail_is_what_a_quadratic_loses_under_a_rank():
    gradient, curvature = rng(7).normal(size=(10, 8)), 3.0
    left, values, right = np.linalg.svd(gradient, full_matrices=False)

    def reached(rank):
        update = -(left[:, :rank] * values[:rank]) @ right[:rank] / curvature
        return (gradient * update).sum() + curvature / 2 * (update**2).sum()

    gap = tail(values, [1, 2, 4]) / (2 * curvature)
    assert gap == pytest.approx([reached(rank) - reached(8) for rank in (1, 2, 4)])


def sketch(first, second, inputs):
    """As a probe makes it."""
    own, seen, energy = sketch_energies(torch.tensor(first), torch.tensor(second), inputs=inputs)
    return Sketch(own=np.array(own), seen=np.array(seen), energy=energy)


def test_the_true_tail_lies_between_the_two_estimates_from_sketches():
    draw, inputs, width, ranks = rng(8), 96, 16, np.array([1, 2, 4, 8])
    gradient = draw.normal(size=(64, inputs)) * np.geomspace(1, 0.02, inputs)
    truth = tail(np.linalg.svd(gradient, compute_uv=False), ranks)
    lows, highs = [], []
    for _ in range(60):
        sketches = [gradient @ np.linalg.qr(draw.normal(size=(inputs, width)))[0] for _ in range(2)]
        found = sketched_tail(sketch(*sketches, inputs), ranks)
        lows.append(found.low)
        highs.append(found.high)
    assert (np.mean(lows, axis=0) < truth).all() and (truth < np.mean(highs, axis=0)).all()


def test_at_other_bits_a_peak_changes_by_what_the_base_does():
    assert other_bits_gib(3.0, base_bytes=2**31, other_base_bytes=2**29) == 1.5
    assert sustained_ms(2e9, flops_per_second=1e12) == 2.0


def test_agreement_finds_order_and_scale_and_counts_what_noise_cannot_explain():
    truth = np.linspace(0, 1, 30)
    measured = 2 * truth + 1 + rng(9).normal(0, 0.05, 30)
    found = agreement(truth, measured, seed_sd=0.05, rng=rng())
    assert found.low <= found.spearman <= found.high and found.spearman > 0.95
    assert found.slope_low <= 2 <= found.slope_high
    assert found.concordant is not None and found.concordant > 0.99 and 0 < found.beyond_noise < 30 * 29 / 2


def test_where_all_differences_are_noise_no_order_is_claimed():
    draw = rng(10)
    found = agreement(draw.normal(size=20), draw.normal(0, 0.01, 20), seed_sd=0.05, rng=rng())
    assert found.beyond_noise == 0 and found.concordant is None


def test_inputs_are_not_touched():
    errors, values = np.array([2.0, 1.0]), np.array([1.0, 3.0, 2.0])
    kept = errors.copy(), values.copy()
    bit_gap(errors, errors, errors, tokens=3)
    tail(values, [1, 2])
    assert (errors == kept[0]).all() and (values == kept[1]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bit_gap([1, 2], [1], [1], tokens=1), "one per layer"),
        (lambda: tail([1, np.nan], [1]), "NaN"),
        (lambda: tail([1, -1], [1]), "negative"),
        (lambda: sketched_tail(sketch(np.ones((4, 2)), np.ones((4, 2)), 8), [3]), "wider sketch"),
        (lambda: sustained_ms(1.0, flops_per_second=0), "positive"),
        (lambda: agreement([1, 2, 3], [1, 2, 3], seed_sd=0.1, rng=rng()), "at least 5"),
        (lambda: agreement([1] * 6, range(6), seed_sd=0.1, rng=rng()), "equal"),
    ],
)
def test_what_cannot_be_predicted_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_it_needs_numpy_only():
    code = "import sys, analysis.theory; sys.exit('scipy' in sys.modules or 'vqlora' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_calibration_on_the_others_finds_a_scale_and_never_sees_its_own_point():
    x = np.array([1.0, 2, 3, 4, 5, 6])
    assert calibrated(x, 3 * x + 2) == pytest.approx(3 * x + 2)
    odd = np.where(np.arange(6) == 2, 100.0, 3 * x + 2)
    assert calibrated(x, odd)[2] == pytest.approx(11)


def test_the_drift_is_the_first_order_rise_of_a_quadratic():
    draw = rng(11)
    weights, target, inputs = draw.normal(size=(5, 4)), draw.normal(size=(40, 5)), draw.normal(size=(40, 4))
    lost = 1e-4 * draw.normal(size=weights.shape)

    def loss(matrix):
        return 0.5 * ((inputs @ matrix.T - target) ** 2).sum() / 40

    gradient = inputs @ weights.T - target
    products = (gradient * (inputs @ lost.T)).sum(axis=1)
    assert bit_drift([products.mean()]) == pytest.approx(loss(weights - lost) - loss(weights), rel=1e-2)
