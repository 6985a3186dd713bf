"""Which trials may share their steps. Without torch: the board asks it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vqlora.recipe import TOWER_SAMPLERS, Lora, Recipe, ZeroShot, recipe_from_json, to_json


def packs(recipe: Recipe) -> bool:
    """Whether a trial can share its steps: it captions, and what it trains, if anything, is plain LoRA by AdamW.

    A probe needs the base as it is, without the layers of a pack; so does a sampler that looks at the tower's features.
    A contrastive batch's pairs belong together.
    """
    method, schedule = recipe.method, recipe.schedule
    if recipe.task != "caption" or recipe.frames.sampler in TOWER_SAMPLERS:
        return False
    is_usual = schedule.optimizer is None and not schedule.checkpointing
    if isinstance(method, ZeroShot):
        return not method.probe
    return isinstance(method, Lora) and method.is_plain and is_usual


def pack_key(asked: Mapping[str, Any]) -> str | None:
    """What trials must have in common to share steps; None for a trial that cannot, or that is not known.

    They run one base at the same bits, on frames of one size, and write captions of the same greatest length.
    """
    if "recipe" not in asked or not packs(recipe := recipe_from_json(asked["recipe"])):
        return None
    return json.dumps(
        [recipe.base, to_json(recipe.bits), recipe.frames.size, recipe.max_new_tokens, recipe.language], sort_keys=True
    )
