"""Retrieval of a split with a language model's vectors: similarities of all texts with all clips, and their recall."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vqlora.contrastive import ContrastiveTrainer, clip_vectors, text_vectors
from vqlora.data.example import Example
from vqlora.evaluation import Evaluation
from vqlora.finetune import Trains, Trial
from vqlora.inputs import Inputs
from vqlora.metrics.retrieval import score_dual_softmax, score_retrieval, total
from vqlora.models.embedding import info_nce
from vqlora.training import world

BATCH = 16  # clips or texts at once
LOSS_SCALE = torch.tensor(100.0)  # of the loss that is reported; training learns its own


class RetrievalTrial(Trial):
    """A trial whose task is retrieval: trained contrastively, judged by recall."""

    def _trainer(self) -> Trains:
        return ContrastiveTrainer(
            adapted=self.adapted,
            inputs=self.inputs,
            examples=self.data.splits["train"],
            schedule=self.recipe.schedule,
            seed=self.recipe.seed,
            probe=self.probe,
        )

    def _evaluate(self, split: str) -> Evaluation:
        return evaluate_retrieval(self.inputs, self.data.splits[split], split=split)

    def _answer_once(self, inputs: Inputs, example: Example) -> None:
        with torch.no_grad():
            clip_vectors(inputs, [example], fresh=True)


def trial_of(task: str) -> type[Trial]:
    """The kind of trial that a recipe's task asks for."""
    return RetrievalTrial if task == "retrieval" else Trial


def queries_of(example: Example, language: str) -> tuple[str, ...]:
    """The texts that a clip is to be found by: the set's own query if it has one, else all references."""
    query = example.attributes.get("query")
    return (query,) if query is not None else example.references[language]


def evaluate_retrieval(inputs: Inputs, examples: Sequence[Example], *, split: str) -> Evaluation:
    """metrics: t2v_r1, t2v_r5, t2v_r10, t2v_mdr, t2v_mnr, the same of v2t (and v2t_max), rsum, ties, dual_..., loss.

    Each row holds a clip's ranks, from which an interval over clips follows.
    """
    clips = _over(examples, lambda part: clip_vectors(inputs, part))
    texts = [(text, place) for place, example in enumerate(examples) for text in queries_of(example, inputs.language)]
    any_state = inputs.states(examples[:1])[0]
    words = _over(texts, lambda part: text_vectors(inputs, [text for text, _ in part], any_state))
    owners = [place for _, place in texts]
    similarity = (words @ clips.T).double().numpy()
    found, dual = score_retrieval(similarity, owners), score_dual_softmax(similarity, owners)
    metrics = {f"{name}_{key.lower()}": value for name, own in found.items() for key, value in own.scores.items()}
    metrics |= {f"dual_{name}_{key.lower()}": value for name, own in dual.items() for key, value in own.scores.items()}
    first = [owners.index(place) for place in range(len(examples))]
    metrics |= {
        "rsum": total(found),
        "ties": float(sum(found[name].ties for name in ("t2v", "v2t"))),
        "loss": float(info_nce(clips, words[first], LOSS_SCALE, [example.id for example in examples])),
    }
    ranks: dict[int, list[int]] = {place: [] for place in range(len(examples))}
    for owner, rank in zip(owners, found["t2v"].ranks.tolist(), strict=True):
        ranks[owner].append(rank)
    rows = [
        _row(inputs, example, split, ranks[place], int(found["v2t"].ranks[place]))
        for place, example in enumerate(examples)
    ]
    return Evaluation(metrics=metrics, rows=rows)


def _row(inputs: Inputs, example: Example, split: str, text_ranks: list[int], clip_rank: int) -> dict[str, Any]:
    frames = inputs.stamp(example)
    hits = {f"t2v_r{k}": 100.0 * sum(rank <= k for rank in text_ranks) / len(text_ranks) for k in (1, 5, 10)}
    return {
        "split": split,
        "id": example.id,
        "references": list(queries_of(example, inputs.language)),
        "scores": {**hits, **{f"v2t_r{k}": 100.0 * (clip_rank <= k) for k in (1, 5, 10)}},
        "ranks": {"t2v": text_ranks, "v2t": clip_rank},
        "frame_indices": list(frames.indices),
        "frame_times_seconds": list(frames.times_seconds),
    }


@torch.no_grad()
def _over(items: Sequence[Any], embed: Any) -> Tensor:
    """Vectors [items, D] on the host; with several workers each embeds its share."""
    rank, ranks = world()
    own = items[rank::ranks]
    found = [embed(own[start : start + BATCH]).cpu() for start in range(0, len(own), BATCH)]
    part = torch.cat(found) if found else torch.zeros(0)
    if ranks == 1:
        return part
    parts: list[Any] = [None] * ranks
    dist.all_gather_object(parts, part)
    whole = torch.zeros(len(items), next(one.shape[1] for one in parts if len(one)))
    for number, one in enumerate(parts):
        whole[number::ranks] = one.reshape(-1, whole.shape[1])
    return whole
