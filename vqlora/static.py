"""`vqlora static ADAPTER FOLDER`: an ordinary LoRA made of a temporal one, and what that does to the score.

The mask of each layer is replaced by its mean over the tokens that validation shows, or left open, and multiplied into
B. The folder is one that plain PEFT loads and that `vqlora merge` can merge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from vqlora.adapters import attach
from vqlora.adapters.adapted import ADAPTER, Adapted
from vqlora.adapters.export import adapter_files
from vqlora.adapters.temporal import TemporalAdapted
from vqlora.data.example import Example
from vqlora.evaluate import print_scores
from vqlora.inputs import Inputs
from vqlora.recall import Found
from vqlora.recipe import Lora, TemporalLora, to_json
from vqlora.restore import check_base, restored, score
from vqlora.states import StateMemory
from vqlora.warm import Warm

MODES = ("mean", "full")
BATCH = 8


def static_adapter(
    found: Found, folder: Path, *, device: str, mode: str = "mean", split: str = "val", base: str | None = None
) -> dict[str, Mapping[str, float]]:
    """Writes the adapter and prints the scores of the split before and after: {'temporal': ..., 'static': ...}.

    ValueError before a device is taken for another method, a mixer or a memory, or a folder that is not empty.
    """
    recipe = found.recipe
    check_static(recipe.method, mode)
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; name a new folder")
    check_base(found, base or recipe.base)
    data = Warm().data(recipe, device)
    temporal = restored(found, device=device, base=base)
    before = score(found, temporal, data, split).metrics
    inputs = Inputs(adapted=temporal, store=data.store, memory=StateMemory(), language=recipe.language)
    static = to_static(temporal, inputs, data.splits["val"], mode=mode)
    metrics = {name: score(found, static, data, name).metrics for name in ("val", "test")}
    after = metrics[split]
    print_scores(f"{found.record.trial} on {split} of {recipe.data}", {"temporal": before, "static": after})
    print(f"an ordinary LoRA changes CIDEr-D by {after['cider'] - before['cider']:+.4f}")
    made = replace(recipe, method=static.method)
    record = replace(found.record, recipe=to_json(made), fingerprint=made.fingerprint(), metrics=metrics, adapter=None)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in adapter_files(static.to_bytes(), record).items():
        (folder / name).write_bytes(content)
    return {"temporal": before, "static": after}


def check_static(method: object, mode: str) -> None:
    """ValueError, with the reason, for what no ordinary LoRA could stand for."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is unknown; use one of {MODES}")
    if not isinstance(method, TemporalLora):
        raise ValueError("only temporal LoRA has anything to make static; other adapters are used as they are")
    if method.mixer or method.memory:
        part = "mixer" if method.mixer else "memory"
        raise ValueError(f"this adapter has a {part}, which no LoRA could stand for; use it as it is")


@torch.no_grad()
def to_static(adapted: Adapted, inputs: Inputs, examples: Sequence[Example], *, mode: str) -> Adapted:
    """The same base with LoRA of equal rank instead, B multiplied by the mean masks ('mean') or as it is ('full')."""
    assert isinstance(adapted, TemporalAdapted) and isinstance(adapted.method, TemporalLora)
    masks = _mean_masks(adapted, inputs, examples) if mode == "mean" else {}
    state: dict[str, Tensor] = {}
    for name, layer in adapted.model.named_modules():
        if hasattr(layer, "lora_A"):
            mask = masks.get(id(layer.lora_variant[ADAPTER]), 1.0)
            state[f"{name}.lora_A.weight"] = layer.lora_A[ADAPTER].weight.clone()
            state[f"{name}.lora_B.weight"] = layer.lora_B[ADAPTER].weight * mask
    method = adapted.method
    adapted.remove()
    plain = Lora(rank=method.rank, alpha=method.alpha, rslora=method.rslora)
    static = attach(adapted.loaded, plain, seed=0)
    static.load_state({name: value.cpu() for name, value in state.items()})
    return static


def _mean_masks(adapted: TemporalAdapted, inputs: Inputs, examples: Sequence[Example]) -> dict[int, Tensor]:
    """{id of a layer's variant: mean mask over the tokens that it sees} of the examples with their first reference."""
    variants = [layer.lora_variant[ADAPTER] for layer in adapted.model.modules() if hasattr(layer, "lora_A")]
    kinds = {(id(variant.gate), variant.layout): variant for variant in variants}
    sums = {kind: (0.0, 0) for kind in kinds}
    for start in range(0, len(examples), BATCH):
        chunk = examples[start : start + BATCH]
        tokens = inputs.tokens(chunk, [0] * len(chunk))
        for kind, variant in kinds.items():
            places = adapted.watch.places[variant.layout]
            places = places[tokens["attention_mask"] > 0] if variant.layout == "tokens" else places.flatten()
            total, count = sums[kind]
            sums[kind] = (total + variant.gate.table(adapted.watch)[places].sum(0), count + len(places))
    means = {kind: total / count for kind, (total, count) in sums.items()}
    return {id(variant): means[id(variant.gate), variant.layout] for variant in variants}  # type: ignore[misc]
