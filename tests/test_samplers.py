"""Which frames are taken: sorted, different, as many as asked for, and those that tell most."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from drawn_clips import still, two_shots, write_pictures

from vqlora import recipe
from vqlora.recipe import TOWER_SAMPLERS, Frames
from vqlora.video import logdet
from vqlora.video.decode import VideoInfo, probe
from vqlora.video.passes import packets, thumbnails, vector_lengths
from vqlora.video.samplers import SAMPLERS, quota, select, spread, uniform
from vqlora.video.sight import Made, Sight
from vqlora.video.signals import Signals, signals_of

OF_FILE = [name for name in SAMPLERS if name not in TOWER_SAMPLERS]
LOGDETS = [name for name in SAMPLERS if name.endswith("logdet")]


class Imagined(Sight):
    """A clip of which only signals and packets exist: motion in bursts, two scenes, features that drift."""

    def __init__(self, count: int, *, constant: bool = False) -> None:
        info = VideoInfo(
            frames=count, times_seconds=tuple(index / 8 for index in range(count)), fps=8.0, width=112, height=112,
            codec="h264", container="mp4", decord_refusal=None,
        )  # fmt: skip
        super().__init__(path="imagined", file=info, info=info, inside=range(count), seed=3)
        rng = np.random.default_rng(count)
        moving = np.zeros(count) if constant else rng.random(count) ** 4
        cuts = np.zeros(count, bool)
        if not constant and count > 4:
            cuts[count // 3] = True
        keys = np.arange(count) % 1000 == 0 if constant else np.arange(count) % 12 == 0
        self.arrays = {
            "signals": {"difference": moving, "entropy": np.full(count, 0.5), "cuts": cuts},
            "packets": {"sizes": (1000 * moving).astype(np.int64) + 100, "keys": keys},
            "vectors": {"lengths": np.where(np.arange(count) % 7 == 0, np.nan, moving)},
        }
        self.keep = lambda name, make: Made(arrays=self.arrays[name], seconds=0.0)
        full = np.zeros((count, 5)) + 1 if constant else rng.normal(size=(count, 5)).cumsum(0)
        self.drift = (full + 0 if constant else full + 0.1 * rng.normal(size=full.shape), full)
        self.tower = self.look

    def look(self, indices: list[int]) -> Made:  # type: ignore[override]
        quantised, full = (part[list(indices)] for part in self.drift)
        relevance = full[:, 0]
        return Made(arrays={"quantised": quantised, "full": full, "relevance": relevance}, seconds=0.0)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_returns_sorted_different_frames_that_exist_as_many_as_asked_for(sampler: str):
    for count in (1, 2, 3, 7, 16, 40, 69, 301):
        for budget in (1, 2, 5, 8, 33, 64):
            chosen = select(Frames(budget=budget, sampler=sampler), Imagined(count))
            indices = chosen.indices
            assert list(indices) == sorted(set(indices))
            assert 0 <= indices[0] and indices[-1] < count
            assert len(indices) == min(budget, count) or (sampler == "fps" and len(indices) < budget)
            assert chosen == select(Frames(budget=budget, sampler=sampler), Imagined(count))


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name not in ("fps", "random")])
def test_on_a_clip_in_which_nothing_changes_every_sampler_is_uniform(sampler: str):
    for count, budget in ((40, 4), (41, 8), (301, 16), (97, 13)):
        found = select(Frames(budget=budget, sampler=sampler), Imagined(count, constant=True))
        assert found.indices == uniform(budget, count)


@pytest.mark.parametrize("sampler", OF_FILE)
def test_on_a_real_still_clip_every_sampler_of_the_file_is_uniform(sampler: str, tmp_path: Path):
    path = write_pictures(tmp_path / "still.mp4", still(40))
    sight = Sight.of_file(path, probe(path))
    found = select(Frames(budget=6, sampler=sampler, fps=1.0 if sampler == "fps" else None), sight).indices
    if sampler == "fps":
        assert found == (0, 8, 16, 24, 32)
    elif sampler not in ("random", "codec"):  # an encoder spends a few bytes here and there on a still picture too
        assert found == uniform(6, 40)


@pytest.mark.parametrize("sampler", [*(name for name in OF_FILE if name != "random"), *LOGDETS, "fidelity"])
def test_both_sides_of_a_cut_are_seen(sampler: str, tmp_path: Path):
    path = write_pictures(tmp_path / "cut.mp4", two_shots(40, cut=24, moving=False))
    info = probe(path)
    sight = Sight.of_file(path, info)
    found = signals_of(thumbnails(path, info), info.frames, packets(path, info).sizes)
    assert np.flatnonzero(found.cuts).tolist() == [24]

    def look(indices: list[int]) -> Made:
        pooled = thumbnails(path, info).luma[list(indices)].reshape(len(indices), -1)[:, ::64].astype(float)
        noisy = pooled + np.random.default_rng(0).normal(size=pooled.shape)
        return Made(arrays={"quantised": noisy, "full": pooled}, seconds=0.0)

    sight.tower = look  # type: ignore[assignment]
    for budget in (2, 4, 8):
        indices = select(Frames(budget=budget, sampler=sampler), sight).indices
        assert indices[0] < 24 <= indices[-1], (budget, indices)


def test_uniform_takes_the_centres_of_equal_bins():
    assert uniform(4, 40) == (5, 15, 25, 35)
    assert uniform(1, 41) == (20,)
    assert [b - a for a, b in pairwise(uniform(8, 400))] == [50] * 7


def test_the_inverse_transform_takes_frames_where_the_density_is_and_reports_what_it_could_not():
    density = np.r_[np.full(20, 0.1), np.full(20, 1.0)]
    taken = spread(density, 11)
    assert sum(place >= 20 for place in taken) == 10
    assert spread(np.r_[np.full(10, 1e-6), 1.0], 4) == [10]
    peak = Imagined(40)
    peak.arrays["vectors"] = {"lengths": np.r_[np.zeros(39), 1.0]}
    found = select(Frames(budget=16, sampler="vectors"), peak)
    assert len(found.indices) == 16 and 39 in found.indices and found.filled >= 2


def test_fps_takes_frames_by_their_times_even_where_the_rate_varies():
    info = VideoInfo(
        frames=5, times_seconds=(0.0, 0.9, 1.1, 3.0, 4.05), fps=1.2, width=9, height=9, codec="h264", container="mp4",
        decord_refusal=None,
    )  # fmt: skip
    sight = Sight.of_file("none", info)
    assert select(Frames(budget=9, sampler="fps", fps=1.0), sight).indices == (0, 1, 2, 3)
    assert select(Frames(budget=2, sampler="fps", fps=1.0), sight).indices == (1, 3)
    with pytest.raises(ValueError, match="has no fps"):
        Frames(sampler="uniform", fps=1.0)


def test_scenes_get_their_share_and_each_gets_one_while_the_budget_lasts():
    assert quota(np.array([8.0, 1.0, 1.0]), [80, 10, 10], 10) == [8, 1, 1]
    assert quota(np.array([1.0, 5.0, 3.0]), [9, 9, 9], 2) == [0, 1, 1]
    assert quota(np.array([9.0, 1.0]), [3, 30], 8) == [3, 5]
    assert sum(quota(np.array([1.0, 2.0]), [2, 2], 8)) == 4


def test_greedy_log_det_finds_the_best_set_of_small_ones_or_nearly():
    rng = np.random.default_rng(5)
    for trial in range(20):
        x = rng.normal(size=(int(rng.integers(6, 13)), 3))
        kernel = np.eye(len(x)) + x @ x.T
        for budget in (1, 2, 4):
            value = {s: np.linalg.slogdet(kernel[np.ix_(s, s)])[1] for s in combinations(range(len(x)), budget)}
            taken = tuple(sorted(logdet.greedy(kernel, budget)))
            assert value[taken] >= (1 - 1 / np.e) * max(value.values()) - 1e-9, trial
            assert budget > 1 or value[taken] == pytest.approx(max(value.values()))


def test_noise_rises_as_bits_fall_and_noisy_frames_are_avoided():
    rng = np.random.default_rng(0)
    full = rng.normal(size=(12, 16))

    def rounded(step: float) -> logdet.Features:
        return logdet.Features(indices=np.arange(12), quantised=np.round(full / step) * step, full=full)

    noises = [rounded(step).noise.mean() for step in (0.05, 0.4, 1.5)]
    assert noises[0] < noises[1] < noises[2]
    spoilt = full.copy()
    spoilt[4] += 3 * rng.normal(size=16)
    features = logdet.Features(indices=np.arange(12), quantised=spoilt, full=full)
    assert 4 not in logdet.most_information(features, 4, "quantised")
    assert len(logdet.most_information(features, 4, "flat")) == 4
    same = logdet.Features(indices=np.arange(12), quantised=full, full=full)
    assert logdet.most_information(same, 5, "quantised") == logdet.most_information(same, 5, "full")


def test_the_fidelity_filter_drops_the_noisiest_frame_unless_its_scene_has_no_other():
    noise = np.r_[np.full(19, 0.1), 9.0]
    base = np.linspace(0, 1, 20)
    assert logdet.faithful(base, noise, np.zeros(20, int))[19] == 0
    alone = logdet.faithful(base + 9 * (np.arange(20) == 19), noise, np.r_[np.zeros(19, int), 1])
    assert alone[19] > 0


def test_motion_rises_where_things_move_and_grain_alone_does_not_move(tmp_path: Path):
    rng = np.random.default_rng(0)
    grain = rng.normal(0, 12, (40, 112, 112, 1))
    base = np.full((40, 112, 112, 3), 120.0)
    for index in range(20, 40):
        base[index, 40:64, 3 * (index - 20) : 3 * (index - 20) + 24] = 220
    path = write_pictures(tmp_path / "grain.mp4", (base + grain).clip(0, 255).astype(np.uint8))
    info = probe(path)
    motion = signals_of(thumbnails(path, info), 40).motion
    assert motion[22:].min() > 0.4 > 0.3 > motion[:19].max()
    taken = select(Frames(budget=8, sampler="motion"), Sight.of_file(path, info)).indices
    assert sum(index >= 20 for index in taken) >= 6


def test_frames_that_nothing_refers_to_may_be_skipped_without_losing_a_cut(tmp_path: Path):
    path = write_pictures(tmp_path / "fast.mp4", two_shots(60, cut=31), rate=25)
    info = probe(path)
    small = thumbnails(path, info)
    assert len(small.indices) < 60 and small.indices.tolist() == sorted(set(small.indices.tolist()))
    signals = signals_of(small, 60, packets(path, info).sizes)
    assert len(signals.difference) == len(signals.entropy) == 60
    (cut,) = np.flatnonzero(signals.cuts)
    assert abs(cut - 31) <= 2  # between two frames that were decoded; where, the packets' sizes say


def test_packets_and_vectors_have_a_row_for_each_frame(tmp_path: Path):
    path = write_pictures(tmp_path / "clip.mp4", two_shots(40, cut=24))
    info = probe(path)
    found = packets(path, info)
    assert len(found.sizes) == 40 and found.keys[0] and found.sizes.argmax() in (0, 24)
    lengths = vector_lengths(path, info)
    assert len(lengths) == 40 and np.isnan(lengths[0]) and np.nanmax(lengths) > 0


def test_a_stretch_of_a_file_has_its_own_signals():
    signals = Signals(difference=np.arange(10.0), entropy=np.ones(10), cuts=np.arange(10) % 5 == 0)
    part = signals.inside(range(5, 10))
    assert part.difference.tolist() == [6, 6, 7, 8, 9] and not part.cuts.any()
    assert signals.scenes == [range(0, 5), range(5, 10)]


def test_every_sampler_a_recipe_may_name_is_in_the_table():
    assert set(SAMPLERS) == set(recipe.SAMPLERS)


def test_a_sampler_of_features_says_that_it_needs_a_base():
    sight = Imagined(40)
    sight.tower = None
    with pytest.raises(ValueError, match="vision tower"):
        select(Frames(budget=4, sampler="quant_logdet"), sight)
