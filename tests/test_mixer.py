"""The mixer over time and the memory: nothing leaks between clips, and controls differ in time alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_temporal import PLAIN, asked, attached, loss_of
from trials import BASES, WARM

from vqlora.adapters.mixer import TemporalMixer, neighbours
from vqlora.recipe import Frames, TemporalLora


def test_one_clips_frames_do_not_change_anothers() -> None:
    mixer = TemporalMixer(16, 8, "time", torch.device("cpu"))
    torch.nn.init.constant_(mixer.gate, 1.0)
    x = torch.randn(7, 3, 16)
    other = x.clone()
    other[4:] = torch.randn(3, 3, 16)
    with torch.no_grad():
        first, second = mixer(x, (4, 3)), mixer(other, (4, 3))
        assert torch.allclose(first[:4], second[:4], atol=1e-6) and not torch.allclose(first[4:], second[4:])
        assert torch.allclose(mixer(x[:4], (4,)), first[:4], atol=1e-6)
        assert torch.equal(mixer(x[:1], (1,)), x[:1])
        assert not torch.allclose(mixer(x.flip(0), (7,)).flip(0), mixer(x, (7,)), atol=1e-4)


@pytest.mark.parametrize("kind", ["time", "frame", "shuffled"])
def test_a_mixer_starts_as_nothing_and_its_controls_have_as_many_parameters(kind: str) -> None:
    mixer = TemporalMixer(16, 8, kind, torch.device("cpu"))
    x = torch.randn(5, 3, 16)
    assert torch.equal(mixer(x, (5,)), x)
    assert sum(p.numel() for p in mixer.parameters()) == 2 * 16 + 2 * 8 * 16 + 8 * 4 + 4 * 8 * 8 + 4 * 8 + 1
    torch.nn.init.constant_(mixer.gate, 1.0)
    moved = x.clone()
    moved[4] += 1
    with torch.no_grad():
        change = (mixer(moved, (5,)) - mixer(x, (5,))).abs().sum((1, 2))
    assert (change[:4] == 0).all() == (kind == "frame")


def test_a_memory_merges_the_neighbours_that_are_most_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    rooms = torch.randn(3, 4, 8, generator=generator)
    states = torch.stack([rooms[room] for room in (0, 0, 0, 1, 2, 2)]) + 0.01 * torch.randn(
        6, 4, 8, generator=generator
    )
    assert neighbours(states, 3) == [range(0, 3), range(3, 4), range(4, 6)]
    assert neighbours(states, 9) == [range(place, place + 1) for place in range(6)]


@pytest.mark.parametrize("base", BASES)
def test_a_memory_shows_merged_frames_with_their_own_times(base: str) -> None:
    given = asked(base, replace(PLAIN, memory=2), frames=Frames(budget=6, size=56 if "llama" in base else 112))
    adapted, inputs = attached(given)
    examples = WARM.data(given).splits["train"][:2]
    tokens, states = inputs.tokens(examples, [0, 0]), inputs.states(examples)
    assert [len(state) for state in states] == [2, 2] and tokens["frame_of_token"].max() == 2
    assert adapted.watch.counts == (2, 2)
    all_times = inputs.frames(examples[0]).times_seconds
    times = inputs.times(examples[0])
    assert len(times) == 2 and all_times[0] <= times[0] < times[1] <= all_times[-1]
    assert np.isfinite(loss_of(inputs, given).item())
    with pytest.raises(ValueError, match="frozen tower"):
        TemporalLora(rank={"vision": 2}, memory=2)


def test_a_mixer_leaves_padding_and_order_alone_in_clips_of_unequal_length() -> None:
    """Each clip is mixed as if it were alone, whatever stands beside it."""
    for kind in ("time", "frame", "shuffled"):
        mixer = TemporalMixer(8, 8, kind, torch.device("cpu"))
        with torch.no_grad():
            mixer.gate.fill_(1.0)
        frames = torch.randn(9, 3, 8)
        together = mixer(frames, (3, 1, 5))
        alone = torch.cat([mixer(part, (len(part),)) for part in frames.split((3, 1, 5))])
        assert torch.allclose(together, alone, atol=1e-6)
        assert torch.equal(together[3], frames[3])  # a clip of one frame
