"""`vqlora merge ADAPTER FOLDER`: an adapter multiplied into its base's 16-bit weights, and what that does to the score.

An adapter of a quantised base was trained around that base's rounding errors, which the 16-bit base does not have, so
the score may change; it is measured before the folder is written.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vqlora.adapters import Adapted
from vqlora.evaluate import print_scores
from vqlora.recall import Found
from vqlora.recipe import Bits
from vqlora.restore import check_base, restored, score
from vqlora.warm import Warm

MERGED = "merged.json"
WHOLE = "all16"
SHARD = "4GB"
UNMERGED = {
    "zero_shot": "trained nothing",
    "temporal_lora": "follows the frames, so no one weight could stand for it (`vqlora static` makes a LoRA of it)",
    "prefix": "adds keys and values, which no weight of the base could stand for",
    "bottleneck": "is not linear, so no weight of the base could stand for it",
}


def merge_adapter(
    found: Found, folder: Path, *, device: str, bits: str = WHOLE, split: str = "val", base: str | None = None,
    data: str | None = None,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Writes the merged base with its processor, and prints the scores of the split before and after.

    Gives {'adapter': scores on the base as trained on, 'merged': scores of what is written}. The folder is then a base
    like any other. ValueError before a device is taken for a method or bits that cannot be merged, a folder that is
    not empty, another base.
    """
    recipe = found.recipe
    check_mergeable(recipe.method.kind, bits)
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; name a new folder")
    check_base(found, base or recipe.base)
    opened = Warm().data(replace(recipe, data=data or recipe.data), device)
    before = score(found, restored(found, device=device, base=base), opened, split).metrics
    adapted = restored(found, device=device, base=base, bits=Bits.preset(WHOLE))
    merge(adapted)
    scores = {"adapter": before, "merged": score(found, adapted, opened, split).metrics}
    print_scores(f"{found.record.trial} on {split} of {data or recipe.data}", scores)
    print(f"merging changes CIDEr-D by {scores['merged']['cider'] - before['cider']:+.4f}")
    write(adapted, found, folder, scores)
    return scores


def check_mergeable(kind: str, bits: str) -> None:
    """ValueError, with the reason, for what cannot become part of a base's weights."""
    if kind in UNMERGED:
        raise ValueError(f"{kind} cannot be merged: it {UNMERGED[kind]}; use the adapter as it is")
    if bits != WHOLE:
        raise ValueError(
            f"merging into a base at {bits!r} would round W + s B A to the quantiser's few values, which loses most of "
            f"an adapter whose updates are smaller than their spacing; merge at {WHOLE!r} and quantise the merged "
            "base when it is loaded, with a bit plan"
        )


@torch.no_grad()
def merge(adapted: Adapted) -> None:
    """Multiplies LoRA, DoRA or (IA)^3 into the dense weights, in place; they end as bf16 values, as they are saved."""
    for name, layer in list(adapted.model.named_modules()):
        if hasattr(layer, "base_layer"):
            layer.merge(safe_merge=True)
            adapted.model.set_submodule(name, layer.base_layer)
    for parameter in adapted.model.parameters():
        parameter.copy_(parameter.bfloat16())
    if hasattr(adapted.model, "peft_config"):
        del adapted.model.peft_config


def write(adapted: Adapted, found: Found, folder: Path, scores: dict[str, Any]) -> None:
    """The folder: bf16 shards, configuration, processor, and where it comes from."""
    folder.mkdir(parents=True, exist_ok=True)
    adapted.model.to(torch.bfloat16).save_pretrained(folder, max_shard_size=SHARD)
    adapted.loaded.processor.save_pretrained(folder)
    record = found.record
    about = {
        "adapter": f"{record.study}/{record.version}/{record.trial}",
        "fingerprint": record.fingerprint,
        "base": record.recipe["base"],
        "base_digest": record.provenance.base_digest,
        "scores": scores,
    }
    (folder / MERGED).write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
    print(f"use it as --base {folder}")
