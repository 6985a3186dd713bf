"""`vqlora score`: scores of any system's result files, as the literature computes them. Forms of files: `files`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vqlora.lines import one_line
from vqlora.metrics import files
from vqlora.metrics.captions import caption_intervals, score_captions
from vqlora.metrics.dense import NAMES, score_dense
from vqlora.metrics.java import java_scores
from vqlora.metrics.moments import score_moments
from vqlora.metrics.qa import score_answers
from vqlora.metrics.retrieval import score_dual_softmax, score_retrieval, total
from vqlora.metrics.segment import segmenter
from vqlora.metrics.translation import score_translations

Value = TypeVar("Value")
UNSPACED = "a score of text in another language means nothing without how it was cut"


def score_command(argv: Sequence[str]) -> int:
    """Prints the scores, with --json as one object on the last line. 2 with one line for files that cannot be used."""
    given = _parser().parse_args(argv)
    try:
        result = TASKS[given.task](given)
    except ValueError as error:
        print(f"vqlora score: {one_line(error)}", file=sys.stderr)
        return 2
    if given.json:
        print(json.dumps(result, allow_nan=False))
    else:
        for name, value in _flat(result):
            print(f"{name:24} {value}")
    return 0


def _captioning(given: argparse.Namespace) -> dict[str, Any]:
    references, predictions = _captions(given)
    segment = _segment(given)
    scored = score_captions(predictions, references, segment=segment, allow_mismatch=given.allow_mismatch)
    intervals = caption_intervals(scored)
    scores = {theirs: scored.scores[ours] for ours, theirs in NAMES.items()}
    if given.java:
        cut = segmenter(segment)
        theirs = {id: [cut(text) for text in texts] for id, texts in references.items()}
        ours = {id: cut(predictions.get(id, "")) for id in references}
        scores |= {name: score for name, (score, _) in java_scores(ours, theirs, given.java).items()}
    return {
        "scores": scores,
        "intervals": {theirs: intervals[ours] for ours, theirs in NAMES.items()},
        "count": len(references),
        "language": given.language,
        "segment": segment,
        "missing": len(scored.missing),
        "unknown": len(scored.unknown),
        "empty_predictions": scored.empty_predictions,
        "empty_references": scored.empty_references,
    }


def _translation(given: argparse.Namespace) -> dict[str, Any]:
    references, predictions = _captions(given)
    missing, unknown = _same_ids(predictions, references, given.allow_mismatch)
    complete = {id: predictions.get(id, "") for id in references}
    scored = score_translations(complete, references, language=given.language)
    return {
        "scores": dict(scored.scores),
        "intervals": dict(scored.intervals),
        "count": len(references),
        "signature": scored.signature,
        "missing": missing,
        "unknown": unknown,
    }


def _retrieval(given: argparse.Namespace) -> dict[str, Any]:
    if given.similarity is None:
        raise ValueError("retrieval needs --similarity S.npy, a matrix [text queries, videos]")
    similarity = files.read_similarity(given.similarity)
    owners = None
    if given.query_video is not None:
        owners = files.read_query_videos(given.query_video, len(similarity) if similarity.ndim else 0)
    plain, dual = score_retrieval(similarity, owners), score_dual_softmax(similarity, owners)
    return {
        **{name: direction.scores for name, direction in plain.items()},
        "ties": sum(plain[name].ties for name in ("t2v", "v2t")),
        "rsum": total(plain),
        "dual_softmax": {name: direction.scores for name, direction in dual.items()},
        "intervals": {name: direction.intervals() for name, direction in plain.items()},
        "count": len(similarity),
    }


def _qa(given: argparse.Namespace) -> dict[str, Any]:
    references, predicted = _both(given)
    questions = files.read_questions(references[0])
    answers = files.read_answers(predicted, questions)
    missing, unknown = _same_ids(answers, questions, given.allow_mismatch)
    scored = score_answers(answers, questions)
    scores = {"accuracy": scored.accuracy, "unparsed": scored.unparsed, "by_type": dict(scored.by_type)}
    return {
        "scores": {**scores, **({"groups": dict(scored.groups)} if scored.groups else {})},
        "intervals": dict(scored.intervals),
        "count": len(questions),
        "missing": missing,
        "unknown": unknown,
    }


def _dense(given: argparse.Namespace) -> dict[str, Any]:
    references, predicted = _both(given)
    truths = [files.read_truth_events(file) for file in references]
    predictions = files.read_predicted_events(predicted)
    listed = {video for truth in truths for video in truth}
    missing, unknown = _same_ids(predictions, listed, given.allow_mismatch)
    scored = score_dense(predictions, truths)
    return {
        "scores": {name: _by_overlap(values) for name, values in scored.scores.items()},
        "intervals": {name: _by_overlap(values) for name, values in scored.intervals.items()},
        "count": scored.videos,
        "missing": missing,
        "unknown": unknown,
    }


def _moments(given: argparse.Namespace) -> dict[str, Any]:
    references, predicted = _both(given)
    truths, predictions = files.read_true_moments(references[0]), files.read_predicted_moments(predicted)
    missing, unknown = _same_ids(predictions, truths, given.allow_mismatch)
    scored = score_moments(predictions, truths)
    counts = {"count": len(truths), "missing": missing, "unknown": unknown}
    return {"scores": dict(scored.scores), "intervals": dict(scored.intervals), **counts}


TASKS = {
    "captioning": _captioning,
    "retrieval": _retrieval,
    "qa": _qa,
    "dense": _dense,
    "moments": _moments,
    "translation": _translation,
}


def _both(given: argparse.Namespace) -> tuple[list[Path], Path]:
    if not given.references or given.predictions is None:
        raise ValueError(f"--task {given.task} needs --references R and --predictions P")
    if len(given.references) > 1 and given.task != "dense":
        raise ValueError(f"--task {given.task} takes one file of references; only dense takes several annotations")
    return given.references, given.predictions


def _captions(given: argparse.Namespace) -> tuple[dict[str, list[str]], dict[str, str]]:
    references, predicted = _both(given)
    return files.read_references(references[0]), files.read_predictions(predicted)


def _segment(given: argparse.Namespace) -> str:
    if given.segment is None and given.language != "en":
        raise ValueError(f"--language {given.language} needs --segment char, jieba or words: {UNSPACED}")
    return given.segment or "ptb"


def _same_ids(predicted: Iterable[str], listed: Iterable[str], allow: bool) -> tuple[int, int]:
    """How many listed ids have no prediction, and how many predictions have no listed id; ValueError unless allowed."""
    ours, theirs = set(predicted), set(listed)
    missing, unknown = sorted(theirs - ours), sorted(ours - theirs)
    if (missing or unknown) and not allow:
        raise ValueError(
            f"{len(missing)} ids without a prediction {missing[:3]}, {len(unknown)} unknown ids {unknown[:3]}; "
            "--allow-mismatch scores the first as wrong or empty and leaves the second out, and counts both"
        )
    return len(missing), len(unknown)


def _by_overlap(values: Mapping[float, Value]) -> dict[str, Value]:
    return {f"{limit:g}": value for limit, value in values.items()}


def _flat(result: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in result.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", " to ".join(f"{bound:.4f}" for bound in value)
        else:
            yield f"{prefix}{name}", f"{value:.4f}" if isinstance(value, float) else str(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vqlora score", description="Scores of any system's result files.")
    parser.add_argument("--task", choices=tuple(TASKS), required=True)
    parser.add_argument("--references", type=Path, nargs="+", metavar="R", help="JSON; dense takes several annotations")
    parser.add_argument("--predictions", type=Path, metavar="P", help="JSON")
    parser.add_argument("--similarity", type=Path, metavar="S.npy", help="retrieval: rows are text queries")
    parser.add_argument(
        "--query-video", type=Path, metavar="MAP.json", help="retrieval: the column of each row's video"
    )
    parser.add_argument("--language", default="en", help="of the captions (%(default)s)")
    parser.add_argument(
        "--segment", choices=("ptb", "char", "jieba", "words"), help="how captions are cut: ptb in English"
    )
    parser.add_argument("--java", nargs="+", metavar="NAME", help="also METEOR, SPICE: extra java")
    parser.add_argument(
        "--allow-mismatch", action="store_true", help="count missing and unknown ids, don't refuse them"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    return parser
