"""What every family must keep, checked on a base of it: a tiny one, such as `random:qwen2.5-vl-tiny` or a folder.

Each broken promise is an AssertionError that says which. One's own family: register its row, save a tiny model and its
processor in a folder, and call `check_family(folder)`.
"""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter

import torch

from vqlora.contracts.footage import Footage, footage
from vqlora.models.conversation import IGNORED
from vqlora.models.load import Loaded, load
from vqlora.models.roles import linear_layers, parameters_by_role
from vqlora.recipe import Bits

AGREES = 1e-4  # of logits in fp32, forward against step by step


def check_family(base: str, *, size: int | None = None) -> None:
    """AssertionError, naming the promise, if the family of this base breaks one. A few seconds on a CPU."""
    loaded = load(base, Bits.preset("all16"), "cpu")
    seen = footage(loaded, size=size)
    check_roles(loaded)
    check_states(seen)
    check_frames_matter(seen)
    if "caption" not in loaded.family.cannot:
        check_labels(seen)
        check_padding(seen)
        check_times(seen)
        gap = generation_gap(seen)
        assert gap < AGREES, f"{base}: step by step the logits differ by {gap:.1e} from those of one pass"


def check_roles(loaded: Loaded) -> None:
    """Every parameter has exactly one role, and every role of the row has parameters."""
    by_role = parameters_by_role(loaded.model, loaded.model_type)
    named = sorted(name for names in by_role.values() for name in names)
    assert named == sorted(name for name, _ in loaded.model.named_parameters()), "a parameter without one role"
    empty = [role for role, names in by_role.items() if not names]
    assert not empty, f"{loaded.base}: no parameter has the role {empty}; leave it out of the row"
    layers = linear_layers(loaded.model, loaded.model_type)
    assert layers["text"] and layers["vision"], f"{loaded.base}: no linear layer in the text or the vision"


@torch.no_grad()
def check_states(seen: Footage) -> None:
    """A clip's states are as many as its frames ask for, and the same alone and in a batch."""
    group = seen.loaded.family.frames_per_state(seen.loaded.model.config)
    together = seen.states()
    for row, clip in enumerate(seen.clips):
        assert len(together[row]) == -(-len(clip.frames) // group), f"clip {row} has {len(together[row])} states"
        alone = seen.states([row])[0]
        assert torch.allclose(alone, together[row], atol=1e-5), f"the states of clip {row} depend on its neighbours"


@torch.no_grad()
def check_frames_matter(seen: Footage) -> None:
    """The frames of another clip, another loss; and their order counts, unless the row says that it does not."""
    loaded, tokens, states = seen.loaded, seen.tokens(), seen.states()
    here = loaded.family.loss(loaded.model, tokens, states)
    other = loaded.family.loss(loaded.model, tokens, states[::-1])
    assert abs(here - other) > 1e-6, f"{loaded.base}: the frames do not reach the loss"
    if "order" not in loaded.family.cannot:
        turned = loaded.family.loss(loaded.model, tokens, [states[0].flip(0), *states[1:]])
        assert abs(here - turned) > 1e-7, f"{loaded.base}: the order of the frames does not matter"


def check_labels(seen: Footage) -> None:
    """The assistant's words are learned and no others; a row to answer ends where the answer begins."""
    tokenizer = seen.loaded.processor.tokenizer
    labels = seen.tokens([0])["labels"][0]
    learned = tokenizer.decode(labels[labels != IGNORED])
    assert learned.strip().startswith(seen.talks[0][1].text), f"learned is {learned!r}"
    assert seen.talks[0][0].text not in learned, f"the question is learned: {learned!r}"
    asked = seen.tokens(generate=True)
    assert "labels" not in asked and asked["attention_mask"][:, -1].all(), "rows to answer are padded on the left"
    whole = seen.tokens([0])["input_ids"][0]
    prompt = seen.tokens([0], generate=True)["input_ids"][0]
    assert torch.equal(whole[: len(prompt)], prompt), "a prompt is not how its conversation begins"


@torch.no_grad()
def check_padding(seen: Footage) -> None:
    """A row's loss does not depend on the padding that a longer neighbour asks for."""
    loaded = seen.loaded
    longer = replace(seen.talks[1][1], text=seen.talks[1][1].text + " and" * 9)
    both = replace(seen, talks=[seen.talks[0], (seen.talks[1][0], longer)])
    tokens = both.tokens()
    tokens["labels"][1] = IGNORED
    alone = loaded.family.loss(loaded.model, seen.tokens([0]), seen.states([0]))
    beside = loaded.family.loss(loaded.model, tokens, seen.states())
    assert torch.allclose(alone, beside, atol=1e-4), f"{loaded.base}: {alone} alone, {beside} beside a longer row"


def check_times(seen: Footage) -> None:
    """Other times change the text or the positions where the row says so, and nothing where it says they cannot."""
    later = replace(seen.clips[0], times_seconds=tuple(7.0 * time + 61.0 for time in seen.clips[0].times_seconds))
    moved = replace(seen, clips=[later, *seen.clips[1:]])
    here, there = seen.tokens([0]), moved.tokens([0])
    same = {name: here[name].shape == there[name].shape and torch.equal(here[name], there[name]) for name in here}
    family = seen.loaded.family
    if family.times == "text":
        assert not same["input_ids"], f"{family.name}: times are not in the text"
    if family.times == "position":
        assert same["input_ids"] and not same["position_ids"], f"{family.name}: times are not in the positions"
    if family.times == "order":
        assert all(same.values()), f"{family.name} passes times on, against its row"
        assert "times" in family.cannot, f"the row of {family.name} does not say why it passes no times"


@torch.no_grad()
def generation_gap(seen: Footage) -> float:
    """Largest difference of the answer's logits, computed token by token with a cache and in one pass."""
    loaded = seen.loaded
    family, model, states = loaded.family, loaded.model, seen.states([0])
    language, head = attrgetter(family.language)(model), attrgetter(family.head)(model)
    whole = seen.tokens([0])  # run before the prompt is made: adapters follow the frames of the last batch
    hidden = family.hidden(model, whole, states)
    prompt = seen.tokens([0], generate=True)
    start = prompt["input_ids"].shape[1]
    wanted = head(hidden)[0, start - 1 :]
    inputs, cache, got = family.language_inputs(model, prompt, states), None, []
    for token in whole["input_ids"][0, start:]:
        out = language(**inputs, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        got.append(head(out.last_hidden_state[:, -1])[0])
        inputs = family.next_inputs(model, inputs, token.unsqueeze(0))
    return (torch.stack(got) - wanted[: len(got)]).abs().max().item()
