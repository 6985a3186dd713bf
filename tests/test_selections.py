"""Choices of frames are made once, remembered, and reach the model with true times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_clips import two_shots, write_pictures
from trials import recipe

from vqlora.data.example import Clip
from vqlora.features import TowerFeatures, tower_key
from vqlora.finetune import finetune
from vqlora.models.load import load
from vqlora.recipe import Bits, Frames, Recipe, Schedule
from vqlora.video import frames as frames_module
from vqlora.video.decode import DecodeError, probe, read_frames
from vqlora.video.frames import FrameStore
from vqlora.video.killable import call
from vqlora.video.selections import Selections
from vqlora.warm import Warm


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    return Clip(path=str(write_pictures(tmp_path / "clip.mp4", two_shots(40, cut=24))))


def test_a_choice_is_made_once_and_read_back_the_same(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    frames = Frames(budget=5, sampler="entropy", size=56)
    first = FrameStore(tmp_path / "cache", frames)
    got = first.get(clip)
    seconds = first.selections.seconds()
    assert seconds > 0

    def decoding(function: Callable[..., Any], *arguments: Any) -> Any:
        assert function is read_frames, "a second pass over a file that has been looked at"
        return call(function, *arguments)

    monkeypatch.setattr(frames_module, "call", decoding)
    second = FrameStore(tmp_path / "cache", frames)
    again = second.get(clip)
    assert again.indices == got.indices and np.array_equal(again.frames, got.frames)
    assert second.selections.seconds() == seconds
    assert FrameStore(tmp_path / "cache", Frames(budget=3, sampler="motion", size=56)).get(clip).indices


def test_a_pass_over_a_file_ends_at_the_time_limit_of_a_clip(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Signals come from a decoder too, which a file may hang."""
    store = FrameStore(tmp_path / "cache", Frames(budget=5, size=56))
    store.get(clip)
    monkeypatch.setenv("VQLORA_CLIP_SECONDS", "0.0001")
    with pytest.raises(DecodeError, match=r"clip\.mp4"):
        store.scores(clip)
    monkeypatch.delenv("VQLORA_CLIP_SECONDS")
    assert len(store.scores(clip)["motion"]) == 5


def test_the_times_are_those_of_the_frames_that_were_chosen(clip: Clip, tmp_path: Path):
    got = FrameStore(tmp_path, Frames(budget=5, sampler="scene", size=56)).get(clip)
    times = probe(clip.path).times_seconds
    assert got.times_seconds == tuple(times[index] for index in got.indices)
    assert got.indices != FrameStore(tmp_path, Frames(budget=5, size=56)).get(clip).indices
    part = Clip(path=clip.path, start_seconds=2.0, end_seconds=4.0)
    inside = FrameStore(tmp_path, Frames(budget=4, sampler="motion", size=56)).get(part)
    assert all(16 <= index < 32 for index in inside.indices)
    assert inside.times_seconds == tuple(times[index] - 2.0 for index in inside.indices)


def test_each_chosen_frame_has_scores_of_its_own_stretch(clip: Clip, tmp_path: Path):
    store = FrameStore(tmp_path, Frames(budget=5, size=56))
    scores = store.scores(clip)
    assert set(scores) == {"motion", "entropy", "keyframe"}
    assert all(len(score) == 5 and score.min() >= 0 and score.max() <= 1 for score in scores.values())
    assert scores["keyframe"].argmax() == 3 and store.get(clip).indices[3] >= 24 > store.get(clip).indices[2]


def test_features_are_asked_once_and_the_base_may_go_afterwards(clip: Clip, tmp_path: Path):
    loaded = load("random:videollama3-tiny", Bits.preset("all4"), "cpu")
    frames = Frames(budget=4, sampler="quant_logdet", size=56)
    store = FrameStore(tmp_path, frames, tower_key=tower_key(loaded), tower=TowerFeatures(loaded))
    got = store.get(clip)
    assert len(got.indices) == 4 and got.indices[0] < 24 <= got.indices[-1]
    store.selections.tower = None
    assert store.get(clip).indices == got.indices
    other = FrameStore(tmp_path, frames, tower_key=tower_key(loaded))
    assert other.get(clip).indices == got.indices
    with pytest.raises(ValueError, match="vision tower"):
        FrameStore(tmp_path, Frames(budget=5, sampler="quant_logdet", size=56)).get(clip)


def test_a_tower_of_fewer_bits_is_noisier(clip: Clip, tmp_path: Path):
    pixels = FrameStore(tmp_path, Frames(budget=12, size=56)).get(clip).frames
    noise = {}
    for plan in ("all16", "all8", "all4"):
        found = TowerFeatures(load("random:videollama3-tiny", Bits.preset(plan), "cpu")).features(pixels, None)
        noise[plan] = float(((found["quantised"] - found["full"]) ** 2).sum())
    assert noise["all16"] == 0 < noise["all8"] < noise["all4"]


def test_a_question_changes_the_frames_of_the_query_sampler_and_of_no_other(clip: Clip, tmp_path: Path):
    loaded = load("random:videollama3-tiny", Bits.preset("all16"), "cpu")
    asked = ("which colour is the square", "how many stars are there", "what is behind the moon")

    def chosen(sampler: str) -> set[tuple[int, ...]]:
        frames = Frames(budget=4, sampler=sampler, size=56)
        store = FrameStore(tmp_path, frames, tower_key=tower_key(loaded), tower=TowerFeatures(loaded))
        return {store.get(clip, query).indices for query in asked}

    assert len(chosen("query")) > 1 and len(chosen("quant_logdet")) == 1
    with pytest.raises(ValueError, match="which frames fit a question"):
        recipe(frames=Frames(sampler="query"))
    flamingo = TowerFeatures(load("random:idefics-tiny", Bits.preset("all16"), "cpu"))
    with pytest.raises(ValueError, match="different"):
        flamingo.features(np.zeros((2, 112, 112, 3), np.uint8), "which colour")


def test_the_share_of_filled_frames_is_known(clip: Clip, tmp_path: Path):
    store = FrameStore(tmp_path, Frames(budget=5, sampler="vectors", size=56))
    store.get(clip)
    chosen = next(iter(store.selections.known.values()))
    assert store.selections.fallback_rate() == chosen.filled / 5
    assert Selections(tmp_path, store.frames).fallback_rate() == 0


@pytest.mark.parametrize("sampler", ["scene", "quant_logdet"])
def test_a_trial_runs_on_chosen_frames_and_accounts_for_the_choice(sampler: str):
    asked: Recipe = recipe(
        frames=Frames(budget=2, size=56, sampler=sampler), bits=Bits.preset("all4"), schedule=Schedule(steps=1)
    )
    outcome = finetune(asked, device="cpu", warm=Warm())
    assert outcome.cost.selection_seconds is not None and outcome.cost.selection_seconds > 0
    assert all(len(row["frame_indices"]) == 2 for row in outcome.examples)
    assert torch.isfinite(torch.tensor(outcome.metrics["test"]["loss"]))
