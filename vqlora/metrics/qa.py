"""Question answering: exact match as the classic sets compute it, and the option that a free answer means.

MSRVTT-QA, MSVD-QA and ActivityNet-QA compare lower-cased texts and nothing more. With options, `chosen_option` reads a
letter or an option's own words from whatever a model wrote; what it cannot read is wrong, and its share is told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np

from vqlora.metrics.intervals import interval, resampled_means

# NExT-QA: causal, temporal, descriptive; its evaluation counts TP (previous) as TN (next).
NEXT_GROUPS = {"C": ("CW", "CH"), "T": ("TN", "TC"), "D": ("DC", "DL", "DO")}
NEXT_MERGED = {"TP": "TN"}
NEXT_TYPES = {*NEXT_MERGED, *(kind for kinds in NEXT_GROUPS.values() for kind in kinds)}


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is right. options: empty for a free answer; else `answer` is one of them. video: what intervals resample."""

    answer: str
    type: str | None = None
    options: tuple[str, ...] = ()
    video: str = ""

    def __post_init__(self) -> None:
        if self.options and self.answer not in self.options:
            raise ValueError(f"answer {self.answer!r} is none of the options {self.options}")
        if len(set(self.options)) < len(self.options):
            raise ValueError(f"an option stands twice in {self.options}, so an answer may mean either")
        if len(self.options) > len(ascii_uppercase):
            raise ValueError(f"{len(self.options)} options; there are letters for {len(ascii_uppercase)}")


@dataclass(frozen=True, kw_only=True)
class AnswerScores:
    """accuracy and unparsed: shares in 0..1, the latter of the questions with options (None where there is none).

    by_type: accuracy of each type. groups: of NExT-QA's C, T, D where the types are that set's. correct: by id.
    """

    accuracy: float
    unparsed: float | None
    by_type: Mapping[str, float]
    groups: Mapping[str, float]
    correct: Mapping[str, bool]
    intervals: Mapping[str, list[float]]


def score_answers(predictions: Mapping[str, str | int], questions: Mapping[str, Question]) -> AnswerScores:
    """Scores an answer per question; an int is the number of an option, from 0. An absent answer is wrong.

    Raises:
        ValueError: no questions, or a number for a question without options or beyond them.
    """
    if not questions:
        raise ValueError("there are no questions, so there is nothing to score")
    read = {id: _read(id, predictions.get(id, ""), question) for id, question in questions.items()}
    correct = {id: _is_correct(read[id], question) for id, question in questions.items()}
    closed = [id for id, question in questions.items() if question.options]
    unparsed = sum(read[id] is None for id in closed) / len(closed) if closed else None
    merged = _types(questions)
    by_type = {kind: _share(correct, ids) for kind, ids in sorted(merged.items())}
    groups = {
        group: _share(correct, [id for kind in kinds for id in merged.get(kind, [])])
        for group, kinds in NEXT_GROUPS.items()
        if merged and merged.keys() <= NEXT_TYPES and any(merged.get(kind) for kind in kinds)
    }
    return AnswerScores(
        accuracy=_share(correct, list(questions)),
        unparsed=unparsed,
        by_type=by_type,
        groups=groups,
        correct=correct,
        intervals=_intervals(correct, questions, merged),
    )


def chosen_option(text: str, options: Sequence[str]) -> int | None:
    """The number of the option that an answer means, from 0; None if it names none, or more than one.

    In order: an option's own words alone; a letter alone or marked as one ('B', '(b)', 'B: ...', 'the answer is B');
    the one option whose words occur in the answer. 'A man' is no letter A.
    """
    bare = _bare(text)
    same = [number for number, option in enumerate(options) if _bare(option) == bare]
    if len(same) == 1:
        return same[0]
    letter = _letter(text, len(options))
    if letter is not None:
        return letter
    words = f" {_words(text)} "
    found = [number for number, option in enumerate(options) if _words(option) and f" {_words(option)} " in words]
    longest = [
        number
        for number in found
        if not any(
            other != number and f" {_words(options[number])} " in f" {_words(options[other])} " for other in found
        )
    ]
    return longest[0] if len(longest) == 1 else None


def _letter(text: str, count: int) -> int | None:
    """A letter that is meant as one; None where several differ, or it is beyond the options."""
    last = ascii_uppercase[count - 1]
    one = f"[A-{last}a-{last.lower()}]"
    patterns = (
        rf"\W*({one})\W*$",
        rf"\W*({one})\s*[).:\]]",
        rf".*\b(?i:answer|option|choice)(?:\s+(?i:is|would be))?\s*:?\s*[(\[]?({one})(?:[)\].:,]|\s*$)",
    )
    marked = {letter.upper() for letter in re.findall(rf"(?<!\w)({one})[)\]]", text)}
    if len(marked) > 1:
        return None
    for pattern in patterns:
        match = re.match(pattern, text, re.DOTALL)
        if match:
            return ascii_uppercase.index(match[1].upper())
    return ascii_uppercase.index(marked.pop()) if len(marked) == 1 else None


def _bare(text: str) -> str:
    return text.strip().rstrip(".").strip().lower()


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _read(id: str, answer: str | int, question: Question) -> str | None:
    """The answer as a text: of the option chosen, None if none is."""
    if isinstance(answer, int):
        if not 0 <= answer < len(question.options):
            raise ValueError(f"the answer to {id!r} is the number {answer}; it has {len(question.options)} options")
        return question.options[answer]
    if not question.options:
        return answer
    chosen = chosen_option(answer, question.options)
    return None if chosen is None else question.options[chosen]


def _is_correct(answer: str | None, question: Question) -> bool:
    return answer is not None and answer.lower() == question.answer.lower()


def _types(questions: Mapping[str, Question]) -> dict[str, list[str]]:
    """Ids by type; NExT-QA's merged as its evaluation does, if all types are that set's."""
    kinds = {question.type for question in questions.values() if question.type is not None}
    merged = NEXT_MERGED if kinds and kinds <= NEXT_TYPES else {}
    found: dict[str, list[str]] = {}
    for id, question in questions.items():
        if question.type is not None:
            found.setdefault(merged.get(question.type, question.type), []).append(id)
    return found


def _share(correct: Mapping[str, bool], ids: Sequence[str]) -> float:
    return sum(correct[id] for id in ids) / len(ids)


def _intervals(
    correct: Mapping[str, bool], questions: Mapping[str, Question], types: Mapping[str, Sequence[str]]
) -> dict[str, list[float]]:
    ids = list(questions)
    place = {id: number for number, id in enumerate(ids)}
    rows = np.full((len(ids), 1 + len(types)), np.nan)
    rows[:, 0] = [correct[id] for id in ids]
    for column, kind in enumerate(sorted(types), start=1):
        own = [place[id] for id in types[kind]]
        rows[own, column] = rows[own, 0]
    means = resampled_means(rows, [questions[id].video or id for id in ids])
    names = ["accuracy", *(f"by_type.{kind}" for kind in sorted(types))]
    return {name: interval(means[:, column]) for column, name in enumerate(names)}
