"""Dense captioning of videos as densevid_eval scores it (ActivityNet Captions, arXiv:1705.00754).

Each score is computed within a video and averaged over the videos of all ground truths; one without prediction has 0.
Precision and recall want an overlap greater than the threshold, the texts' pairs one at least as great. A prediction
that overlaps nothing is compared with a word that no caption has. CIDEr's document frequencies are those of one video,
so these values do not compare with CIDEr of a corpus. Non-ASCII characters become spaces, as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vqlora.metrics.captions import score_captions
from vqlora.metrics.intervals import interval, resampled_means
from vqlora.metrics.ptb import tokenize

OVERLAPS = (0.3, 0.5, 0.7, 0.9)
MAX_PROPOSALS = 1000
NAMES = {
    "bleu_1": "Bleu_1", "bleu_2": "Bleu_2", "bleu_3": "Bleu_3", "bleu_4": "Bleu_4", "rouge_l": "ROUGE_L",
    "cider": "CIDEr",
}  # fmt: skip
_NO_CAPTION = "qxzvkwjqxzvkwj"
_TINY = 1e-8  # in the union, as there


@dataclass(frozen=True, kw_only=True)
class Event:
    """A sentence about the stretch [start_seconds, end_seconds] of a video."""

    start_seconds: float
    end_seconds: float
    sentence: str


Events = Mapping[str, Sequence[Event]]


@dataclass(frozen=True, kw_only=True)
class DenseScores:
    """Scores 0..1 (CIDEr 0..10) by name and threshold: precision, recall, Bleu_1..4, ROUGE_L, CIDEr; and intervals."""

    scores: Mapping[str, Mapping[float, float]]
    intervals: Mapping[str, Mapping[float, list[float]]]
    videos: int


def score_dense(
    predictions: Events, truths: Sequence[Events], *, overlaps: Sequence[float] = OVERLAPS, texts: bool = True
) -> DenseScores:
    """truths: one or more annotations of the same videos. texts=False leaves the captions' scores out.

    Raises:
        ValueError: no ground truth, or a video without events.
    """
    videos = list(dict.fromkeys(video for truth in truths for video in truth))
    if not videos:
        raise ValueError("there is no ground truth, so there is nothing to score")
    empty = [video for truth in truths for video, events in truth.items() if not events]
    if empty:
        raise ValueError(f"{len(empty)} videos have no event to find, the first is {empty[0]!r}")
    limited = {video: list(predictions.get(video, ()))[:MAX_PROPOSALS] for video in videos}
    words = _tokens([*limited.values(), *(events for truth in truths for events in truth.values())]) if texts else {}
    tables: dict[str, dict[float, np.ndarray]] = {}
    for limit in overlaps:
        columns = {name: [] for name in ("precision", "recall", *(NAMES.values() if texts else ()))}
        for video in videos:
            known = [truth[video] for truth in truths if video in truth]
            row = _found(limited[video], known, limit)
            row |= _described(limited[video], known, limit, words) if texts else {}
            for name, values in columns.items():
                values.append(row[name])
        for name, values in columns.items():
            tables.setdefault(name, {})[limit] = np.array(values)
    return _summary(tables, videos)


def _summary(tables: Mapping[str, Mapping[float, np.ndarray]], videos: Sequence[str]) -> DenseScores:
    pairs = [(name, limit) for name, columns in tables.items() for limit in columns]
    means = resampled_means(np.column_stack([tables[name][limit] for name, limit in pairs]), videos)
    intervals: dict[str, dict[float, list[float]]] = {name: {} for name in tables}
    for column, (name, limit) in enumerate(pairs):
        intervals[name][limit] = interval(means[:, column])
    scores = {
        name: {limit: float(values.mean()) for limit, values in columns.items()} for name, columns in tables.items()
    }
    return DenseScores(scores=scores, intervals=intervals, videos=len(videos))


def _overlap(one: Event, other: Event) -> float:
    shared = min(one.end_seconds, other.end_seconds) - max(one.start_seconds, other.start_seconds)
    if shared <= 0:
        return 0.0
    return shared / (max(one.end_seconds, other.end_seconds) - min(one.start_seconds, other.start_seconds) + _TINY)


def _found(predicted: Sequence[Event], truths: Sequence[Sequence[Event]], limit: float) -> dict[str, float]:
    """Precision and recall of one video, each the best over its annotations."""
    precision = recall = 0.0
    for events in truths:
        hits = np.array([[_overlap(event, truth) > limit for truth in events] for event in predicted])
        if len(predicted):
            precision, recall = max(precision, hits.any(axis=1).mean()), max(recall, hits.any(axis=0).mean())
    return {"precision": float(precision), "recall": float(recall)}


def _described(
    predicted: Sequence[Event], truths: Sequence[Sequence[Event]], limit: float, words: Mapping[str, str]
) -> dict[str, float]:
    """Caption scores of one video's pairs of overlapping events."""
    pairs: list[tuple[str, str]] = []
    for event in predicted:
        matches = [truth for events in truths for truth in events if _overlap(event, truth) >= limit]
        pairs += [(words[event.sentence], words[match.sentence]) for match in matches]
        pairs += [] if matches else [(words[event.sentence], _NO_CAPTION)]
    if not pairs:
        return dict.fromkeys(NAMES.values(), 0.0)
    scores = score_captions(
        {str(number): ours for number, (ours, _) in enumerate(pairs)},
        {str(number): [theirs] for number, (_, theirs) in enumerate(pairs)},
        segment="words",
    ).scores
    return {theirs: scores[ours] for ours, theirs in NAMES.items()}


def _tokens(groups: Sequence[Sequence[Event]]) -> dict[str, str]:
    sentences = {event.sentence for events in groups for event in events}
    return {text: tokenize("".join(c if ord(c) < 128 else " " for c in text)) for text in sentences}
