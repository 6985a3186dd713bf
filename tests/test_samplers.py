"""Which frames are taken: sorted, different, never more than there are."""

from __future__ import annotations

from itertools import pairwise

import pytest

from vqlora import recipe
from vqlora.recipe import Frames
from vqlora.video.decode import VideoInfo
from vqlora.video.samplers import SAMPLERS, select


def info_of(count: int) -> VideoInfo:
    return VideoInfo(
        frames=count,
        times_seconds=tuple(index / 8 for index in range(count)),
        fps=8.0,
        width=112,
        height=112,
        codec="h264",
        container="mp4",
        decord_refusal=None,
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_returns_the_budget_of_sorted_different_frames_that_exist(sampler: str):
    for count in range(1, 70):
        for budget in range(1, 70):
            indices = select(Frames(budget=budget, sampler=sampler), info_of(count))
            assert len(indices) == min(budget, count)
            assert list(indices) == sorted(set(indices))
            assert 0 <= indices[0] and indices[-1] < count


def test_uniform_takes_the_centres_of_equal_bins():
    assert select(Frames(budget=4), info_of(40)) == (5, 15, 25, 35)
    assert select(Frames(budget=1), info_of(41)) == (20,)
    indices = select(Frames(budget=8), info_of(400))
    assert [b - a for a, b in pairwise(indices)] == [50] * 7


def test_every_sampler_a_recipe_may_name_is_in_the_table():
    assert set(SAMPLERS) == set(recipe.SAMPLERS)
