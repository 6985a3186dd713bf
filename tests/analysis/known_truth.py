"""A study with a known truth: LoRA of rank r scores E - A r^-a, zero-shot far below, memory falls with bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vqlora.recipe import Bits, Lora, Recipe, Schedule, ZeroShot, to_json
from vqlora.record import Cost, Provenance, Record, Status

RANKS, BITS, SEEDS = (2, 4, 8, 16), (4, 8, 16), (0, 1)
BASE_GIB = {4: 5.2, 8: 8.6, 16: 15.4}
LATENCY_MS = {4: 212.0, 8: 260.0, 16: 171.0}


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What the records are drawn from. bits_gap: what 4 bits lose against 16."""

    asymptote: float = 1.60
    amplitude: float = 1.1
    exponent: float = 0.9
    zero_shot: float = 0.21
    bits_gap: float = 0.02
    seed_sd: float = 0.02
    clip_sd: float = 0.45
    clips: int = 96

    def score(self, rank: int, bits: int) -> float:
        base = self.asymptote - self.amplitude * rank**-self.exponent if rank else self.zero_shot
        return base - self.bits_gap * {16: 0.0, 8: 0.3, 4: 1.0}[bits]


def recipe_of(rank: int, bits: int, seed: int) -> Recipe:
    return Recipe(
        base="embedded:videollama",
        data="shapes:small",
        method=Lora(rank={"text": rank}) if rank else ZeroShot(),
        bits=Bits.preset(f"all{bits}"),
        schedule=Schedule(steps=64 if rank else 0, learning_rate=2e-3),
        seed=seed,
    )


def cost_of(rank: int, bits: int, rng: np.random.Generator) -> Cost:
    base = BASE_GIB[bits]
    return Cost(
        train_seconds=310.0 + 4 * rank + rng.normal(0, 3) if rank else None,
        train_peak_gib=base + 3.1 + 0.03 * rank if rank else None,
        infer_peak_gib=base + 0.8 + 0.002 * rank,
        latency_ms=LATENCY_MS[bits] + 0.4 * rank + rng.normal(0, 1.0),
        train_flops=3.1e15 if rank else None,
        trainable_params=rank * 40_960 if rank else 0,
        adapter_bytes=rank * 81_920 if rank else None,
        how={"train_peak_gib": "allocator's peak", "latency_ms": "median of 32 clips after 4 of warm-up"},
    )


def provenance(device: str = "NVIDIA H100 80GB HBM3") -> Provenance:
    return Provenance(
        commit="3f6c0de1",
        dirty=False,
        versions={"torch": "2.11.0", "transformers": "5.17.0", "peft": "0.21.2"},
        device=device,
        platform="Linux x86_64",
        data_digest="9b1c",
        base_digest="77ae",
        decoder="decord 0.6.0",
        executor="isolated",
    )


class Maker:
    """Draws trials; clip difficulties are shared by all, so that pairing matters."""

    def __init__(self, truth: Truth, seed: int = 7) -> None:
        self.truth = truth
        self.rng = np.random.default_rng(seed)
        self.difficulty = {split: self.rng.normal(0, truth.clip_sd, truth.clips) for split in ("val", "test")}

    def trial(self, rank: int, bits: int, seed: int) -> tuple[Record, list[dict[str, Any]]]:
        rng, truth = self.rng, self.truth
        recipe = recipe_of(rank, bits, seed)
        level = truth.score(rank, bits) + (rng.normal(0, truth.seed_sd) if rank else 0)
        rows: list[dict[str, Any]] = []
        metrics: dict[str, dict[str, float]] = {}
        for split, difficulty in self.difficulty.items():
            own = np.clip(level + difficulty - difficulty.mean() + rng.normal(0, 0.15, truth.clips), 0, 10)
            mean = float(own.mean())
            metrics[split] = {"cider": mean, "bleu_4": mean / 4, "loss": float(2.4 - 0.6 * level)}
            rows += [_row(split, k, float(score)) for k, score in enumerate(own)]
        loss = [3.4 * np.exp(-step / 20) + 2.4 - 0.6 * level for step in range(0, 64, 4)] if rank else []
        record = Record(
            study="rank_bits",
            version="2026.1",
            trial=f"r{rank}-b{bits}-s{seed}",
            point={"rank": rank, "bits": bits},
            seed=seed,
            recipe=to_json(recipe),
            fingerprint=recipe.fingerprint(),
            status=Status.DONE,
            provenance=provenance(),
            metrics=metrics,
            cost=cost_of(rank, bits, rng),
            curve=[{"step": 4 * k, "loss": float(value)} for k, value in enumerate(loss)],
            skipped=[{"id": "video17", "reason": "no frame could be decoded"}] if rank == 8 else [],
            started_at="2026-01-05T10:00:00Z",
            ended_at="2026-01-05T10:06:00Z",
        )
        return record, rows

    def study(
        self, seeds: Sequence[int] = SEEDS, bases: Sequence[int] = BITS
    ) -> tuple[list[Record], dict[str, list[dict[str, Any]]]]:
        """Every rank at every bits and seed, and the base as it is at the bits of `bases`."""
        drawn = [self.trial(rank, bits, seed) for rank in RANKS for bits in BITS for seed in seeds]
        drawn += [self.trial(0, bits, 0) for bits in bases]
        return [record for record, _ in drawn], {record.trial: rows for record, rows in drawn}


def _row(split: str, index: int, score: float) -> dict[str, Any]:
    return {
        "split": split,
        "id": f"video{index}" if split == "test" else f"video{9000 + index}",
        "caption": "a red square moves left and then vanishes",
        "references": ["a red square goes left, then it is gone"],
        "scores": {"cider": score},
    }


def ended(record: Record, status: Status, error: str) -> Record:
    """The same trial with another end: no test score, no cost."""
    return replace(record, status=status, error=error, metrics={}, cost=Cost(), curve=record.curve[:6])
