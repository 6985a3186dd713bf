"""Frames and text reach each class as its own processor and its own forward would bring them there."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from vqlora.contracts import Footage, footage
from vqlora.models.conversation import template_of
from vqlora.models.load import Loaded, load
from vqlora.models.rotary import mrope, window_places
from vqlora.models.sizes import SIZES, TINY_OF
from vqlora.models.skeletons import skeleton
from vqlora.recipe import Bits

OTHER_MASKS = ("idefics", "mllama")  # their processors are for images: see `vqlora.models.crossed`
DUALS = ("clip", "siglip", "xclip")
WRITERS = [name for kind, name in TINY_OF.items() if kind not in (*OTHER_MASKS, *DUALS)]


def base_of(name: str) -> Loaded:
    return load(f"random:{name}", Bits.preset("all16"), "cpu")


def spaced(seen: Footage, seconds: float) -> Footage:
    """The same clips with evenly spaced frames, which is what the classes themselves can tell apart."""
    from dataclasses import replace

    times = tuple(seconds * place for place in range(len(seen.clips[0].frames)))
    clips = [replace(clip, times_seconds=times, indices=tuple(range(len(times)))) for clip in seen.clips]
    return replace(seen, clips=clips)


def own_inputs(seen: Footage, seconds: float) -> dict[str, Any]:
    """What the family's processor makes of the first clip and its conversation."""
    base, clip = seen.loaded, seen.clips[0]
    video = torch.from_numpy(clip.frames).permute(0, 3, 1, 2)
    question, answer = (turn.text for turn in seen.talks[0])
    if base.family.placeholder is None:
        turns = [{"role": "user", "content": "<|video_pad|>" + question}, {"role": "assistant", "content": answer}]
    else:
        asked = [{"type": "video"}, {"type": "text", "text": question}]
        turns = [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
        ]
    template = template_of(base.processor, base.family)
    text = base.processor.tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False)
    if base.model_type == "instructblipvideo":  # its processor reads the question alone
        tokens = seen.tokens([0])
        out = base.processor(images=[video], text=question, return_tensors="pt")
        return {**out, "input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
    metadata = {"total_num_frames": len(video), "fps": 1 / seconds, "frames_indices": list(clip.indices)}
    how = {"do_sample_frames": False, "do_resize": False, "return_tensors": "pt"}
    return dict(base.processor(text=[text], videos=[video], video_metadata=[metadata], **how))


@pytest.mark.parametrize("name", WRITERS)
@torch.no_grad()
def test_logits_are_those_of_the_class_on_its_processor_s_inputs(name: str) -> None:
    """Qwen2.5-VL: one position in time a state, as its class lets a text overlap with a longer video's positions."""
    seconds = 0.5 if "omni" in name else 0.25
    base = base_of(name)
    seen = spaced(footage(base), seconds)
    tokens, inputs = seen.tokens([0]), own_inputs(seen, seconds)
    if base.model_type == "qwen3_vl":  # this version's processor writes the start of a frame twice around a video
        kept = tokens["input_ids"] == base.model.config.video_token_id
        inputs |= {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
        inputs["mm_token_type_ids"] = 2 * kept.int()
    assert torch.equal(inputs["input_ids"], tokens["input_ids"])
    hidden = base.family.hidden(base.model, tokens, seen.states([0]))
    ours = attrgetter(base.family.head)(base.model)(hidden)
    assert torch.allclose(ours, base.model(**inputs).logits, atol=1e-5)


@pytest.mark.parametrize("name", ["clip-tiny", "siglip-tiny"])
@torch.no_grad()
def test_a_clip_s_vector_is_the_mean_of_its_frames_own_vectors(name: str) -> None:
    base = base_of(name)
    seen = footage(base)
    frames = torch.from_numpy(seen.clips[0].frames).permute(0, 3, 1, 2)
    pixels = base.processor.image_processor(list(frames), return_tensors="pt")["pixel_values"]
    own = F.normalize(base.model.get_image_features(pixels).pooler_output, dim=-1)
    tokens = seen.tokens()
    assert torch.allclose(
        base.family.embedding(base.model, tokens, seen.states())[0], F.normalize(own.mean(0), dim=0), atol=1e-5
    )
    texts = base.model.get_text_features(**tokens).pooler_output
    assert torch.allclose(base.family.text_embedding(base.model, tokens), F.normalize(texts, dim=-1), atol=1e-5)


@torch.no_grad()
def test_x_clip_finds_texts_as_its_class_does() -> None:
    base = base_of("x-clip-tiny")
    seen = footage(base)
    frames = torch.stack([torch.from_numpy(clip.frames).permute(0, 3, 1, 2) for clip in seen.clips])
    pixels = base.processor.image_processor(list(frames.flatten(0, 1)), return_tensors="pt")["pixel_values"]
    own = base.model(pixel_values=pixels.unflatten(0, frames.shape[:2]), **seen.tokens()).logits_per_video
    assert torch.allclose(base.family.similarities(base.model, seen.tokens(), seen.states()), own, atol=1e-5)


@pytest.mark.parametrize("name", DUALS)
def test_who_cannot_write_says_so(name: str) -> None:
    seen = footage(base_of(TINY_OF[name]))
    with pytest.raises(ValueError, match="cannot do 'caption': it has no language model"):
        seen.tokens(generate=True)


def test_positions_are_one_text_s_then_a_square_per_state_then_after_the_largest() -> None:
    positions = mrope([False, False, *[True] * 8, False], steps=[0, 5], side=2)
    assert positions[0].tolist() == [0, 1, 2, 2, 2, 2, 7, 7, 7, 7, 8]
    assert positions[1].tolist() == [0, 1, 2, 2, 3, 3, 2, 2, 3, 3, 8]
    assert positions[2].tolist() == [0, 1, 2, 3, 2, 3, 2, 3, 2, 3, 8]


@pytest.mark.parametrize(("size", "budget"), [(56, 4), (84, 3), (112, 2)])
@torch.no_grad()
def test_states_of_a_windowed_tower_are_in_the_order_of_the_frame(size: int, budget: int) -> None:
    """Sizes whose windows are all alike, and one with smaller ones at its border; an odd clip is filled up."""
    base = base_of("qwen2.5-vl-tiny")
    seen = footage(base, size=size, budget=budget)
    clip = torch.from_numpy(seen.clips[0].frames).permute(0, 3, 1, 2)
    clip = torch.cat([clip, clip[-1:]]) if budget % 2 else clip
    inputs = base.processor.video_processor([clip], do_resize=False, do_sample_frames=False, return_tensors="pt")
    base.model.model.visual.config._attn_implementation = "sdpa"
    own = base.model.model.visual(inputs["pixel_values_videos"], grid_thw=inputs["video_grid_thw"]).pooler_output
    ours = base.family.project(base.model, seen.states([0])[0]).flatten(0, 1)
    assert torch.allclose(ours, own, atol=1e-5)


def test_places_of_windows_are_a_permutation() -> None:
    for side in (2, 3, 8, 9):
        assert sorted(window_places(side, 4).tolist()) == list(range(side * side))


@pytest.mark.parametrize("name", ["llava-onevision-tiny", "qwen2.5-vl-tiny", "mllama-tiny", "perceptionlm-tiny"])
def test_frames_of_a_size_that_does_not_fit_are_refused_with_one_that_does(name: str) -> None:
    with pytest.raises(ValueError, match=r"frame size 60 .*(56 x 56|multiple of 28)"):
        footage(base_of(name), size=60).tokens()


CARDS = {  # billions, as the models' pages give them
    "llava-onevision-0.5b": 0.894, "llava-onevision-7b": 8.03, "llava-next-video-7b": 7.06, "video-llava-7b": 7.37,
    "qwen2-vl-2b": 2.21, "qwen2-vl-7b": 8.29, "qwen2-vl-72b": 73.4, "qwen2.5-vl-3b": 3.75, "qwen2.5-vl-7b": 8.29,
    "qwen2.5-vl-32b": 33.5, "qwen2.5-vl-72b": 73.4, "qwen3-vl-2b": 2.13, "qwen3-vl-4b": 4.44, "qwen3-vl-8b": 8.77,
    "internvl3-1b": 0.938, "internvl3-2b": 2.09, "internvl3-8b": 7.94, "internvl3-14b": 15.1, "smolvlm2-256m": 0.256,
    "smolvlm2-500m": 0.507, "smolvlm2-2.2b": 2.25, "instructblip-video-7b": 7.91, "mllama-11b": 10.7,
    "mllama-90b": 88.6, "clip-b32": 0.151, "clip-b16": 0.15, "clip-l14": 0.428, "siglip-b16": 0.203,
    "siglip-so400m": 0.878, "x-clip-b32": 0.197, "qwen2.5-omni-7b": 8.93, "idefics-9b": 8.93,
}  # fmt: skip


@pytest.mark.parametrize("name", CARDS)
def test_a_published_shape_has_its_card_s_number_of_parameters(name: str) -> None:
    assert name in SIZES
    count = sum(parameter.numel() for parameter in skeleton(name)[0].parameters())
    assert count / 1e9 == pytest.approx(CARDS[name], rel=0.01)
