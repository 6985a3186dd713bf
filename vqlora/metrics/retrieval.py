"""Text-video retrieval from a matrix of similarities: recall at 1, 5, 10, median and mean rank, both directions.

Rank = 1 + the number of other items that score at least as high: a tie never helps, and ties are counted. Published
code differs here: CLIP4Clip's adds entries for ties, frozen-in-time's ranks them first. On data without ties all agree.
Several captions a video: text to video, each caption is a query. Video to text has two published conventions, both
given: `v2t`, the best rank of its captions among all captions (frozen-in-time, collaborative experts, HGR), and
`v2t_max`, where a video's score is its best caption's and videos are ranked (CLIP4Clip).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vqlora.metrics.intervals import draws, interval, resampled_means

RECALLS = (1, 5, 10)
DUAL_SOFTMAX_SCALE = 100.0  # CLIP's logit scale
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, kw_only=True)
class Direction:
    """ranks: of each query's true item, from 1 [queries]. ties: queries whose true item shares its score with others.

    videos: of each query, for intervals [queries].
    """

    ranks: np.ndarray
    ties: int
    videos: Sequence[str]

    @property
    def scores(self) -> dict[str, float]:
        """R1, R5, R10 and their sum rsum in percent; MdR (the mean of the middle two), MnR."""
        recalls = {f"R{k}": 100.0 * float(np.mean(self.ranks <= k)) for k in RECALLS}
        return {
            **recalls,
            "MdR": float(np.median(self.ranks)),
            "MnR": float(self.ranks.mean()),
            "rsum": sum(recalls.values()),
        }

    def intervals(self) -> dict[str, list[float]]:
        """95 % intervals of `scores` over videos."""
        hits = 100.0 * np.stack([self.ranks <= k for k in RECALLS], axis=1)
        means = resampled_means(np.column_stack([hits, self.ranks]), self.videos)
        found = {f"R{k}": interval(means[:, place]) for place, k in enumerate(RECALLS)}
        medians = np.array([np.median(np.repeat(self.ranks, times)) for times in draws(self.videos)])
        return {
            **found,
            "MdR": interval(medians),
            "MnR": interval(means[:, -1]),
            "rsum": interval(means[:, : len(RECALLS)].sum(axis=1)),
        }


def score_retrieval(similarity: np.ndarray, video_of: Sequence[int] | None = None) -> dict[str, Direction]:
    """Directions 't2v', 'v2t' and, where a video has several captions, 'v2t_max'.

    similarity [queries, videos]; video_of [queries]: the column of each query's video, the diagonal if None. Videos
    that no query asks for stand among the items and are no queries.

    Raises:
        ValueError: not a matrix of finite numbers, or video_of does not name a column for each row.
    """
    similarity, owner = _checked(similarity, video_of)
    found = {"t2v": _text_to_video(similarity, owner), "v2t": _video_to_text(similarity, owner)}
    if len(np.unique(owner)) < len(owner):
        found["v2t_max"] = _video_to_best_text(similarity, owner)
    return found


def dual_softmax(similarity: np.ndarray, scale: float = DUAL_SOFTMAX_SCALE) -> np.ndarray:
    """Similarities times their softmax over queries (arXiv:2109.04290). It looks at the whole test set at once, so its
    scores stand in a row of their own."""
    similarity = np.asarray(similarity, dtype=np.float64)
    scaled = scale * (similarity - similarity.max(axis=0, keepdims=True))
    weight = np.exp(scaled)
    return similarity * weight / weight.sum(axis=0, keepdims=True)


def score_dual_softmax(similarity: np.ndarray, video_of: Sequence[int] | None = None) -> dict[str, Direction]:
    """`score_retrieval` after the dual softmax, which each direction takes over its own queries."""
    similarity, owner = _checked(similarity, video_of)
    by_text = score_retrieval(dual_softmax(similarity), owner.tolist())
    by_video = score_retrieval(dual_softmax(similarity.T).T, owner.tolist())
    return {name: (by_text if name == "t2v" else by_video)[name] for name in by_text}


def total(directions: Mapping[str, Direction]) -> float:
    """rsum as papers print it: R@1, R@5 and R@10 of both directions added up."""
    return sum(directions[name].scores["rsum"] for name in ("t2v", "v2t"))


def _checked(similarity: np.ndarray, video_of: Sequence[int] | None) -> tuple[np.ndarray, np.ndarray]:
    similarity = np.asarray(similarity)
    if similarity.ndim != 2 or not similarity.size or similarity.dtype.kind not in "fiu":
        raise ValueError(
            f"similarities are {similarity.dtype} {list(similarity.shape)}; expected numbers [queries, videos]"
        )
    if not np.isfinite(similarity).all():
        raise ValueError(f"{int((~np.isfinite(similarity)).sum())} similarities are not finite; no rank follows")
    queries, videos = similarity.shape
    if video_of is None and queries != videos:
        raise ValueError(f"{queries} queries for {videos} videos: say which video each query belongs to")
    owner = np.arange(queries) if video_of is None else np.asarray(video_of)
    if owner.shape != (queries,) or owner.dtype.kind not in "iu" or owner.min() < 0 or owner.max() >= videos:
        raise ValueError(f"each of the {queries} queries needs one video, a column from 0 to {videos - 1}")
    return similarity if similarity.dtype.kind == "f" else similarity.astype(np.float64), owner


def _text_to_video(similarity: np.ndarray, owner: np.ndarray) -> Direction:
    ranks = np.zeros(len(owner), dtype=np.int64)
    ties = 0
    for start in range(0, len(owner), _ROWS_AT_ONCE):
        part = similarity[start : start + _ROWS_AT_ONCE]
        own = part[np.arange(len(part)), owner[start : start + len(part)]][:, None]
        ranks[start : start + len(part)] = (part >= own).sum(axis=1)  # the true item itself is the 1
        ties += int(((part == own).sum(axis=1) > 1).sum())
    return Direction(ranks=ranks, ties=ties, videos=[str(video) for video in owner])


def _video_to_text(similarity: np.ndarray, owner: np.ndarray) -> Direction:
    asked = np.unique(owner)
    ranks = np.zeros(len(asked), dtype=np.int64)
    ties = 0
    for place, video in enumerate(asked):
        column, is_own = similarity[:, video], owner == video
        best, others = column[is_own].max(), column[~is_own]
        ranks[place] = 1 + (others >= best).sum()
        ties += bool((others == best).any())
    return Direction(ranks=ranks, ties=ties, videos=[str(video) for video in asked])


def _video_to_best_text(similarity: np.ndarray, owner: np.ndarray) -> Direction:
    asked, place = np.unique(owner, return_inverse=True)
    best = np.full((len(asked), len(asked)), -np.inf)  # [video asked for, video whose captions are taken]
    np.maximum.at(best.T, place, similarity[:, asked])
    own = np.diagonal(best)[:, None]
    return Direction(
        ranks=(best >= own).sum(axis=1),
        ties=int(((best == own).sum(axis=1) > 1).sum()),
        videos=[str(video) for video in asked],
    )
