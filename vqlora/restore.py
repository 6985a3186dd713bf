"""A kept adapter on its base again, for what is done with it afterwards: captions, scores, merging."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vqlora.recall import Found, adapter_weights
from vqlora.recipe import Bits, Lora, Method

if TYPE_CHECKING:
    from vqlora.adapters import Adapted
    from vqlora.evaluation import Evaluation
    from vqlora.warm import Data


def check_base(found: Found, base: str) -> None:
    """ValueError unless `base` has the digest of the base that the record was trained on."""
    from vqlora.models.load import digest_of

    wanted, given = found.record.provenance.base_digest, digest_of(base)
    if wanted != given:
        raise ValueError(
            f"the adapter of {found.record.trial} is for another base: it was trained on "
            f"{found.record.recipe['base']!r} with the digest {str(wanted)[:16]}, {base!r} has {given[:16]}; "
            "give its own with --base"
        )


def restored(found: Found, *, device: str, base: str | None = None, bits: Bits | None = None) -> Adapted:
    """The record's adapter on its base at its bits, or others. Checked before a device is taken: adapter and base.

    ValueError for an adapter that was not kept, lacks a tensor, or is for another base.
    """
    from vqlora.adapters import attach
    from vqlora.models.load import load

    weights, recipe = adapter_weights(found), found.recipe
    base = base or recipe.base
    check_base(found, base)
    method = recipe.method if bits is None else _loaded_anyway(recipe.method)
    adapted = attach(load(base, bits or recipe.bits, device), method, seed=recipe.seed)
    adapted.load_bytes(weights)
    return adapted


def score(found: Found, adapted: Adapted, data: Data, split: str) -> Evaluation:
    """Captions and scores of a split by an adapted base, as the trial itself would be scored."""
    from vqlora.evaluation import evaluate
    from vqlora.inputs import Inputs
    from vqlora.states import StateMemory

    recipe = found.recipe
    inputs = Inputs(adapted=adapted, store=data.store, memory=StateMemory(), language=recipe.language)
    return evaluate(inputs, data.splits[split], split=split, max_new_tokens=recipe.max_new_tokens)


def _loaded_anyway(method: Method) -> Method:
    """LoftQ's start needs quantised layers; the values that are loaded need none."""
    return replace(method, init=None) if isinstance(method, Lora) and method.init == "loftq" else method
