"""What `planner` predicts of a recipe, and the time that it will take at rates assumed of one H100.

A finished trial's own seconds and latency stand beside those predicted in its record.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from vqlora.cost import LATENCY_CLIPS
from vqlora.evaluation import BATCH, BATCH_TOKENS
from vqlora.recipe import Recipe
from vqlora.training import evaluation_steps

SUSTAINED_FLOPS = 2.5e14  # in training; a dequantised product counts as a dense one
# A layer of the language model for one generated token of a batch: bound by its launches, so the same for any batch.
# Medians of a 28-layer adapted model at 16 and at 4 bits that captioned clips on an H100.
LAYER_SECONDS, QUANTISED_LAYER_SECONDS = 2.0e-3, 3.1e-3
BYTES_PER_SECOND = 3.35e12  # of its memory, by the data sheet
LOAD_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An estimate. peak_gib: of training, without what the device's runtime itself takes. flops: of all steps.

    clip_tokens: of one clip's conversation; layers: of the language model.
    """

    peak_gib: float
    base_bytes: float
    trainable_params: int
    activation_bytes: int
    train_flops: float
    clip_tokens: int
    layers: int

    def device_seconds(self, recipe: Recipe, *, val: int, test: int) -> float:
        """Of a trial on one GPU with so many clips to validate and test on, from the assumed rates; no decoding."""
        validations = len(evaluation_steps(recipe.schedule))
        batch = max(1, min(BATCH, BATCH_TOKENS // self.clip_tokens))
        turns = validations * math.ceil(val / batch) + math.ceil(test / batch) + 1 + LATENCY_CLIPS
        generating = turns * recipe.max_new_tokens * self._token_seconds(recipe)
        forwards = 2 * (validations * val + test) * self._forward_flops(recipe)
        return LOAD_SECONDS + (self.train_flops + forwards) / SUSTAINED_FLOPS + generating

    def latency_ms(self, recipe: Recipe) -> float:
        """Of one clip on one GPU: a pass over its prompt, then one for each token of the longest caption allowed."""
        prompt = self._forward_flops(recipe) / SUSTAINED_FLOPS
        return 1e3 * (prompt + recipe.max_new_tokens * self._token_seconds(recipe))

    def _forward_flops(self, recipe: Recipe) -> float:
        """Of one clip; backward through frozen weights costs as much again."""
        seen = recipe.schedule.clips_seen
        return self.train_flops / seen / 2 if seen else 2.0 * self.base_bytes * self.clip_tokens

    def _token_seconds(self, recipe: Recipe) -> float:
        """A pass for one token: as long as launching its layers or as reading the weights (roofline), whatever more."""
        layer_seconds = LAYER_SECONDS if recipe.bits.of("text") == 16 else QUANTISED_LAYER_SECONDS
        return max(self.layers * layer_seconds, self.base_bytes / BYTES_PER_SECOND)
