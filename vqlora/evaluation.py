"""Greedy captions of a split and their scores, per example and as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import torch
import torch.distributed as dist

from vqlora.data.example import Example
from vqlora.data.shapes_text import content_scores
from vqlora.inputs import Inputs, precision
from vqlora.metrics.captions import CaptionScores, score_captions
from vqlora.models.conversation import IGNORED
from vqlora.tasks import KINDS, SEGMENT, score_texts
from vqlora.training import world

BATCH = 64  # clips generated together
BATCH_TOKENS = 32768  # of a batch: a 7B base's activations of so many take 5 GiB
KEPT_SCORES = ("cider", "rouge_l", "bleu_4")
OWN_SCORES: dict[str, Callable[[str, Sequence[str]], float]] = {}  # of `vqlora.extend`


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """metrics: cider, rouge_l, bleu_4, loss, what the task is scored by and, where scenes are known, content_*.

    rows: one per example, as JSON.
    """

    metrics: dict[str, float]
    rows: list[dict[str, Any]]


class Asked(Protocol):
    """Who answers for a trial: the trial itself, or a pack that it shares a base with."""

    def answer(self, examples: Sequence[Example], *, max_new_tokens: int) -> list[str]:
        """Greedy captions of one batch."""
        ...

    def loss(self, pairs: Sequence[tuple[Example, int]]) -> tuple[float, int]:
        """(mean cross-entropy in nats, label tokens) of examples with the numbers of their references."""
        ...


@dataclass(frozen=True)
class Alone:
    """A trial that answers for itself."""

    inputs: Inputs

    def answer(self, examples: Sequence[Example], *, max_new_tokens: int) -> list[str]:
        with self.inputs.adapted.loaded.fast():
            return answer(self.inputs, examples, max_new_tokens=max_new_tokens)

    @torch.no_grad()
    def loss(self, pairs: Sequence[tuple[Example, int]]) -> tuple[float, int]:
        loaded, examples = self.inputs.adapted.loaded, [example for example, _ in pairs]
        tokens = self.inputs.tokens(examples, [reference for _, reference in pairs])
        with loaded.fast(), precision(loaded.device):
            loss = loaded.family.loss(loaded.model, tokens, self.inputs.states(examples))
        return loss.item(), int((tokens["labels"][:, 1:] != IGNORED).sum())


def evaluate(
    inputs: Inputs, examples: Sequence[Example], *, split: str, max_new_tokens: int, asked: Asked | None = None
) -> Evaluation:
    """Captions every example of a split greedily and scores it; with several ranks each captions its share.

    loss: mean cross-entropy (nats) per token of each example's first reference.
    """
    asked = asked or Alone(inputs)
    inputs.adapted.figures()  # what training measured is not of this split
    rank, ranks = world()
    own = examples[rank::ranks]
    texts: dict[str, str] = {}
    nats = count = 0.0
    batch = _batch_size(inputs, own)
    for start in range(0, len(own), batch):
        chunk = own[start : start + batch]
        captions = asked.answer(chunk, max_new_tokens=max_new_tokens)
        texts |= {example.id: caption for example, caption in zip(chunk, captions, strict=True)}
        loss, tokens = asked.loss([(example, 0) for example in chunk])
        nats, count = nats + loss * tokens, count + tokens
    if ranks > 1:
        parts: list[Any] = [None] * ranks
        dist.all_gather_object(parts, (texts, nats, count))
        texts = {name: text for part, _, _ in parts for name, text in part.items()}
        nats, count = sum(part[1] for part in parts), sum(part[2] for part in parts)
    evaluation = _scored(inputs, examples, split, texts, nats / count)
    return replace(evaluation, metrics=evaluation.metrics | inputs.adapted.figures())


def _batch_size(inputs: Inputs, examples: Sequence[Example]) -> int:
    """Clips captioned together, by the tokens of the first one; the others have as many frames."""
    if not examples:
        return BATCH
    return max(1, min(BATCH, BATCH_TOKENS // inputs.tokens(examples[:1], [0])["input_ids"].shape[1]))


def answer(inputs: Inputs, examples: Sequence[Example], *, max_new_tokens: int, fresh: bool = False) -> list[str]:
    """Greedy captions of one batch; `fresh` runs the vision tower even where its states are in memory."""
    loaded = inputs.adapted.loaded
    states = inputs.states(examples, fresh=fresh)
    tokens = inputs.tokens(examples, [0] * len(examples), generate=True)
    with torch.no_grad(), precision(loaded.device):
        return loaded.family.generate(loaded.model, loaded.processor, tokens, states, max_new_tokens=max_new_tokens)


def _scored(inputs: Inputs, examples: Sequence[Example], split: str, texts: dict[str, str], loss: float) -> Evaluation:
    references = {example.id: example.references[inputs.language] for example in examples}
    scores = score_captions(
        {example.id: texts[example.id] for example in examples}, references, segment=SEGMENT.get(inputs.language, "ptb")
    )
    asked_for = KINDS.get(examples[0].task, examples[0].task) if examples else "captions"
    tasks = score_texts(examples, texts, language=inputs.language).metrics if asked_for != "captions" else {}
    contents = {e.id: content_scores(texts[e.id], e.attributes) for e in examples if "units" in e.attributes}
    metrics = {name: scores.scores[name] for name in KEPT_SCORES} | {"loss": loss, **tasks}
    own = {e.id: {name: score(texts[e.id], references[e.id]) for name, score in OWN_SCORES.items()} for e in examples}
    metrics |= {name: sum(found[name] for found in own.values()) / len(own) for name in OWN_SCORES}
    for name in next(iter(contents.values()), {}):
        metrics[f"content_{name}"] = sum(content[name] for content in contents.values()) / len(contents)
    rows = [_row(inputs, e, split, texts[e.id], scores, contents.get(e.id), own[e.id]) for e in examples]
    return Evaluation(metrics=metrics, rows=rows)


def _row(
    inputs: Inputs,
    example: Example,
    split: str,
    text: str,
    scores: CaptionScores,
    content: dict[str, float] | None,
    own: dict[str, float],
) -> dict[str, Any]:
    frames = inputs.stamp(example)
    return {
        "split": split,
        "id": example.id,
        "caption": text,
        "references": list(example.references[inputs.language]),
        "scores": {name: scores.per_example[example.id][name] for name in KEPT_SCORES} | own,
        "bleu": asdict(scores.bleu[example.id]),
        "content": content,
        "strata": example.attributes.get("strata"),
        "frame_indices": list(frames.indices),
        "frame_times_seconds": list(frames.times_seconds),
    }
