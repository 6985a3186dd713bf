"""Caption scores: equal to the recorded reference, additive where they must be, and clear about bad input."""

import gzip
import json
import math
import random
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from vqlora.metrics.bleu import bleu, pool
from vqlora.metrics.captions import freeze_document_frequencies, score_captions
from vqlora.metrics.cider import DocumentFrequencies
from vqlora.metrics.rouge import rouge_l

REFERENCE = json.loads(gzip.decompress((Path(__file__).parent / "fixtures" / "metrics_reference.json.gz").read_bytes()))
PREDICTIONS: dict[str, str] = REFERENCE["predictions"]
REFERENCES: dict[str, list[str]] = REFERENCE["references"]
NAMES = {"cider", "rouge_l", "bleu_1", "bleu_2", "bleu_3", "bleu_4"}


def test_corpus_and_examples_score_as_the_recorded_reference_from_raw_text() -> None:
    ours = score_captions(PREDICTIONS, REFERENCES)
    assert set(ours.scores) == NAMES
    assert ours.scores == pytest.approx(REFERENCE["scores"], abs=1e-6)
    assert list(ours.per_example) == list(REFERENCES)
    for id_, row in REFERENCE["per_example"].items():
        assert ours.per_example[id_] == pytest.approx(row, abs=1e-6)


def test_a_resample_of_the_bleu_counts_scores_as_the_resampled_corpus() -> None:
    whole = score_captions(PREDICTIONS, REFERENCES)
    drawn = random.Random(0).choices(list(REFERENCES), k=50)
    again = score_captions(
        {str(n): PREDICTIONS[id_] for n, id_ in enumerate(drawn)},
        {str(n): REFERENCES[id_] for n, id_ in enumerate(drawn)},
    )
    counts = bleu(pool(whole.bleu[id_] for id_ in drawn))
    assert counts == tuple(again.scores[f"bleu_{order}"] for order in range(1, 5))
    assert json.loads(json.dumps(asdict(whole.bleu["clip0"]))).keys() == {"hyp_len", "ref_len", "match", "total"}


def test_frozen_document_frequencies_make_an_example_score_the_same_in_every_subset() -> None:
    frozen = freeze_document_frequencies(REFERENCES.values())
    corpus, fixed = score_captions(PREDICTIONS, REFERENCES), score_captions(PREDICTIONS, REFERENCES, frozen)
    assert fixed.per_example == corpus.per_example
    assert (corpus.document_frequencies, fixed.document_frequencies) == ("corpus", "frozen")
    some = list(REFERENCES)[::7]
    subset = score_captions({id_: PREDICTIONS[id_] for id_ in some}, {id_: REFERENCES[id_] for id_ in some}, frozen)
    for id_ in some:
        assert subset.per_example[id_] == pytest.approx(fixed.per_example[id_], abs=1e-12)


def test_a_copied_reference_is_perfect_and_scores_stay_in_their_scales() -> None:
    copies = score_captions(
        {id_: own[0] for id_, own in REFERENCES.items()}, {i: [r[0]] for i, r in REFERENCES.items()}
    )
    assert copies.scores["bleu_4"] == pytest.approx(1, abs=1e-6)
    assert copies.scores["rouge_l"] == pytest.approx(1)
    assert max(row["cider"] for row in copies.per_example.values()) == pytest.approx(10)
    for row in score_captions(PREDICTIONS, REFERENCES).per_example.values():
        assert 0 <= row["cider"] <= 10 + 1e-9
        assert all(0 <= value <= 1 for name, value in row.items() if name != "cider")


def test_an_empty_prediction_scores_zero_and_is_counted() -> None:
    ours = score_captions({"a": "", "b": "?!.", "c": ". ,"}, {id_: ["a man runs"] for id_ in "abc"})
    assert ours.empty_predictions == 2  # `?!.` keeps the token `?!`
    for row in ours.per_example.values():
        assert all(value == pytest.approx(0, abs=1e-9) for value in row.values())
    silent = score_captions({"a": ""}, {"a": [""]})
    assert silent.scores["rouge_l"] == 1  # one empty word matches one empty word, as in the reference
    assert silent.empty_references == 1
    assert not any(math.isnan(value) for value in silent.scores.values())


def test_one_example_has_no_cider_with_corpus_frequencies_but_has_one_with_frozen_ones() -> None:
    one = {"clip3": REFERENCES["clip3"]}
    same = {"clip3": REFERENCES["clip3"][0]}
    assert score_captions(same, one).scores["cider"] == 0
    frozen = freeze_document_frequencies(REFERENCES.values())
    assert score_captions(same, one, frozen).scores["cider"] > 1


def test_ids_that_differ_are_refused_and_counted_if_admitted() -> None:
    predictions = {"a": "a man runs", "stranger": "hello"}
    references = {"a": ["a man runs"], "b": ["a dog sits"]}
    with pytest.raises(ValueError, match=r"1 without prediction \('b',\), 1 without references \('stranger',\)"):
        score_captions(predictions, references)
    ours = score_captions(predictions, references, allow_mismatch=True)
    assert (ours.missing, ours.unknown) == (("b",), ("stranger",))
    assert list(ours.per_example) == ["a", "b"]
    assert ours.scores["rouge_l"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ({}, {}, "there are no references"),
        ({"a": float("nan")}, {"a": ["x"]}, r"the prediction of 'a' is nan \(float\)"),
        ({"a": None}, {"a": ["x"]}, "the prediction of 'a' is None"),
        ({"a": "x"}, {"a": []}, "'a' has no references"),
        ({"a": "x"}, {"a": "x"}, "the references of 'a' are one string"),
        ({"a": "x"}, {"a": ["x", 3]}, "a reference of 'a' is 3"),
    ],
)
def test_bad_input_is_named(predictions: dict, references: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score_captions(predictions, references)


def test_document_frequencies_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="num_documents is 0"):
        DocumentFrequencies(num_documents=0, counts={})


def test_chinese_needs_a_named_segmentation_and_characters_ignore_white_space() -> None:
    references = {"a": ["一个男人在骑马", "男人 骑马。"], "b": ["两只狗在跑"]}
    predictions = {"a": "一个 男人在骑 马", "b": "一只猫"}
    characters = score_captions(predictions, references, segment="char")
    assert characters.segment == "char"
    assert characters.per_example["a"]["bleu_4"] == pytest.approx(1, abs=1e-6)
    assert score_captions(predictions, references).per_example["a"]["bleu_1"] < 1
    with pytest.raises(ValueError, match=r"segment 'chars' is unknown; use one of \('ptb', 'char', 'jieba', 'words'\)"):
        score_captions(predictions, references, segment="chars")


def test_rouge_takes_best_precision_and_best_recall_from_different_references() -> None:
    precision, recall = 1.0, 1.0  # all our words are in the first, all words of the second are in ours
    assert rouge_l("a b c", ["a b c d e f", "b"]) == pytest.approx(
        (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    )
    assert rouge_l("a b c", ["x", "y"]) == 0


def test_a_benchmark_of_msrvtt_size_takes_seconds() -> None:
    rng = random.Random(3)
    words = ["".join(rng.choices("abcdefgh", k=rng.randint(2, 7))) for _ in range(2000)]
    references = {
        str(n): [" ".join(rng.choices(words, k=rng.randint(5, 14))) + "." for _ in range(20)] for n in range(2990)
    }
    started = time.perf_counter()
    score_captions({id_: own[0] for id_, own in references.items()}, references)
    assert time.perf_counter() - started < 30  # about 3 s alone on one core
