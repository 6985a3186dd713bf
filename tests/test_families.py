"""How clips and conversations become model inputs, on the committed bases of both families."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from vqlora.data.example import Message
from vqlora.data.prompts import CAPTION
from vqlora.data.shapes import FPS, SIDE, draw_scene
from vqlora.data.shapes_text import domain_references
from vqlora.data.shapes_write import frames_of
from vqlora.models.conversation import IGNORED
from vqlora.models.families import family_of
from vqlora.models.load import Loaded, load
from vqlora.models.pads import EQUAL_FRAMES
from vqlora.recipe import Bits
from vqlora.video.frames import ClipFrames

BASES = ("embedded:videollama", "embedded:flamingo")


@pytest.fixture(scope="module", params=BASES)
def base(request: pytest.FixtureRequest) -> Loaded:
    return load(request.param, Bits.preset("all16"), "cpu")


def clip(index: int, budget: int = 8) -> ClipFrames:
    """A clip's frames as a decoder would give them."""
    frames = frames_of(draw_scene("val", index)).permute(0, 2, 3, 1).numpy()
    indices = tuple(int((place + 0.5) * len(frames) / budget) for place in range(budget))
    times = tuple(i / FPS for i in indices)
    return ClipFrames(
        frames=frames[list(indices)].copy(), times_seconds=times, indices=indices, decoder="drawn", digest=""
    )


def talk(index: int) -> tuple[Message, ...]:
    text = domain_references(draw_scene("val", index))[0]
    return (Message(role="user", text=CAPTION), Message(role="assistant", text=text))


def batch(base: Loaded, clips: Sequence[ClipFrames], talks: Sequence[Sequence[Message]], **options: bool):
    times = [clip.times_seconds for clip in clips]
    return base.family.batch(base.processor, base.model.config, times, talks, size=SIDE, **options)


def states(base: Loaded, clips: Sequence[ClipFrames]) -> list[torch.Tensor]:
    with torch.no_grad():
        return base.family.vision_states(base.model, base.processor, clips)


def test_only_the_assistant_s_words_are_learned(base: Loaded) -> None:
    tokens = batch(base, [clip(0)], [talk(0)])
    learned = tokens["labels"][0][tokens["labels"][0] != IGNORED]
    text = base.processor.tokenizer.decode(learned)
    assert text.startswith(talk(0)[1].text)
    assert base.processor.tokenizer.eos_token_id in learned


def test_the_loss_covers_every_assistant_turn(base: Loaded) -> None:
    turns = [*talk(0), Message(role="user", text="And then?"), Message(role="assistant", text="all holds .")]
    tokens = batch(base, [clip(0)], [turns])
    text = base.processor.tokenizer.decode(tokens["labels"][0][tokens["labels"][0] != IGNORED])
    assert talk(0)[1].text in text and "all holds" in text and "And then" not in text


def test_generation_rows_end_where_the_answer_begins_and_pad_on_the_left(base: Loaded) -> None:
    short, long = clip(0, 4), clip(1, 8)
    tokens = batch(base, [short, long], [talk(0), talk(1)], generate=True)
    assert "labels" not in tokens
    assert tokens["attention_mask"][:, -1].all()
    assert not tokens["attention_mask"][0, 0]
    assert base.processor.tokenizer.decode(tokens["input_ids"][1]).rstrip().endswith("assistant")


@pytest.mark.parametrize("budget", (4, 8, 16, 32, 64))
def test_grid_and_tokens_per_frame_do_not_depend_on_the_number_of_frames(base: Loaded, budget: int) -> None:
    """The family's own processor would shrink frames and drop tokens as frames are added."""
    places = tuple(range(budget))
    many = np.repeat(clip(0, 4).frames, budget // 4, axis=0)
    frames = ClipFrames(frames=many, times_seconds=places, indices=places, decoder="drawn", digest="")
    state = states(base, [frames])[0]
    tokens = batch(base, [frames], [talk(0)])
    assert state.shape[:2] == (budget, states(base, [clip(0, 4)])[0].shape[1])
    if base.model_type == "video_llama_3":
        assert (tokens["input_ids"] == base.model.config.video_token_id).sum() == budget * state.shape[1]


def test_swapping_two_frames_changes_the_answer_s_logits(base: Loaded) -> None:
    clips, tokens = [clip(3)], batch(base, [clip(3)], [talk(3)])
    here = states(base, clips)[0]
    swapped = here[[0, 1, 5, 3, 4, 2, 6, 7]]
    with torch.no_grad():
        a, b = (base.family.hidden(base.model, tokens, [state])[0, -1] for state in (here, swapped))
    assert (a - b).abs().max() > 1e-3


def test_every_frame_reaches_the_text_after_it(base: Loaded) -> None:
    tokens, here = batch(base, [clip(3)], [talk(3)]), states(base, [clip(3)])[0]
    here.requires_grad_(True)
    base.family.hidden(base.model, tokens, [here])[0, -1].sum().backward()
    assert here.grad is not None and (here.grad.abs().amax(dim=(1, 2)) > 0).all()


def test_a_row_s_loss_does_not_depend_on_its_neighbours_padding(base: Loaded) -> None:
    alone = batch(base, [clip(0, 4)], [talk(0)])
    both = batch(base, [clip(0, 4), clip(1, 8)], [talk(0), talk(1)])
    with torch.no_grad():
        one = base.family.loss(base.model, alone, states(base, [clip(0, 4)]))
        both["labels"][1] = IGNORED
        two = base.family.loss(base.model, both, states(base, [clip(0, 4), clip(1, 8)]))
    assert torch.allclose(one, two, atol=1e-5)


def test_generation_continues_as_the_logits_say(base: Loaded) -> None:
    clips = [clip(0, 4), clip(1, 8)]
    tokens = batch(base, clips, [talk(0), talk(1)], generate=True)
    with torch.no_grad():
        texts = base.family.generate(base.model, base.processor, tokens, states(base, clips), max_new_tokens=12)
        for index in (0, 1):
            ids = base.processor.tokenizer(texts[index], add_special_tokens=False).input_ids
            whole = batch(base, [clips[index]], [talk(index)], generate=True)
            answer = torch.tensor([ids])
            longer = {
                "input_ids": torch.cat([whole["input_ids"], answer], 1),
                "attention_mask": torch.ones(1, whole["input_ids"].shape[1] + len(ids), dtype=torch.long),
                "frame_of_token": torch.cat([whole["frame_of_token"], torch.full_like(answer, -1)], 1),
            }
            hidden = base.family.hidden(base.model, longer, states(base, [clips[index]]))
            best = base.model.lm_head(hidden[0, -len(ids) - 1 : -1]).argmax(-1)
            assert best.tolist() == ids


def test_our_attention_over_equal_frames_is_the_tower_s_own() -> None:
    base = load("embedded:videollama", Bits.preset("all16"), "cpu")
    frames = torch.from_numpy(clip(0).frames).permute(0, 3, 1, 2)
    tower = base.model.model.vision_model
    with torch.no_grad():
        ours = base.family.encode_frames(base.model, base.processor, frames)
        assert tower.config._attn_implementation == EQUAL_FRAMES
        tower.config._attn_implementation = "sdpa"
        grid, merge = torch.tensor([[8, 8, 8]]), torch.tensor([base.processor.video_processor.merge_size])
        patches = base.family.patches(base.processor.video_processor, frames)
        theirs = tower(pixel_values=patches, grid_thw=grid, merge_sizes=merge).last_hidden_state
    assert torch.allclose(ours.flatten(0, 1), theirs, atol=1e-5)


def test_frames_in_the_text_are_written_as_the_family_s_processor_writes_them() -> None:
    base = load("embedded:videollama", Bits.preset("all16"), "cpu")
    here = clip(0, 4)
    video = torch.from_numpy(here.frames).permute(0, 3, 1, 2)
    metadata = {"total_num_frames": 64, "fps": FPS, "frames_indices": list(here.indices)}
    theirs = base.processor(
        text=["<|video_pad|>"], videos=[video], video_metadata=[metadata], do_sample_frames=False, do_resize=False
    )
    places = base.family.places(base.processor, base.model.config, SIDE, here.times_seconds)
    assert base.processor.tokenizer("".join(places), add_special_tokens=False).input_ids == list(theirs["input_ids"][0])


def test_an_unknown_family_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"known: .*idefics.*video_llama_3"):
        family_of("gpt2")


def test_a_frame_size_the_patches_do_not_divide_is_refused() -> None:
    base = load("embedded:videollama", Bits.preset("all16"), "cpu")
    with pytest.raises(ValueError, match="no multiple of 56"):
        base.family.batch(base.processor, base.model.config, [(0.0,)], [talk(0)], size=100)
