"""What an embedded base can do as it is: its answers to each task of `shapes` at 8 frames, and how right they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqlora.data.shapes import FPS, SIDE, Scene, draw_scene
from vqlora.data.shapes_render import draw, reel, subsample_chroma
from vqlora.data.shapes_tasks import TASKS, Conversation, conversation
from vqlora.data.shapes_text import content_scores, events_of, plain_caption, truth
from vqlora.data.shapes_words import PLAIN, PLAINS
from vqlora.metrics.dense import Event
from vqlora.metrics.moments import overlap
from vqlora.metrics.retrieval import score_retrieval
from vqlora.models.embedding import clip_batch, clip_vectors, text_batch, text_vectors
from vqlora.models.family import Family
from vqlora.tasks import parse_events

FRAMES = 8
BATCH = 256
VIEWS = ("true", "blank", "other")  # the clip's frames, black ones, another clip's
MAX_NEW_TOKENS = {"caption": 64, "caption_zh": 80, "paragraph": 48, "dense": 96}  # other tasks: 16
HELD_OUT = 1 << 30  # scenes of the pretraining split from here on are never trained on


def task_scores(
    family: Family, model: Any, processor: Any, device: str, *, count: int, view: str = "true"
) -> dict[str, list[float]]:
    """Per task the score of each of `count` clips, 0 to 1 (`answer_score`); retrieval: 1 where the own text is nearest.

    The clips are validation's: combinations of shape and colour that are rare in pretraining.
    """
    model.eval()
    scenes = [draw_scene("val", index) for index in range(count)]
    out = {}
    for task in TASKS:
        talks = [conversation(task, scene, np.random.default_rng([7, scene.index])) for scene in scenes]
        texts = answers(family, model, processor, scenes, talks, device, MAX_NEW_TOKENS.get(task, 16), view)
        out[task] = [answer_score(task, *parts) for parts in zip(texts, talks, scenes, strict=True)]
    out["retrieval"] = _nearest(family, model, processor, scenes, device, view)
    model.train()
    return out


def exact_matches(family: Family, model: Any, processor: Any, device: str, *, count: int) -> dict[str, float]:
    """Content of plain captions: of scenes kept from training, with frequent and with rare combinations."""
    model.eval()
    out = {}
    for label, split, first in (("seen", "pretrain", HELD_OUT), ("unseen", "val", 0)):
        scenes = [draw_scene(split, first + index) for index in range(count)]
        talks = [conversation("caption", scene, np.random.default_rng(0)) for scene in scenes]
        texts = answers(family, model, processor, scenes, talks, device, MAX_NEW_TOKENS["caption"], "true")
        scores = [content_scores(text, truth(scene), PLAIN) for text, scene in zip(texts, scenes, strict=True)]
        out |= {f"{label}_{key}": round(float(np.mean([s[key] for s in scores])), 4) for key in scores[0]}
    model.train()
    return out


def answer_score(task: str, text: str, conversation: Conversation, scene: Scene) -> float:
    """How right an answer is, 0 to 1, in plain words.

    Captions and paragraphs: share of places in the order with the right event; dense: mean over the true events of the
    overlap in time (intersection over union) with the told event in the same place, 0 where that is another event;
    moment: that overlap; else exact match.
    """
    if task in ("caption", "caption_zh"):
        return content_scores(text, truth(scene), PLAINS["zh" if task == "caption_zh" else "en"])["event"]
    if task == "paragraph":
        told, happened = events_of(text, PLAIN), events_of(conversation[-1].text, PLAIN)
        return sum(one == other for one, other in zip(told, happened, strict=False)) / max(len(told), len(happened))
    if task == "dense":
        return _timed_score(parse_events(text), scene)
    if task == "moment":
        told, (right,) = parse_events(text)[:1], parse_events(conversation[-1].text)
        return overlap(_span(told[0]), _span(right)) if told else 0.0
    return float(text.strip() == conversation[-1].text)


def _timed_score(told: Sequence[Event], scene: Scene) -> float:
    score = 0.0
    for phase, event in zip(scene.phases, told, strict=False):
        actor = None if phase.actor is None else scene.things[phase.actor].colour
        if events_of(event.sentence, PLAIN) == [(actor, phase.motion)]:
            score += overlap(_span(event), (phase.start, phase.end))
    return score / max(len(scene.phases), len(told))


def _span(event: Event) -> tuple[float, float]:
    return event.start_seconds, event.end_seconds


@torch.no_grad()
def answers(
    family: Family,
    model: Any,
    processor: Any,
    scenes: Sequence[Scene],
    talks: Sequence[Conversation],
    device: str,
    max_new_tokens: int,
    view: str,
) -> list[str]:
    """Greedy last turns of conversations about scenes."""
    out: list[str] = []
    for first in range(0, len(scenes), BATCH):
        states, times = _seen(family, model, processor, scenes[first : first + BATCH], device, view)
        some = talks[first : first + BATCH]
        tokens = family.batch(processor, model.config, times, some, size=SIDE, generate=True)
        tokens = {key: value.to(device) for key, value in tokens.items()}
        out += family.generate(model, processor, tokens, list(states), max_new_tokens=max_new_tokens)
    return out


@torch.no_grad()
def _nearest(
    family: Family, model: Any, processor: Any, scenes: Sequence[Scene], device: str, view: str
) -> list[float]:
    """Recall at 1 of each clip's text among all clips; a clip that comes as near counts as nearer."""
    clips, texts = [], []
    for first in range(0, len(scenes), BATCH):
        some = scenes[first : first + BATCH]
        states, times = _seen(family, model, processor, some, device, view)
        asked = clip_batch(family, processor, model.config, times, size=SIDE)
        said = text_batch(family, processor, model.config, [plain_caption(scene) for scene in some], size=SIDE)
        asked, said = ({key: value.to(device) for key, value in batch.items()} for batch in (asked, said))
        clips.append(clip_vectors(family, model, asked, list(states)))
        texts.append(text_vectors(family, model, said, states[0]))
    similarity = (torch.cat(texts) @ torch.cat(clips).T).double().cpu().numpy()
    return (score_retrieval(similarity)["t2v"].ranks == 1).astype(float).tolist()


def _seen(
    family: Family, model: Any, processor: Any, scenes: Sequence[Scene], device: str, view: str
) -> tuple[Tensor, list[list[float]]]:
    """Vision states of scenes under a view, [B, FRAMES, tokens, width], and the frames' times."""
    shown = [*scenes[1:], scenes[0]] if view == "other" else scenes
    frames = subsample_chroma(draw(reel(shown, uniform(shown)).to(device)))
    if view == "blank":
        frames = torch.zeros_like(frames)
    states = family.encode_frames(model, processor, frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
    return states, (uniform(scenes) / FPS).tolist()


def uniform(scenes: Sequence[Scene], count: int = FRAMES) -> np.ndarray:
    """Frame numbers [scenes, count] in the middles of equal parts of each clip."""
    lengths = np.array([scene.num_frames for scene in scenes])[:, None]
    return ((np.arange(count) + 0.5) * lengths / count).astype(np.int64)
