"""The scorers beside the reference implementation itself, pycocoevalcap, on new captions. Needs Java for its tokens.

Skips with the reason where Java is missing; fails instead if VQLORA_REQUIRE_ALL=1.
"""

import importlib.util
import os
import random
import shutil
from types import ModuleType

import pytest

from vqlora.metrics.captions import score_captions
from vqlora.metrics.ptb import tokenize

SEED = 11  # not the seed of the recorded strings


@pytest.fixture(scope="module")
def make() -> ModuleType:
    missing = [] if shutil.which("java") else ["java (apt-get install default-jre-headless)"]
    missing += [] if importlib.util.find_spec("pycocoevalcap") else ["pycocoevalcap (pip install pycocoevalcap==1.2)"]
    if missing and os.environ.get("VQLORA_REQUIRE_ALL") == "1":
        pytest.fail(f"VQLORA_REQUIRE_ALL=1, but this is missing: {missing}")
    if missing:
        pytest.skip(f"this is missing: {missing}")
    from fixtures import make_metrics_reference

    return make_metrics_reference


def test_java_cuts_new_sentences_and_paragraphs_as_we_do(make: ModuleType) -> None:
    rng = random.Random(SEED)
    texts = [make.sentence(rng) for _ in range(1000)] + [make.paragraph(rng) for _ in range(500)]
    assert [tokenize(text) for text in texts] == make.tokenise(texts)


def test_the_reference_scores_new_captions_as_we_do_from_raw_text(make: ModuleType) -> None:
    task = make.captioning(random.Random(SEED), 60)
    theirs, ours = make.score(**task), score_captions(task["predictions"], task["references"])
    assert ours.scores == pytest.approx(theirs["scores"], abs=1e-6)
    for id_, row in theirs["per_example"].items():
        assert ours.per_example[id_] == pytest.approx(row, abs=1e-6)


def test_the_reference_scores_tokenised_words_as_we_do(make: ModuleType) -> None:
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    rng = random.Random(SEED)

    def words() -> str:
        return " ".join(rng.choice("abcdefg") for _ in range(rng.randint(0, 12)))

    references = {str(item): [words() for _ in range(rng.randint(1, 5))] for item in range(200)}
    predictions = {id_: rng.choice([words(), own[0]]) for id_, own in references.items()}
    ours = score_captions(predictions, references, segment="words")
    hypotheses = {id_: [text] for id_, text in predictions.items()}
    for names, scorer in ((["rouge_l"], Rouge()), (["cider"], Cider())):
        value, values = scorer.compute_score(references, hypotheses)
        assert ours.scores[names[0]] == pytest.approx(value, abs=1e-9)
        assert [row[names[0]] for row in ours.per_example.values()] == pytest.approx(list(values), abs=1e-9)
    value, values = Bleu(4).compute_score(references, hypotheses, verbose=0)
    for order in range(4):
        assert ours.scores[f"bleu_{order + 1}"] == pytest.approx(value[order], abs=1e-9)
        assert [row[f"bleu_{order + 1}"] for row in ours.per_example.values()] == pytest.approx(values[order], abs=1e-9)


@pytest.mark.slow
def test_meteor_is_its_own_programs_number(make: ModuleType) -> None:
    from pycocoevalcap.meteor.meteor import Meteor

    from vqlora.metrics.java import end_program, java_scores

    task = make.captioning(random.Random(SEED), 12)
    references = {id_: [tokenize(text) for text in own] for id_, own in task["references"].items()}
    predictions = {id_: tokenize(text) for id_, text in task["predictions"].items()}
    reference = Meteor()
    expected, each = reference.compute_score(references, {id_: [text] for id_, text in predictions.items()})
    end_program(reference)
    score, rows = java_scores(predictions, references, ["METEOR"])["METEOR"]
    assert score == pytest.approx(expected) and rows == pytest.approx(each) and 0 < score < 1
    with pytest.raises(ValueError, match="'BLEURT' is no score of Java's"):
        java_scores(predictions, references, ["BLEURT"])
