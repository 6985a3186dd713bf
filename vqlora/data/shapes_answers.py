"""What answers each kind of question about a scene, and what else might have: one rule a kind.

A rule returns None where the scene gives no ground for its question: nothing to ask about, or more than one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from vqlora.data.shapes import CHANGES, MARGIN, MOTIONS, NOISES, SHAPES, SIDE, WAYS, Phase, Scene, Sound
from vqlora.data.shapes_text import clause, name, predicate, side_of
from vqlora.data.shapes_words import Lexicon

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a rule finds: the words for the template's places, the answer, what else it might be, nearest first."""

    slots: Mapping[str, str]
    answer: str
    others: Sequence[str]


@dataclass(frozen=True)
class View:
    """A scene in the words of a lexicon; thing: whom the question is about."""

    scene: Scene
    lexicon: Lexicon
    rng: np.random.Generator
    thing: int

    @property
    def events(self) -> list[Phase]:
        return [phase for phase in self.scene.phases if phase.actor is not None]

    def own(self, motions: Sequence[str] | None = None) -> Phase | None:
        """The thing's only event (of these motions), if it has exactly one."""
        found = [p for p in self.events if p.actor == self.thing and (motions is None or p.motion in motions)]
        return found[0] if len(found) == 1 else None

    def some_event(self, first: int, last: int) -> int | None:
        """The place of an event among events[first:last], at random, that no other one is told like."""
        told = [self.clause(phase) for phase in self.events]
        return self.one_of([i for i in range(len(told))[first:last] if told.count(told[i]) == 1])

    def noise(self) -> Sound | None:
        """A noise of a kind that comes exactly once, at random."""
        kinds = [sound.kind for sound in self.scene.sounds]
        return self.one_of([s for s in self.scene.sounds if s.kind in NOISES and kinds.count(s.kind) == 1])

    def one_of(self, found: Sequence[T]) -> T | None:
        return found[int(self.rng.integers(len(found)))] if found else None

    def name(self, index: int) -> str:
        return name(self.scene, index, self.lexicon)

    def clause(self, phase: Phase) -> str:
        return clause(self.scene, phase, self.lexicon)

    def shuffled(self, words: Sequence[str]) -> list[str]:
        return [words[int(i)] for i in self.rng.permutation(len(words))]

    def named(self, shape: str, colour: str) -> str:
        words = (self.lexicon.colours[colour], self.lexicon.shapes[shape])
        return " ".join(words) if self.lexicon.language == "en" else "".join(words)

    # ---- answers -------------------------------------------------------------------------------------------------

    def told(self, answer: str, others: Sequence[str], **slots: str) -> Told:
        return Told(slots=slots, answer=answer, others=others)

    def either(self, holds: bool, **slots: str) -> Told:
        return self.told(self.lexicon.no_yes[holds], self.lexicon.no_yes, **slots)

    def number(self, count: int, **slots: str) -> Told | None:
        words = self.lexicon.numbers
        if count >= len(words):
            return None
        return self.told(words[count], sorted(words, key=lambda word: abs(words.index(word) - count)), **slots)

    def place(self, thing: int, **slots: str) -> Told:
        x, y = (int(3 * (part - MARGIN) / (SIDE - 2 * MARGIN)) for part in self.scene.starts[0][thing])
        return self.told(self.lexicon.places[3 * y + x], self.shuffled(self.lexicon.places), **slots)

    def actor(self, phase: Phase, **slots: str) -> Told | None:
        """Who acts, where more than one might; then things that are not there."""
        if len(self.scene.things) < 2 or phase.actor is None:
            return None
        thing = self.scene.things[phase.actor]
        there = [self.name(index) for index in range(len(self.scene.things))]
        absent = [self.named(shape, thing.colour) for shape in SHAPES]
        return self.told(self.name(phase.actor), [*there, *self.shuffled(absent)], **slots)

    def event(self, phase: Phase, **slots: str) -> Told:
        """What happens; then the scene's other events, then the same actor's imaginable ones."""
        subject, verb = self.clause(phase), self.lexicon.motions[phase.motion]
        before = subject.partition(verb)[0]
        absent = [before + self.lexicon.motions[motion] for motion in _ALONE]
        there = [told for told in map(self.clause, self.events) if told not in slots.values()]
        return self.told(subject, [*there, *self.shuffled(absent)], **slots)

    def does(self, phase: Phase, motions: Sequence[str], **slots: str) -> Told:
        """What the actor does; then what else it might do, of these motions first."""
        answer, words = predicate(self.scene, phase, self.lexicon), self.lexicon.motions
        others = [motion for motion in _ALONE if motion not in motions]
        near, far = (self.shuffled([words[motion] for motion in some]) for some in (motions, others))
        return self.told(answer, [*near, *far], **slots)


# What a thing does by itself: 'behind' names another, and would stand out among the options.
_ALONE = tuple(motion for motion in MOTIONS if motion not in ("stay", "behind"))

# ---- what can be seen --------------------------------------------------------------------------------------------


def _colour(v: View) -> Told | None:
    thing = v.scene.things[v.thing]
    if [other.shape for other in v.scene.things].count(thing.shape) > 1:
        return None
    words = v.lexicon.colours
    return v.told(words[thing.colour], v.shuffled(list(words.values())), shape=v.lexicon.shapes[thing.shape])


def _shape(v: View) -> Told:
    thing, words = v.scene.things[v.thing], v.lexicon.shapes
    return v.told(words[thing.shape], v.shuffled(list(words.values())), colour=v.lexicon.colours[thing.colour])


def _size(v: View) -> Told:
    words = v.lexicon.sizes
    return v.told(words[v.scene.things[v.thing].size], list(words.values()), name=v.name(v.thing))


def _side(v: View) -> Told | None:
    other = v.one_of([index for index in range(len(v.scene.things)) if index != v.thing])
    if other is None:
        return None
    words, names = v.lexicon.sides, {"name": v.name(v.thing), "other": v.name(other)}
    return v.told(words[side_of(v.scene, v.thing, other)], list(words.values()), **names)


def _motion(v: View) -> Told | None:
    event = v.own()
    return v.does(event, _ALONE, name=v.name(v.thing)) if event and event.motion in _ALONE else None


def _why(v: View) -> Told | None:
    event = v.own(CHANGES)
    return event and v.does(event, CHANGES, name=v.name(v.thing))


def _how(v: View) -> Told | None:
    event = v.own(WAYS)
    return event and v.does(event, WAYS, name=v.name(v.thing))


def _next(v: View) -> Told | None:
    place = v.some_event(0, -1)
    return None if place is None else v.event(v.events[place + 1], event=v.clause(v.events[place]))


def _previous(v: View) -> Told | None:
    place = v.some_event(1, len(v.events))
    return None if place is None else v.event(v.events[place - 1], event=v.clause(v.events[place]))


def _at(v: View) -> Told | None:
    """In the middle of an event of a second or more, so that the answer does not hang on a frame."""
    event = v.one_of([phase for phase in v.events if phase.end - phase.start >= 1])
    return event and v.event(event, time=f"{(event.start + event.end) / 2:.1f}")


def _exists(v: View) -> Told:
    """Half of the things asked for are missing: their shape is another."""
    thing = v.scene.things[v.thing]
    if v.rng.random() < 0.5:
        return v.either(True, name=v.name(v.thing))
    shape = SHAPES[(SHAPES.index(thing.shape) + int(v.rng.integers(1, len(SHAPES)))) % len(SHAPES)]
    return v.either(False, name=v.named(shape, thing.colour))


def _before(v: View) -> Told | None:
    place = v.some_event(0, -1)
    if place is None:
        return None
    told = [v.clause(phase) for phase in v.events]
    later = v.one_of([text for text in told[place + 1 :] if told.count(text) == 1])
    if later is None:
        return None
    if v.rng.random() < 0.5:
        return v.either(True, event=told[place], later=later)
    return v.either(False, event=later, later=told[place])


def _cut(v: View) -> Told | None:
    """Asked of all clips with a cut and as many without."""
    there = v.scene.cut is not None
    return v.either(there) if there or v.rng.random() < 0.18 else None


# ---- what can only be heard --------------------------------------------------------------------------------------


def _heard(v: View) -> Told | None:
    there = [sound.kind for sound in v.scene.sounds if sound.kind in NOISES]
    kind = v.one_of(there if there and v.rng.random() < 0.6 else NOISES)
    return v.number(there.count(kind), sound=v.lexicon.sounds[kind]) if kind else None


def _hear(v: View) -> Told | None:
    """Half of the noises asked for were not there."""
    there = {sound.kind for sound in v.scene.sounds}
    holds = bool(v.rng.random() < 0.5)
    kind = v.one_of([noise for noise in NOISES if (noise in there) == holds])
    return v.either(holds, sound=v.lexicon.sounds[kind]) if kind else None


def _sound_first(v: View) -> Told | None:
    first, words = v.noise(), v.lexicon.sounds
    others = [s for s in v.scene.sounds if s.kind in NOISES and first and s.kind != first.kind]
    other = v.one_of([s for s in others if [o.kind for o in others].count(s.kind) == 1])
    if first is None or other is None or first.start == other.start:
        return None
    answer = first if first.start < other.start else other
    pair = [words[first.kind], words[other.kind]]
    return v.told(words[answer.kind], pair, sound=pair[0], second=pair[1])


def _loud(v: View) -> Told | None:
    noise = v.noise()
    return noise and v.told(v.lexicon.levels[noise.loud], v.lexicon.levels, sound=v.lexicon.sounds[noise.kind])


def _pitch(v: View) -> Told | None:
    event = v.own()
    if event is None:
        return None
    tone = next(s for s in v.scene.sounds if s.motion is not None and s.start == event.start)
    return v.told(v.lexicon.heights[tone.high], v.lexicon.heights, name=v.name(v.thing))


def _with_noise(v: View) -> tuple[Sound | None, Phase | None]:
    """A noise and the event during which it comes."""
    noise = v.noise()
    return noise, next((p for p in v.events if noise and p.start <= noise.start < p.end), None)


def _sound_when(v: View) -> Told | None:
    noise, event = _with_noise(v)
    return v.actor(event, sound=v.lexicon.sounds[noise.kind]) if noise and event else None


def _sound_where(v: View) -> Told | None:
    noise, event = _with_noise(v)
    if noise is None or event is None or event.actor is None or len(v.scene.things) < 2:
        return None
    return v.place(event.actor, sound=v.lexicon.sounds[noise.kind])


def _sound_before(v: View) -> Told | None:
    noise, place = v.noise(), v.some_event(0, len(v.events))
    if noise is None or place is None:
        return None
    event = v.events[place]
    return v.either(noise.start < event.start, sound=v.lexicon.sounds[noise.kind], event=v.clause(event))


def _sound_count(v: View) -> Told | None:
    noise = v.noise()
    return noise and v.number(sum(phase.end <= noise.start for phase in v.events), sound=v.lexicon.sounds[noise.kind])


RULES: dict[str, Callable[[View], Told | None]] = {
    "colour": _colour, "shape": _shape, "size": _size, "side": _side,
    "count": lambda v: v.number(len(v.scene.things)),
    "events": lambda v: v.number(len(v.events)),
    "place": lambda v: v.place(v.thing, name=v.name(v.thing)),
    "first": lambda v: v.actor(v.events[0]),
    "last": lambda v: v.actor(v.events[-1]),
    "motion": _motion, "why": _why, "how": _how, "next": _next, "previous": _previous, "at": _at,
    "exists": _exists, "before": _before, "cut": _cut,
    "heard": _heard, "hear": _hear, "sound_first": _sound_first, "loud": _loud, "pitch": _pitch,
    "sound_when": _sound_when, "sound_where": _sound_where, "sound_before": _sound_before,
    "sound_count": _sound_count,
}  # fmt: skip
