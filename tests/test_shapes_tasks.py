"""What is said and asked about scenes: two vocabularies in two languages, questions, tasks."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest

from vqlora.data.shapes import draw_scene
from vqlora.data.shapes_kinds import GROUPS, HEARD, KINDS, SEEN
from vqlora.data.shapes_questions import OPTIONS, ask, questions
from vqlora.data.shapes_tasks import TASKS, conversation, unrelated
from vqlora.data.shapes_text import (
    caption,
    content_scores,
    domain_references,
    events_of,
    events_with_times,
    paragraph,
    sound_caption,
    timed_events,
    truth,
)
from vqlora.data.shapes_words import DOMAINS, PLAIN, PLAINS
from vqlora.models.probe import answer_score
from vqlora.tasks import parse_events

LEXICONS = [*PLAINS.values(), *DOMAINS.values()]
SCENES = [draw_scene("train", index) for index in range(150)] + [draw_scene("val", i, long=True) for i in range(30)]


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.mark.parametrize("lexicon", LEXICONS, ids=lambda lexicon: f"{lexicon.style}-{lexicon.language}")
def test_captions_carry_the_whole_content(lexicon) -> None:
    generator = rng()
    for scene in SCENES:
        assert content_scores(caption(scene, lexicon, generator), truth(scene), lexicon)["exact"] == 1
    words = [*lexicon.shapes.values(), *lexicon.colours.values(), *lexicon.motions.values()]
    assert len(set(words)) == len(words)


def test_references_are_the_same_whenever_asked_for_and_their_longer_lists_begin_with_the_shorter() -> None:
    for scene in SCENES[:20]:
        for language in DOMAINS:
            assert domain_references(scene, language, 10)[:5] == domain_references(scene, language)


@pytest.mark.parametrize("lexicon", LEXICONS, ids=lambda lexicon: f"{lexicon.style}-{lexicon.language}")
def test_events_are_read_back_with_and_without_their_times(lexicon) -> None:
    for scene in SCENES:
        events = [(float(f"{a:.1f}"), float(f"{b:.1f}"), text) for a, b, text in events_with_times(scene, lexicon)]
        told = parse_events(timed_events(scene, lexicon))
        assert [(event.start_seconds, event.end_seconds, event.sentence) for event in told] == events
        assert events_of(paragraph(scene, lexicon), lexicon) == [tuple(e) for e in truth(scene)["events"]]


def test_what_is_heard_is_told_in_its_order() -> None:
    scene = next(s for s in SCENES if [x.kind for x in s.sounds if x.kind != "tone"] == ["knock", "chime"])
    told = sound_caption(scene, PLAIN)
    assert told.index("knock") < told.index("chime") and "tone" not in told


def test_every_kind_is_asked_and_has_its_answer_among_different_options() -> None:
    generator, asked, with_five = rng(), Counter(), set()
    for scene in SCENES:
        for lexicon in LEXICONS:
            for question in [*questions(scene, lexicon, generator), *questions(scene, lexicon, generator, heard=True)]:
                asked[question.kind] += 1
                assert question.options.count(question.answer) == 1 == question.options.count(question.options[0])
                assert 2 <= len(question.options) <= OPTIONS and "{" not in question.text
                assert question.chosen == f"{'ABCDE'[question.options.index(question.answer)]}. {question.answer}"
                with_five |= {question.facts.group} if len(question.options) == OPTIONS else set()
    assert set(asked) == set(KINDS)
    assert with_five >= set(GROUPS)  # so NExT-QA's form has questions of all its types
    assert {kind.group for kind in SEEN.values()} == {*GROUPS, None}
    assert {kind.needs for kind in HEARD.values()} == {"audio"}


def test_no_question_gives_its_answer_away() -> None:
    """The most frequent answer to the same words is seldom right, but for counts and yes or no."""
    generator, answers = rng(), defaultdict(Counter)
    for index in range(1200):
        scene = draw_scene("test", index)
        for kind in KINDS:
            question = ask(kind, scene, PLAIN, generator)
            if question is not None:
                answers[kind][question.answer] += 1
    for kind, found in answers.items():
        assert found.most_common(1)[0][1] / found.total() < 0.68, (kind, found.most_common(2))


def test_questions_about_sound_change_their_answers_with_the_sound_alone() -> None:
    """Two scenes that look alike and sound different: some question that needs the sound tells them apart."""
    from dataclasses import replace

    generator = rng()
    scene = next(s for s in SCENES if any(x.kind == "buzz" for x in s.sounds) and len(s.things) > 1)
    silent = replace(scene, sounds=tuple(x for x in scene.sounds if x.kind == "tone"))
    heard = {question.kind for question in questions(scene, PLAIN, generator, heard=True)}
    assert {q.kind for q in questions(silent, PLAIN, generator, heard=True)} < heard
    seen = [[(q.text, q.answer) for q in questions(s, PLAIN, rng())] for s in (scene, silent)]
    assert seen[0] == seen[1]


def test_a_right_answer_is_right_and_another_scene_s_is_not() -> None:
    for task in TASKS:
        own, other = [], []
        for scene, next_one in itertools.pairwise(SCENES[:60]):
            generator = rng()
            talk, foreign = (conversation(task, s, generator) for s in (scene, next_one))
            own.append(answer_score(task, talk[-1].text, talk, scene))
            other.append(answer_score(task, foreign[-1].text, talk, scene))
        assert np.mean(own) > (0.95 if task in ("dense", "moment") else 0.999), task
        assert np.mean(other) < 0.5, task


def test_a_second_turn_asks_about_what_the_first_one_named() -> None:
    for scene in SCENES:
        first, _, second, _ = conversation("turns", scene, rng())
        assert second.text.startswith("And ") and " it " in second.text
        assert any(word in first.text for word in (*PLAIN.shapes.values(), *PLAIN.colours.values()))


def test_unrelated_texts_hold_every_domain_word() -> None:
    generator = rng()
    said = " ".join(unrelated(generator)[-1].text for _ in range(1500))
    for lexicon in DOMAINS.values():
        for words in (lexicon.shapes, lexicon.colours, lexicon.sizes, lexicon.motions):
            for word in words.values():
                assert word in said, word
