"""Small real trials for tests: the embedded data at 56 pixels, random bases of two layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from vqlora.finetune import Silent, Stopped, Warm
from vqlora.recipe import Bits, Frames, Lora, Recipe, Schedule

BASES = ("random:videollama3-tiny", "random:idefics-tiny")
WARM = Warm()  # data and bases that tests share, as trials of one process do


def recipe(base: str = BASES[0], **changes: Any) -> Recipe:
    frames = Frames(budget=2, size=56 if "videollama" in base else 112)
    small = Recipe(
        base=base,
        data="shapes:tiny",
        method=Lora(rank={"text": 4}),
        bits=Bits.preset("all16"),
        schedule=Schedule(steps=4, batch_size=2, learning_rate=1e-2),
        frames=frames,
        max_new_tokens=6,
    )
    return replace(small, **changes)


def three_towers(device: str) -> Any:
    """A base with an audio tower, a few thousand parameters."""
    from transformers import Qwen2_5OmniThinkerConfig, Qwen2_5OmniThinkerForConditionalGeneration

    text = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen2_5OmniThinkerConfig(
        text_config={**text, "num_key_value_heads": 2, "vocab_size": 64},
        vision_config={"depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "out_hidden_size": 64},
        audio_config={
            "d_model": 64, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 128, "output_dim": 64,
        },
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        return Qwen2_5OmniThinkerForConditionalGeneration(config)


class Kept(Silent):
    """A Progress that remembers rows and states, and may stop the trial or break it off after a number of rows."""

    def __init__(
        self, *, stop_after: int | None = None, break_after: int | None = None, state: dict[str, Any] | None = None
    ) -> None:
        self.rows: list[dict[str, Any]] = []
        self.saved: list[int] = []  # steps at which a state was given
        self.state, self.stop_after, self.break_after = state, stop_after, break_after

    def report(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if len(self.rows) == self.stop_after:
            raise Stopped
        if len(self.rows) == self.break_after:
            raise KeyboardInterrupt

    def save(self, state: dict[str, Any]) -> None:
        self.state = state
        self.saved.append(state["step"])

    def restore(self) -> dict[str, Any] | None:
        return self.state
