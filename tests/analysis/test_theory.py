import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from analysis import table
from analysis.agreement import agreement, calibrated
from analysis.configs import finished
from analysis.theory import (
    GIB,
    Device,
    bit_drift,
    bit_gap,
    effective_bits,
    inference_gib,
    latency_ms,
    output_error,
    pass_seconds,
    rank_gap,
    sketch_of,
    sketched_tail,
    tail,
    training_gib,
    uniform_error,
)

RECORDS = Path(__file__).parents[2] / "analysis" / "records" / "rank_bits.jsonl"


def rng(seed=0):
    return np.random.default_rng(seed)


def rounded(weights, levels):
    """Weights [blocks, block] at the nearest of `levels` times each block's largest."""
    largest = np.abs(weights).max(axis=1, keepdims=True)
    return levels[np.abs(weights[..., None] / largest[..., None] - levels).argmin(axis=-1)] * largest


def test_the_output_error_is_the_mean_over_inputs():
    error, inputs = rng(1).normal(size=(5, 8)), rng(2).normal(size=(400, 8)) @ rng(3).normal(size=(8, 8))
    measured = ((inputs @ error.T) ** 2).sum(axis=1).mean()
    assert output_error(error, inputs.T @ inputs / 400) == pytest.approx(measured)
    assert output_error(error, np.ones(8)) == pytest.approx((error**2).sum())


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
        gap = bit_gap([output_error(lost, moments)], [energy], [classes], tokens=1)
        after, _ = softmax_regression(weights - lost, inputs, labels)
        predicted.append(gap.expected)
        measured.append(after - base)
        assert after - base <= gap.bound
    assert measured == pytest.approx(predicted, rel=0.25)


@pytest.mark.parametrize(("bits", "tolerance"), [(3, 0.04), (4, 0.04), (6, 0.04)])
def test_the_error_of_even_levels_is_that_of_rounding(bits, tolerance):
    weights = rng(5).normal(size=(4000, 64))
    measured = ((weights - rounded(weights, np.linspace(-1, 1, 2**bits - 1))) ** 2).mean()
    assert uniform_error(bits, block=64) == pytest.approx(measured, rel=tolerance)


def test_no_update_of_a_rank_keeps_more_than_the_head():
    gradient = rng(6).normal(size=(12, 9))
    values = np.linalg.svd(gradient, compute_uv=False)
    ranks = np.arange(10)
    lost = tail(values, ranks)
    assert lost[0] == pytest.approx((gradient**2).sum()) and lost[9] == pytest.approx(0, abs=1e-9)
    for rank in range(1, 9):
        basis, _ = np.linalg.qr(rng(rank).normal(size=(12, rank)))
        assert ((gradient - basis @ basis.T @ gradient) ** 2).sum() >= lost[rank]


def test_the_rank_gap_is_what_a_quadratic_loses_under_a_rank():
    gradient, curvature = rng(7).normal(size=(10, 8)), 3.0
    left, values, right = np.linalg.svd(gradient, full_matrices=False)

    def reached(rank):
        update = -(left[:, :rank] * values[:rank]) @ right[:rank] / curvature
        return (gradient * update).sum() + curvature / 2 * (update**2).sum()

    gap = rank_gap([tail(values, [1, 2, 4])], [curvature])
    assert gap == pytest.approx([reached(rank) - reached(8) for rank in (1, 2, 4)])


def test_the_true_tail_lies_between_the_two_estimates_from_sketches():
    draw, inputs, width, ranks = rng(8), 96, 16, np.array([1, 2, 4, 8])
    gradient = draw.normal(size=(64, inputs)) * np.geomspace(1, 0.02, inputs)
    truth = tail(np.linalg.svd(gradient, compute_uv=False), ranks)
    lows, highs = [], []
    for _ in range(60):
        sketches = [gradient @ np.linalg.qr(draw.normal(size=(inputs, width)))[0] for _ in range(2)]
        found = sketched_tail(sketch_of(*sketches, inputs=inputs), ranks)
        lows.append(found.low)
        highs.append(found.high)
    assert (np.mean(lows, axis=0) < truth).all() and (truth < np.mean(highs, axis=0)).all()


def test_bits_with_their_scales_are_those_of_qlora():
    assert effective_bits(4) == 4.5
    assert effective_bits(4, second_block=256) == pytest.approx(4.127, abs=1e-3)


def test_memory_is_the_sum_of_its_parts():
    assert training_gib(base_bytes=2**30, trained=2**26, activation_bytes=2**30) == 3.0
    assert inference_gib(base_bytes=2**30, adapter_bytes=2**29, cache_bytes=2**29) == 2.0


def test_generating_is_bound_by_bytes_and_the_prompt_by_flops():
    device = Device(flops=1e15, bytes_per_second=1e12)
    assert pass_seconds(device, flops=1e15, bytes_moved=1e6) == 1.0
    settings = {"weights": 7e9, "prompt": 2000, "cache_bytes_per_token": 1e5}
    wide, narrow = (
        latency_ms(device, weight_bytes=size, generated=64, **settings)
        - latency_ms(device, weight_bytes=size, generated=1, **settings)
        for size in (14e9, 4e9)
    )
    assert wide / narrow == pytest.approx(3.5, rel=0.05)


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
    error, inputs, values = rng(1).normal(size=(3, 4)), np.ones(4), np.array([1.0, 3.0, 2.0])
    kept = [one.copy() for one in (error, inputs, values)]
    output_error(error, inputs)
    tail(values, [1, 2])
    assert all((one == before).all() for one, before in zip((error, inputs, values), kept, strict=True))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: output_error(np.ones((2, 3)), np.ones(2)), "are not"),
        (lambda: bit_gap([1, 2], [1], [1], tokens=1), "one per layer"),
        (lambda: tail([1, np.nan], [1]), "NaN"),
        (lambda: tail([1, -1], [1]), "negative"),
        (lambda: sketched_tail(sketch_of(np.ones((4, 2)), np.ones((4, 2)), inputs=8), [3]), "wider sketch"),
        (lambda: rank_gap([[1, 2]], [0.0]), "> 0 per layer"),
        (lambda: uniform_error(1, block=64), "at least 2"),
        (lambda: Device(flops=0, bytes_per_second=1), "positive peaks"),
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


def test_peaks_of_other_bits_follow_from_the_activations_at_one():
    """Held out: the committed study's peaks at 4 and 8 bits, from activations measured at 16."""
    found = table.read(str(RECORDS))
    trained = [record for record in finished(found) if record.point["rank"]]
    known = [record for record in trained if record.point["bits"] == 16]
    weights = [training_gib(**_parts(record), activation_bytes=0) for record in known]
    kept = {
        (record.point["rank"], record.seed): (record.cost.train_peak_gib - gib) * GIB
        for record, gib in zip(known, weights, strict=True)
    }
    held_out = [record for record in trained if record.point["bits"] != 16]
    predicted = [training_gib(**_parts(one), activation_bytes=kept[one.point["rank"], one.seed]) for one in held_out]
    assert held_out and predicted == pytest.approx([one.cost.train_peak_gib for one in held_out], rel=1e-3)


def _parts(record):
    return {"base_bytes": record.cost.base_bytes, "trained": record.cost.trainable_params}


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
