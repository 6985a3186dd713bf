"""BLEU-1..4, ROUGE-L and CIDEr-D of captions, as coco-caption scores them, with what resampling needs.

Scales are the reference's: CIDEr-D 0..10, the others 0..1. Tokens: segment.py; rules: bleu.py, rouge.py, cider.py.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vqlora.metrics.bleu import BleuCounts, bleu, bleu_counts, pool
from vqlora.metrics.cider import DocumentFrequencies, cider_d, document_frequencies
from vqlora.metrics.intervals import interval, resampled_means, resampled_sums
from vqlora.metrics.ngrams import MAX_ORDER, read_corpus
from vqlora.metrics.rouge import rouge_l
from vqlora.metrics.segment import segmenter

BLEU_NAMES = tuple(f"bleu_{order}" for order in range(1, MAX_ORDER + 1))


@dataclass(frozen=True, kw_only=True)
class CaptionScores:
    """Scores of a corpus, of its examples, and how they came about.

    `scores` and each row of `per_example` have the keys cider, rouge_l, bleu_1..bleu_4. cider and rouge_l of the corpus
    are the means of the rows; BLEU is not: resample `bleu` and use `bleu(pool(counts))`. `missing` ids had no
    prediction and were scored as empty captions; `unknown` ids had no references and were left out.
    """

    scores: Mapping[str, float]
    per_example: Mapping[str, Mapping[str, float]]
    bleu: Mapping[str, BleuCounts]
    segment: str
    document_frequencies: Literal["corpus", "frozen"]
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    empty_predictions: int = 0
    empty_references: int = 0


def score_captions(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    df: Literal["corpus"] | DocumentFrequencies = "corpus",
    *,
    segment: str = "ptb",
    allow_mismatch: bool = False,
) -> CaptionScores:
    """Score one caption per id against that id's references.

    An empty prediction is scored, never skipped: 0 everywhere (ROUGE-L is 1 if a reference is empty too). With
    `df="corpus"` a corpus of one example has CIDEr-D 0 by definition. No input gives NaN. `allow_mismatch` admits ids
    on one side only, and names them.

    Raises:
        ValueError: no references at all, an id without references, ids that differ, text that is not a string.
    """
    missing, unknown = _compare_ids(predictions, references, allow_mismatch)
    cut = segmenter(segment)
    ids = list(references)
    hypotheses = [cut(_text(predictions.get(id_, ""), f"the prediction of {id_!r}")) for id_ in ids]
    texts = [_cut_references(id_, references[id_], cut) for id_ in ids]

    corpus = read_corpus(hypotheses, texts)
    counts = bleu_counts(corpus)
    cider = cider_d(corpus, None if df == "corpus" else df)
    rouge = np.array([rouge_l(hypothesis, own) for hypothesis, own in zip(hypotheses, texts, strict=True)])
    rows = {
        id_: {"cider": float(cider[item]), "rouge_l": float(rouge[item]), **_named(bleu(counts[item]))}
        for item, id_ in enumerate(ids)
    }
    return CaptionScores(
        scores={"cider": float(cider.mean()), "rouge_l": float(rouge.mean()), **_named(bleu(pool(counts)))},
        per_example=rows,
        bleu=dict(zip(ids, counts, strict=True)),
        segment=segment,
        document_frequencies="corpus" if df == "corpus" else "frozen",
        missing=missing,
        unknown=unknown,
        empty_predictions=sum(not hypothesis for hypothesis in hypotheses),
        empty_references=sum(not text for own in texts for text in own),
    )


def caption_intervals(scored: CaptionScores, videos: Mapping[str, str] | None = None) -> dict[str, list[float]]:
    """95 % intervals of `scored.scores` over videos; `videos` names each id's, if it is not the id itself.

    CIDEr keeps the document frequencies of the whole corpus.
    """
    ids = list(scored.per_example)
    owners = [(videos or {}).get(id_, id_) for id_ in ids]
    rows = np.array([[scored.per_example[id_][name] for name in ("cider", "rouge_l")] for id_ in ids])
    means = resampled_means(rows, owners)
    counts = [scored.bleu[id_] for id_ in ids]
    sums = resampled_sums(np.array([(c.hyp_len, c.ref_len, *c.match, *c.total) for c in counts], dtype=float), owners)
    bleus = np.array(
        [
            bleu(
                BleuCounts(
                    hyp_len=int(row[0]),
                    ref_len=int(row[1]),
                    match=tuple(row[2:][:MAX_ORDER]),
                    total=tuple(row[-MAX_ORDER:]),
                )
            )
            for row in sums
        ]
    )
    return {
        "cider": interval(means[:, 0]),
        "rouge_l": interval(means[:, 1]),
        **{name: interval(bleus[:, place]) for place, name in enumerate(BLEU_NAMES)},
    }


def freeze_document_frequencies(references: Iterable[Sequence[str]], *, segment: str = "ptb") -> DocumentFrequencies:
    """Document frequencies of raw reference sets, for `score_captions(df=...)` with the same `segment`."""
    cut = segmenter(segment)
    return document_frequencies([[cut(text) for text in texts] for texts in references])


def _compare_ids(
    predictions: Mapping[str, str], references: Mapping[str, Sequence[str]], allow_mismatch: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if not references:
        raise ValueError("there are no references, so there is nothing to score against")
    missing = tuple(id_ for id_ in references if id_ not in predictions)
    unknown = tuple(id_ for id_ in predictions if id_ not in references)
    if (missing or unknown) and not allow_mismatch:
        raise ValueError(
            f"predictions and references must have the same ids: {len(missing)} without prediction {missing[:3]}, "
            f"{len(unknown)} without references {unknown[:3]}; allow_mismatch=True scores the first as empty captions "
            "and leaves the second out"
        )
    return missing, unknown


def _cut_references(id_: str, texts: Sequence[str], cut: Callable[[str], str]) -> list[str]:
    if isinstance(texts, str):
        raise ValueError(f"the references of {id_!r} are one string; a sequence of strings is needed")
    if not texts:
        raise ValueError(f"{id_!r} has no references; at least one is needed")
    return [cut(_text(text, f"a reference of {id_!r}")) for text in texts]


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{what} is {value!r} ({type(value).__name__}); a caption is a string, '' if there is none")
    return value


def _named(scores: Sequence[float]) -> dict[str, float]:
    return dict(zip(BLEU_NAMES, scores, strict=True))
