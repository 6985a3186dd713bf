"""The embedded world: scenes, their drawing, their words, their files."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from vqlora.data.shapes import (
    ENTROPIES,
    FIRST_TEST,
    FPS,
    MOTIONS,
    PRESETS,
    SIDE,
    SPLITS,
    draw_scene,
    draw_scenes,
    reserved,
)  # fmt: skip
from vqlora.data.shapes_motion import states
from vqlora.data.shapes_render import draw, reel, subsample_chroma
from vqlora.data.shapes_sound import RATE_HZ, pitch_hz, waveform
from vqlora.data.shapes_text import content_scores, domain_references, motion_dependent, order_dependent, truth
from vqlora.data.shapes_words import DOMAIN
from vqlora.data.shapes_write import encode, frames_of, write_shapes

SCENES = [draw_scene("train", index) for index in range(300)]
LONG = [draw_scene("train", index, long=True) for index in range(100)]


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
    assert motion_dependent({"events": [["red", "blink"]]}) and not motion_dependent({"events": [["red", "grow"]]})


def test_every_stratum_has_a_fair_part_of_the_clips() -> None:
    strata = [truth(scene)["strata"] for scene in SCENES]
    for level in ENTROPIES:
        assert np.mean([each["entropy"] == level for each in strata]) > 0.2
    for name in ("cut", "brief", "order", "motion", "noise"):
        assert 0.05 < np.mean([each[name] for each in strata]) < 0.95
    assert any(each["entropy"] == "mixed" for each in strata)


def test_higher_entropy_shows_in_the_frames_and_only_flickering_grain_moves() -> None:
    def spread(scene) -> float:  # of the backdrop, in a corner where nothing moves, the picture less its neighbours
        corner = frames_of(scene)[0, :, :8, :8].float()
        return (corner - corner.mean((1, 2), keepdim=True)).std().item()

    means = [np.mean([spread(s) for s in SCENES[:90] if truth(s)["strata"]["entropy"] == level]) for level in ENTROPIES]
    assert means[0] < means[1] < means[2]
    for scene in SCENES[:60]:
        if scene.cut is None:
            still = torch.equal(*frames_of(scene)[:2, :, :4, :4])
            assert still != scene.backdrops[0].flickers


def test_long_clips_have_brief_events_between_long_still_stretches() -> None:
    for scene in LONG:
        assert 30 <= scene.seconds <= 60 and 3 <= len(scene.phases) <= 6
        assert all(a.end <= b.start for a, b in zip(scene.phases, scene.phases[1:], strict=False))
        assert scene.phases[-1].end <= scene.seconds
        assert all(0.5 <= phase.end - phase.start <= 5 and phase.actor is not None for phase in scene.phases)
    assert np.mean([truth(scene)["strata"]["brief"] for scene in LONG]) > 0.9


def test_drawing_alone_and_in_a_batch_gives_the_same_pixels() -> None:
    some = SCENES[:4]
    indices = np.array([[0, 9, 20, 31]] * 4)
    together = draw(reel(some, indices))
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
        scene = draw_scene("train", index)
        files = [tmp_path / f"{index}-{turn}.mp4" for turn in range(4)]
        for file in files:
            encode(frames_of(scene), str(file), waveform(scene))
        assert len({file.read_bytes() for file in files}) == 1


def test_the_audio_track_is_the_scene_s_waveform_at_its_time(tmp_path: Path) -> None:
    scene = next(scene for scene in SCENES if any(sound.kind == "chime" and sound.loud for sound in scene.sounds))
    encode(frames_of(scene), str(tmp_path / "clip.mp4"), waveform(scene))
    with av.open(str(tmp_path / "clip.mp4")) as container:
        decoded = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        assert container.streams.audio[0].codec_context.name == "aac"
        assert container.streams.video[0].frames == scene.num_frames
    wanted = waveform(scene) / 32768
    decoded = decoded[: len(wanted)]
    assert len(decoded) == len(wanted)
    assert np.corrcoef(decoded, wanted)[0, 1] > 0.9


def test_each_motion_has_its_tone_each_cut_its_click_and_noises_come_with_nothing() -> None:
    for scene in SCENES + LONG:
        tones = [sound for sound in scene.sounds if sound.kind == "tone"]
        assert [(t.motion, t.start, t.end) for t in tones] == [
            (p.motion, p.start, p.end) for p in scene.phases if p.actor is not None
        ]
        assert [s.start for s in scene.sounds if s.kind == "click"] == ([] if scene.cut is None else [scene.cut])
        sound = waveform(scene)
        assert len(sound) == scene.seconds * RATE_HZ and np.abs(sound).max() < 32767


def test_a_tone_has_its_motion_s_pitch() -> None:
    for scene in SCENES[:40]:
        for sound in scene.sounds:
            quiet = [s for s in scene.sounds if s is not sound and s.start < sound.end and s.end > sound.start]
            if sound.kind == "tone" and not quiet and sound.end - sound.start > 0.9:
                part = waveform(scene)[round(sound.start * RATE_HZ) : round(sound.end * RATE_HZ)].astype(float)
                found = np.argmax(np.abs(np.fft.rfft(part))) * RATE_HZ / len(part)
                assert abs(found / pitch_hz(sound) - 1) < 0.02


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


def test_another_attempt_sees_clips_that_no_earlier_one_was_tested_on() -> None:
    assert FIRST_TEST["medium-2"] == PRESETS["medium"]["test"] and PRESETS["medium-2"] == PRESETS["medium"]
    counts = {"train": 2, "test": 2}
    first, second = draw_scenes(counts), draw_scenes(counts, first_test=2)
    assert first["train"] == second["train"]
    assert second["test"] == draw_scenes({"test": 4})["test"][2:]
