"""The embedded world: scenes, their drawing, their words, their files."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from vqlora.data.shapes import FPS, MOTIONS, PRESETS, SIDE, SPLITS, draw_scene, reserved, states
from vqlora.data.shapes_render import draw, reel, subsample_chroma
from vqlora.data.shapes_text import (
    DOMAIN,
    PLAIN,
    content_scores,
    domain_references,
    order_dependent,
    plain_caption,
    truth,
)
from vqlora.data.shapes_write import encode, frames_of, write_shapes

SCENES = [draw_scene("train", index) for index in range(300)]


def test_a_scene_is_the_same_whenever_it_is_drawn_and_differs_between_splits() -> None:
    assert draw_scene("test", 5) == draw_scene("test", 5)
    drawn = {
        json.dumps(draw_scene(split, 5).to_json()["things"]) + str(draw_scene(split, 5).seconds) for split in SPLITS
    }
    assert len(drawn) == len(SPLITS)


def test_scenes_cover_every_motion_and_keep_their_rules() -> None:
    assert {phase.motion for scene in SCENES for phase in scene.phases} == set(MOTIONS)
    for scene in SCENES:
        assert 1 <= len(scene.things) <= 3
        assert 2 <= len(scene.phases) <= 4
        assert len({thing.colour for thing in scene.things}) == len(scene.things)
        assert scene.phases[0].start == 0 and scene.phases[-1].end == scene.seconds
        assert all(a.end == b.start for a, b in zip(scene.phases, scene.phases[1:], strict=False))
        assert all(phase.end - phase.start >= 0.5 - 1 / FPS for phase in scene.phases)
        assert any(reserved(thing.shape, thing.colour) for thing in scene.things)


def test_reserved_combinations_are_rare_in_pretraining() -> None:
    things = [thing for index in range(1500) for thing in draw_scene("pretrain", index).things]
    share = sum(reserved(thing.shape, thing.colour) for thing in things) / len(things)
    assert 0.01 < share < 0.06


def test_things_stay_in_sight_and_a_vanished_one_is_gone() -> None:
    for scene in SCENES:
        now = states(scene)
        assert now.shape == (scene.num_frames, len(scene.things), 5)
        assert np.isfinite(now).all()
        assert (now[..., :2] > 0).all() and (now[..., :2] < SIDE).all()
        for phase in scene.phases:
            if phase.motion == "vanish":
                assert now[-1, phase.actor, 4] == 0


def test_a_motion_shows_between_the_first_and_last_frame_of_its_phase() -> None:
    axes = {"left": (0, -1), "right": (0, 1), "up": (1, -1), "down": (1, 1)}
    for scene in SCENES:
        now = states(scene)
        for phase in scene.phases:
            if phase.motion in axes:
                axis, sign = axes[phase.motion]
                first, last = round(phase.start * FPS), round(phase.end * FPS) - 1
                assert sign * (now[last, phase.actor, axis] - now[first, phase.actor, axis]) > 2


def test_captions_carry_the_whole_content_in_both_vocabularies() -> None:
    for scene in SCENES:
        assert content_scores(plain_caption(scene), truth(scene), PLAIN)["exact"] == 1
        for reference in domain_references(scene):
            assert content_scores(reference, truth(scene))["exact"] == 1


def test_a_wrong_word_costs_exactly_its_content() -> None:
    scene = next(scene for scene in SCENES if len(scene.things) == 2 and scene.cut is None)
    caption = domain_references(scene)[0]
    one = DOMAIN.motions[scene.phases[0].motion]
    other = next(word for word in DOMAIN.motions.values() if word not in caption)
    scores = content_scores(caption.replace(one, other), truth(scene))
    assert scores["order"] == 0 and scores["exact"] == 0
    assert scores["shape"] == scores["colour"] == scores["count"] == 1
    assert content_scores("", truth(scene)) == dict.fromkeys(scores, 0.0)


def test_most_clips_depend_on_order_and_a_single_event_does_not() -> None:
    shares = [order_dependent(truth(scene)) for scene in SCENES]
    assert 0.7 < np.mean(shares) < 0.95
    assert not order_dependent({"events": [[None, "stay"], ["red", "left"]]})


def test_words_have_one_meaning_within_a_vocabulary() -> None:
    for lexicon in (PLAIN, DOMAIN):
        words = [*lexicon.shapes.values(), *lexicon.colours.values(), *lexicon.motions.values()]
        assert len(set(words)) == len(words)


def test_drawing_alone_and_in_a_batch_gives_the_same_pixels() -> None:
    some = SCENES[:4]
    indices = torch.tensor([[0, 9, 20, 31]] * 4)
    together = draw(reel(some), torch.arange(4), indices)
    for place, scene in enumerate(some):
        assert torch.equal(together[place], frames_of(scene)[indices[place]])


def test_pretraining_frames_look_like_decoded_ones(tmp_path: Path) -> None:
    """Chroma subsampling explains most of what a file changes; the codec's own loss is a few levels."""
    for scene in SCENES[:3]:
        frames = frames_of(scene)
        encode(frames, str(tmp_path / "clip.mp4"))
        with av.open(str(tmp_path / "clip.mp4")) as container:
            decoded = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        pretraining = subsample_chroma(frames).permute(0, 2, 3, 1).numpy().astype(int)
        assert decoded.shape == pretraining.shape
        assert np.abs(decoded - pretraining).mean() < 3.0
        assert np.abs(decoded - pretraining).mean() < np.abs(decoded - frames.permute(0, 2, 3, 1).numpy()).mean() + 0.2


def test_a_clip_is_the_same_file_to_the_byte_whenever_it_is_written(tmp_path: Path) -> None:
    for index in (0, 2, 7, 22):
        frames, files = frames_of(draw_scene("train", index)), [tmp_path / f"{index}-{turn}.mp4" for turn in range(4)]
        for file in files:
            encode(frames, str(file))
        assert len({file.read_bytes() for file in files}) == 1


def test_the_written_set_has_msrvtt_s_layout_and_sizes(tmp_path: Path) -> None:
    write_shapes("tiny", tmp_path)
    both = json.loads((tmp_path / "train_val_videodatainfo.json").read_text())
    test = json.loads((tmp_path / "test_videodatainfo.json").read_text())
    assert [video["split"] for video in both["videos"]].count("validate") == PRESETS["tiny"]["val"]
    assert len(test["videos"]) == PRESETS["tiny"]["test"]
    assert {"id", "video_id", "category", "url", "start time", "end time", "split"} == set(both["videos"][0])
    assert len(list((tmp_path / "videos" / "all").glob("*.mp4"))) == sum(PRESETS["tiny"].values())
    with pytest.raises(ValueError, match="unknown; use one of"):
        write_shapes("huge", tmp_path)
