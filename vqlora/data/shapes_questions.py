"""Questions about a scene with their answers and options, open and multiple choice, in any lexicon (`shapes_words`).

`shapes_kinds` holds the words and classes of each kind, `shapes_answers` what answers it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vqlora.data.prompts import choice, lettered
from vqlora.data.shapes import Scene
from vqlora.data.shapes_answers import RULES, View
from vqlora.data.shapes_kinds import HEARD, KINDS, SEEN, Kind
from vqlora.data.shapes_text import clause
from vqlora.data.shapes_words import Lexicon

OPTIONS = 5


@dataclass(frozen=True, kw_only=True)
class Question:
    """options: the answer among up to OPTIONS - 1 others in any order; fewer where there are no more."""

    kind: str
    language: str
    text: str
    answer: str
    options: tuple[str, ...]

    @property
    def facts(self) -> Kind:
        return KINDS[self.kind]

    @property
    def choice(self) -> str:
        """The question as multiple choice; `chosen` answers it."""
        return choice(self.text, self.options, self.language)

    @property
    def chosen(self) -> str:
        """The right option with its letter."""
        return lettered(self.options)[self.options.index(self.answer)]


def ask(
    kind: str, scene: Scene, lexicon: Lexicon, rng: np.random.Generator, *, thing: int | None = None
) -> Question | None:
    """A question of this kind, about this thing or any, or None where the scene gives no ground for one."""
    told = RULES[kind](View(scene, lexicon, rng, int(rng.integers(len(scene.things))) if thing is None else thing))
    if told is None:
        return None
    wrong = [other for other in dict.fromkeys(told.others) if other != told.answer]
    options = [told.answer, *wrong[: OPTIONS - 1]]
    return Question(
        kind=kind,
        language=lexicon.language,
        text=KINDS[kind].words[lexicon.language].format(**told.slots),
        answer=told.answer,
        options=tuple(options[i] for i in rng.permutation(len(options))),
    )


def questions(scene: Scene, lexicon: Lexicon, rng: np.random.Generator, *, heard: bool = False) -> list[Question]:
    """One question of every kind that the scene gives ground for; `heard`: those that need its sound instead."""
    found = [ask(kind, scene, lexicon, rng) for kind in (HEARD if heard else SEEN)]
    return [question for question in found if question is not None]


def one_question(scene: Scene, lexicon: Lexicon, rng: np.random.Generator, *, heard: bool = False) -> Question:
    """A question of a kind at random; every scene gives ground for some."""
    kinds = list(HEARD if heard else SEEN)
    asked = (ask(kinds[i], scene, lexicon, rng) for i in rng.permutation(len(kinds)))
    return next(question for question in asked if question is not None)


def moment(scene: Scene, lexicon: Lexicon, rng: np.random.Generator) -> tuple[str, float, float]:
    """A query in English about an event, and from when to when it is, in seconds; of events told alike the first."""
    told = [(clause(scene, phase, lexicon), phase) for phase in scene.phases if phase.actor is not None]
    event = told[int(rng.integers(len(told)))][0]
    first = next(phase for text, phase in told if text == event)
    return f"When is it first so that the {event} ?", first.start, first.end
