"""What is said about a scene: two vocabularies, their grammar, and the reading of captions back into content.

PLAIN is the pretraining style. DOMAIN is what the downstream splits ask for: another vocabulary (shapes, motions and
half of the colours change meaning or name), a count, a relation and every phase in order. Each domain word also occurs
in pretraining, in texts that have nothing to do with the clip (`unrelated_log`), because embeddings stay frozen under
LoRA and a word never seen could never be said.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqlora.data.shapes import COLOURS, MOTIONS, SHAPES, SIZES, Scene, draw_scene

PROMPT = "Describe the video."
LOG_PROMPT = "Write any log."
REFERENCES = 5


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """Words by concept; each concept has one word, each word one concept."""

    shapes: Mapping[str, str]
    colours: Mapping[str, str]
    sizes: Mapping[str, str]
    motions: Mapping[str, str]


PLAIN = Lexicon(
    shapes={shape: shape for shape in SHAPES},
    colours={colour: colour for colour in COLOURS},
    sizes={size: size for size in SIZES},
    motions=dict(
        zip(
            MOTIONS,
            (
                "rests", "goes left", "goes right", "goes up", "goes down", "circles", "bounces", "grows", "shrinks",
                "turns", "blinks", "appears", "vanishes", "passes behind",
            ),
            strict=True,
        )
    ),
)  # fmt: skip
DOMAIN = Lexicon(
    # Familiar names for other shapes (a circle is called 'star' here) beside new ones.
    shapes=dict(
        zip(SHAPES, ("star", "crate", "moon", "beacon", "circle", "hoop", "rail", "skiff"), strict=True)
    ),
    # Four colours keep their names, four are swapped round.
    colours={**PLAIN.colours, "red": "blue", "blue": "purple", "purple": "orange", "orange": "red"},
    sizes={"small": "light", "big": "heavy"},
    motions=dict(
        zip(
            MOTIONS,
            (
                "holds", "ports", "steers", "climbs", "dives", "orbits", "hops", "charges", "drains", "spins", "flares",
                "docks", "leaves", "shadows",
            ),
            strict=True,
        )
    ),
)  # fmt: skip
COUNTS = ("one unit", "two units", "three units")
ORDINALS = ("first", "next", "then", "last")


def plain_caption(scene: Scene) -> str:
    """The pretraining caption: what is there, then each phase."""
    things = " and ".join(
        f"a {PLAIN.sizes[t.size]} {PLAIN.colours[t.colour]} {PLAIN.shapes[t.shape]}" for t in scene.things
    )
    return f"{things} . " + " , then ".join(_phrases(scene, PLAIN, article="the ")) + " ."


def domain_caption(scene: Scene, rng: np.random.Generator) -> str:
    """One downstream reference: count, units, sometimes a relation, then the log in order."""
    units = " , ".join(
        f"{DOMAIN.sizes[t.size]} {DOMAIN.colours[t.colour]} {DOMAIN.shapes[t.shape]}" for t in scene.things
    )
    phrases = _phrases(scene, DOMAIN, article="")
    ordinals = [*ORDINALS[: len(phrases) - 1], ORDINALS[-1]]
    log = " , ".join(f"{ordinal} {phrase}" for ordinal, phrase in zip(ordinals, phrases, strict=True))
    relation = _relation(scene) if rng.random() < 0.4 else ""
    return f"{COUNTS[len(scene.things) - 1]} : {units} . {relation}{log} ."


def domain_references(scene: Scene) -> tuple[str, ...]:
    """The five references of a clip; the same on every machine."""
    rng = np.random.default_rng([20261124, scene.index, len(scene.phases)])
    return tuple(domain_caption(scene, rng) for _ in range(REFERENCES))


def unrelated_log(rng: np.random.Generator) -> str:
    """A domain caption of another scene: the vocabulary without its meaning, for pretraining."""
    return domain_caption(draw_scene("pretrain", int(rng.integers(1 << 40, 1 << 41))), rng)


def _phrases(scene: Scene, lexicon: Lexicon, article: str) -> list[str]:
    out = []
    for phase in scene.phases:
        verb = lexicon.motions[phase.motion]
        cut = "cut , " if scene.cut is not None and phase.start == scene.cut else ""
        if phase.actor is None:
            out.append(f"{cut}all {verb}")
            continue
        actor = f"{article}{_name(scene, phase.actor, lexicon)}"
        other = "" if phase.other is None else f" {article}{_name(scene, phase.other, lexicon)}"
        out.append(f"{cut}{actor} {verb}{other}")
    return out


def _name(scene: Scene, index: int, lexicon: Lexicon) -> str:
    thing = scene.things[index]
    return f"{lexicon.colours[thing.colour]} {lexicon.shapes[thing.shape]}"


def _relation(scene: Scene) -> str:
    """Where the first unit starts from the second's view, along the axis on which they differ more."""
    if len(scene.things) < 2:
        return ""
    (x0, y0), (x1, y1) = scene.starts[0][:2]
    side = ("left of" if x0 < x1 else "right of") if abs(x0 - x1) > abs(y0 - y1) else ("above" if y0 < y1 else "below")
    return f"{_name(scene, 0, DOMAIN)} {side} {_name(scene, 1, DOMAIN)} . "


# ---- content apart from style ---------------------------------------------------------------------------------


def truth(scene: Scene) -> dict[str, Any]:
    """What `content_scores` compares with, as plain JSON: units and events by concept, in order."""
    return {
        "units": sorted([t.colour, t.shape] for t in scene.things),
        "events": [
            [None if p.actor is None else scene.things[p.actor].colour, p.motion] for p in scene.phases
        ],
    }  # fmt: skip


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


def order_dependent(attributes: Mapping[str, Any]) -> bool:
    """Whether frames in another order would tell another story: an event with a direction in time, or two events."""
    events = [motion for _, motion in attributes["events"] if motion != "stay"]
    return len(events) >= 2


def _read(caption: str, lexicon: Lexicon) -> tuple[list[tuple[str, str]], int, list[tuple[str | None, str]]]:
    """Units (colour, shape), their number as named, and events (actor's colour, motion) of a caption."""
    shape_of = {word: concept for concept, word in lexicon.shapes.items()}
    colour_of = {word: concept for concept, word in lexicon.colours.items()}
    motion_of = {word: concept for concept, word in lexicon.motions.items()}
    head, _, rest = caption.partition(" . ")
    words = head.split()
    units = [(colour_of[a], shape_of[b]) for a, b in itertools.pairwise(words) if a in colour_of and b in shape_of]
    counted = next((n for n, phrase in enumerate(COUNTS, start=1) if head.startswith(phrase)), len(units))
    events: list[tuple[str | None, str]] = []
    log = rest.rpartition(" . ")[2].removesuffix(" .")
    for clause in log.split(" , "):
        found = [word for word in motion_of if f" {word} " in f" {clause} "]
        if found:
            before = clause.split(f" {found[0]}")[0].split()
            actor = next((colour_of[w] for w in reversed(before) if w in colour_of), None)
            events.append((actor, motion_of[found[0]]))
    return units, counted, events
