"""What is said about a scene: captions, paragraphs, events with times, sounds; and captions read back into content.

A plain caption tells what is there, then each event. A log, which the downstream splits ask for in their own vocabulary
(`shapes_words`), tells a count, the units, sometimes a relation, and every phase in order.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from vqlora.data.prompts import event_lines
from vqlora.data.shapes import SPLITS, TRANSIENT, Phase, Scene
from vqlora.data.shapes_words import DOMAIN, DOMAINS, PLAIN, Lexicon

REFERENCES = 5
ORDINALS = {"en": ("first", "next", "then", "last"), "zh": ("先", "接着", "再", "最后")}


def caption(scene: Scene, lexicon: Lexicon, rng: np.random.Generator) -> str:
    """One caption in the lexicon's language and style; a log's relation is told in 40 % of them."""
    if lexicon.style == "plain":
        return _plain(scene, lexicon)
    return _log(scene, lexicon, relation=rng.random() < 0.4)


def plain_caption(scene: Scene) -> str:
    """The pretraining caption in English."""
    return _plain(scene, PLAIN)


def domain_references(scene: Scene, language: str = "en", count: int = REFERENCES) -> tuple[str, ...]:
    """Downstream references of a clip; the same on every machine, and in both languages about the same."""
    rng = np.random.default_rng([20261124, SPLITS[scene.split], scene.index, int(scene.long)])
    return tuple(caption(scene, DOMAINS[language], rng) for _ in range(count))


def name(scene: Scene, index: int, lexicon: Lexicon, article: str = "") -> str:
    """Colour and shape of a thing."""
    thing = scene.things[index]
    words = (lexicon.colours[thing.colour], lexicon.shapes[thing.shape])
    return article + (" ".join(words) if lexicon.language == "en" else "".join(words))


def predicate(scene: Scene, phase: Phase, lexicon: Lexicon, article: str = "") -> str:
    """What the actor of a phase does."""
    verb = lexicon.motions[phase.motion]
    if phase.other is None:
        return verb
    other = name(scene, phase.other, lexicon, article)
    return f"{verb} {other}" if lexicon.language == "en" else f"{verb}{other}后面"


def clause(scene: Scene, phase: Phase, lexicon: Lexicon, article: str = "") -> str:
    """One event: who does what, or that all rest."""
    english = lexicon.language == "en"
    subject = ("all" if english else "全部") if phase.actor is None else name(scene, phase.actor, lexicon, article)
    return subject + (" " if english else "") + predicate(scene, phase, lexicon, article)


def events_with_times(scene: Scene, lexicon: Lexicon) -> list[tuple[float, float, str]]:
    """(start, end, sentence) of each event, seconds: what dense captioning is asked for."""
    stop = " ." if lexicon.language == "en" else "。"
    return [(p.start, p.end, clause(scene, p, lexicon, _article(lexicon)) + stop) for p in scene.phases]


def timed_events(scene: Scene, lexicon: Lexicon) -> str:
    """All events with their times, as a model is to write them."""
    return event_lines(events_with_times(scene, lexicon), lexicon.language)


def paragraph(scene: Scene, lexicon: Lexicon) -> str:
    """A sentence for each event, in order."""
    space = " " if lexicon.language == "en" else ""
    return space.join(sentence for _, _, sentence in events_with_times(scene, lexicon))


def sound_caption(scene: Scene, lexicon: Lexicon) -> str:
    """The noises and clicks in their order; none of them can be seen."""
    heard = [(lexicon.levels[s.loud], lexicon.sounds[s.kind]) for s in scene.sounds if s.kind != "tone"]
    if lexicon.language == "en":
        return " , then ".join(f"a {level} {sound}" for level, sound in heard or [("silent", "scene")]) + " ."
    return "，然后".join(f"{level}的{sound}" for level, sound in heard or [("安静", "场面")]) + "。"


def _article(lexicon: Lexicon) -> str:
    return "the " if lexicon is PLAIN else ""


def _phrases(scene: Scene, lexicon: Lexicon) -> list[str]:
    cut = "cut , " if lexicon.language == "en" else "切换，"
    return [
        (cut if phase.start == scene.cut else "") + clause(scene, phase, lexicon, _article(lexicon))
        for phase in scene.phases
    ]


def _plain(scene: Scene, lexicon: Lexicon) -> str:
    sized = [(lexicon.sizes[t.size], name(scene, i, lexicon)) for i, t in enumerate(scene.things)]
    if lexicon.language == "en":
        things = " and ".join(f"a {size} {what}" for size, what in sized)
        return f"{things} . " + " , then ".join(_phrases(scene, lexicon)) + " ."
    things = "和".join(f"一个{size}的{what}" for size, what in sized)
    return f"{things}。" + "，然后".join(_phrases(scene, lexicon)) + "。"


def _log(scene: Scene, lexicon: Lexicon, relation: bool) -> str:
    """A log in order. Ordinals: first, then those of the middle by turns, last."""
    english, phrases = lexicon.language == "en", _phrases(scene, lexicon)
    first, *middle, last = ORDINALS[lexicon.language]
    order = [first, *itertools.islice(itertools.cycle(middle), len(phrases) - 2), last][-len(phrases) :]
    space, comma, stop, colon = (" ", " , ", " . ", " : ") if english else ("", "，", "。", "：")
    sized = [(lexicon.sizes[t.size], name(scene, i, lexicon)) for i, t in enumerate(scene.things)]
    units = comma.join(space.join(pair) for pair in sized)
    told = _relation(scene, lexicon) + stop if relation and len(scene.things) > 1 else ""
    log = comma.join(space.join(pair) for pair in zip(order, phrases, strict=True))
    return f"{lexicon.units[len(scene.things) - 1]}{colon}{units}{stop}{told}{log}{stop}".strip()


def side_of(scene: Scene, one: int, other: int) -> str:
    """Where one thing starts from the other's view, along the axis on which they differ more."""
    (x0, y0), (x1, y1) = scene.starts[0][one], scene.starts[0][other]
    return ("left" if x0 < x1 else "right") if abs(x0 - x1) > abs(y0 - y1) else ("above" if y0 < y1 else "below")


def _relation(scene: Scene, lexicon: Lexicon) -> str:
    side, one, other = lexicon.sides[side_of(scene, 0, 1)], name(scene, 0, lexicon), name(scene, 1, lexicon)
    return f"{one} {side} {other}" if lexicon.language == "en" else f"{one}在{other}{side}"


# ---- content apart from style ---------------------------------------------------------------------------------


def truth(scene: Scene) -> dict[str, Any]:
    """What `content_scores` compares with, as plain JSON, and the strata that the clip is in.

    units and events by concept, in order. strata: entropy ('low', 'middle', 'high', or 'mixed' where a cut changes it),
    cut, brief (8 uniform frames may miss an event), order and motion (see `order_dependent`, `motion_dependent`), noise
    (something can only be heard).
    """
    events = [[None if p.actor is None else scene.things[p.actor].colour, p.motion] for p in scene.phases]
    levels = {drop.entropy for drop in scene.backdrops}
    strata = {
        "entropy": levels.pop() if len(levels) == 1 else "mixed",
        "cut": scene.cut is not None,
        "brief": any(p.actor is not None and p.end - p.start < scene.seconds / 8 for p in scene.phases),
        "order": order_dependent({"events": events}),
        "motion": motion_dependent({"events": events}),
        "noise": any(sound.motion is None and sound.kind != "click" for sound in scene.sounds),
    }
    return {"units": sorted([t.colour, t.shape] for t in scene.things), "events": events, "strata": strata}


def order_dependent(attributes: Mapping[str, Any]) -> bool:
    """Whether frames in another order would tell another story: at least two events."""
    return sum(motion != "stay" for _, motion in attributes["events"]) >= 2


def motion_dependent(attributes: Mapping[str, Any]) -> bool:
    """Whether an event happens that leaves things as they were, so that only frames from within it tell it."""
    return any(motion in TRANSIENT for _, motion in attributes["events"])


def content_scores(caption: str, attributes: Mapping[str, Any], lexicon: Lexicon = DOMAIN) -> dict[str, float]:
    """Content of a caption against a scene's truth, apart from style; 1 = right, 0 = wrong.

    shape, colour: the units' shapes and colours as sets with repetition; count: the number named (the units listed,
    where the style names none); order: all events, each with its actor, in order; event: share of places in the order
    with the right event; exact: all of them.
    """
    units, counted, events = _read(caption, lexicon)
    wanted, happened = [tuple(u) for u in attributes["units"]], [tuple(e) for e in attributes["events"]]
    right = sum(a == b for a, b in zip(events, happened, strict=False))
    scores = {
        "shape": float(sorted(s for _, s in units) == sorted(s for _, s in wanted)),
        "colour": float(sorted(c for c, _ in units) == sorted(c for c, _ in wanted)),
        "count": float(counted == len(wanted)),
        "order": float(events == happened),
        "event": right / max(len(events), len(happened)),
    }
    exact = sorted(units) == sorted(wanted) and bool(scores["count"]) and bool(scores["order"])
    return {**scores, "exact": float(exact)}


def events_of(text: str, lexicon: Lexicon) -> list[tuple[str | None, str]]:
    """Events (actor's colour, motion) that a text tells, in order; a clause or sentence tells one at most."""
    colour_of = {word: concept for concept, word in lexicon.colours.items()}
    motion_of = {word: concept for concept, word in lexicon.motions.items()}
    events: list[tuple[str | None, str]] = []
    for part in re.split(" [,.] ", _spaced(text, lexicon)):
        found = [word for word in motion_of if f" {word} " in f" {part} "]
        if found:
            before = part.split(f" {found[0]}")[0].split()
            events.append((next((colour_of[w] for w in reversed(before) if w in colour_of), None), motion_of[found[0]]))
    return events


def _read(caption: str, lexicon: Lexicon) -> tuple[list[tuple[str, str]], int, list[tuple[str | None, str]]]:
    """Units (colour, shape), their number as named, and events of a caption."""
    shape_of = {word: concept for concept, word in lexicon.shapes.items()}
    colour_of = {word: concept for concept, word in lexicon.colours.items()}
    head, _, rest = _spaced(caption, lexicon).partition(" . ")
    words = head.split()
    units = [(colour_of[a], shape_of[b]) for a, b in itertools.pairwise(words) if a in colour_of and b in shape_of]
    counted = next((n for n, phrase in enumerate(lexicon.units, start=1) if head.startswith(phrase)), len(units))
    return units, counted, events_of(rest.rpartition(" . ")[2].removesuffix(" ."), lexicon)


def _spaced(text: str, lexicon: Lexicon) -> str:
    """A Chinese text with its words and stops set apart as English ones are; English as it is."""
    if lexicon.language == "en":
        return text
    for mark, plain in (("，", " , "), ("。", " . "), ("：", " : ")):
        text = text.replace(mark, plain)
    words = {*lexicon.shapes.values(), *lexicon.colours.values(), *lexicon.motions.values()}
    return " ".join(re.sub("|".join(sorted(words, key=len, reverse=True)), lambda word: f" {word[0]} ", text).split())
