"""A model's texts scored by what each example asks for: captions, answers, events with times, moments.

Rules of the scores: `vqlora.metrics`. The texts that stand for events ('1.2 to 4.5 s : sentence', one after the other)
and moments ('1.2 to 4.5 s') are those that the readers write as references.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vqlora.data.example import Example
from vqlora.metrics.captions import score_captions
from vqlora.metrics.dense import Event, score_dense
from vqlora.metrics.moments import score_moments
from vqlora.metrics.qa import Question, score_answers

SEGMENT = {"en": "ptb", "zh": "char", "ja": "char"}  # how captions of a language are cut into words
KINDS = {"caption": "captions", "paragraph": "captions", "instruct": "captions", "retrieval": "captions"}
STRETCH = re.compile(r"(\d+(?:\.\d+)?)\s*(?:-|to|到)\s*(\d+(?:\.\d+)?)\s*(?:s\b|秒)\s*[:：]?")


@dataclass(frozen=True, kw_only=True)
class TaskScores:
    """metrics of the whole, by name; rows: what each example has of them, by id."""

    metrics: Mapping[str, float]
    rows: Mapping[str, Mapping[str, float]]


def score_texts(examples: Sequence[Example], texts: Mapping[str, str], *, language: str = "en") -> TaskScores:
    """Scores one text of each example; all examples ask for the same kind of thing.

    Raises:
        ValueError: no examples, tasks of different kinds, or an example without a text.
    """
    kinds = {KINDS.get(example.task, example.task) for example in examples}
    if len(kinds) != 1:
        raise ValueError(f"{len(examples)} examples of the tasks {sorted(kinds)}; score those of one kind together")
    without = [example.id for example in examples if example.id not in texts]
    if without:
        raise ValueError(f"{len(without)} examples have no text, the first is {without[0]!r}")
    score = {"captions": _captions, "qa": _answers, "dense": _events, "moments": _moments}[kinds.pop()]
    return score(examples, texts, language)


def parse_events(text: str) -> list[Event]:
    """Events of a text: what stands between one pair of times and the next is the sentence; other text is left out."""
    times = list(STRETCH.finditer(text))
    ends = [*(following.start() for following in times[1:]), len(text)]
    return [
        Event(start_seconds=float(match[1]), end_seconds=float(match[2]), sentence=text[match.end() : end].strip())
        for match, end in zip(times, ends, strict=False)
    ]


def _captions(examples: Sequence[Example], texts: Mapping[str, str], language: str) -> TaskScores:
    references = {example.id: example.references[language] for example in examples}
    predictions = {example.id: texts[example.id] for example in examples}
    scored = score_captions(predictions, references, segment=SEGMENT.get(language, "ptb"))
    return TaskScores(metrics=scored.scores, rows=scored.per_example)


def _answers(examples: Sequence[Example], texts: Mapping[str, str], language: str) -> TaskScores:
    questions = {example.id: question_of(example) for example in examples}
    scored = score_answers({example.id: texts[example.id] for example in examples}, questions)
    metrics = {"accuracy": scored.accuracy} | {f"accuracy_{kind}": value for kind, value in scored.by_type.items()}
    metrics |= {"unparsed": scored.unparsed} if scored.unparsed is not None else {}
    metrics |= {f"accuracy_{group}": value for group, value in scored.groups.items()}
    return TaskScores(metrics=metrics, rows={id: {"accuracy": float(right)} for id, right in scored.correct.items()})


def question_of(example: Example) -> Question:
    """What is right for a question's example, as its reader wrote it."""
    known = example.attributes
    return Question(
        answer=known["answer"],
        type=known.get("type"),
        options=tuple(known.get("options", ())),
        video=known.get("video", ""),
    )


def _events(examples: Sequence[Example], texts: Mapping[str, str], language: str) -> TaskScores:
    predicted = {example.id: parse_events(texts[example.id]) for example in examples}
    truths: list[dict[str, list[Event]]] = [{}, {}]
    for example in examples:
        for place, one in enumerate(example.attributes["events"]):
            pairs = zip(one["timestamps"], one["sentences"], strict=True)
            truths[place][example.id] = [
                Event(start_seconds=start, end_seconds=end, sentence=sentence) for (start, end), sentence in pairs
            ]
    scored = score_dense(predicted, [truth for truth in truths if truth])
    means = {name: sum(values.values()) / len(values) for name, values in scored.scores.items()}
    metrics = {name.lower(): value for name, value in means.items()}
    metrics |= {f"recall_{limit:g}": value for limit, value in scored.scores["recall"].items()}
    metrics["videos_without_event"] = sum(not events for events in predicted.values()) / len(predicted)
    return TaskScores(metrics=metrics, rows={})


def _moments(examples: Sequence[Example], texts: Mapping[str, str], language: str) -> TaskScores:
    found = {example.id: STRETCH.findall(texts[example.id]) for example in examples}
    predicted = {id: [(float(start), float(end)) for start, end in pairs] for id, pairs in found.items()}
    truths = {example.id: tuple(example.attributes["moment"]) for example in examples}
    videos = {example.id: example.clips[0].path for example in examples}
    return TaskScores(metrics=score_moments(predicted, truths, videos).scores, rows={})
