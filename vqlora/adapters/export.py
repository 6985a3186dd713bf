"""What a user takes home of a trial: an adapter's folder that plain PEFT loads, with a model card and its record.

    adapter_model.safetensors  adapter_config.json  README.md  record.json

What PEFT has no layer for (full fine-tuning, prefix, bottleneck) is `trained.safetensors`: the trained parameters under
their names in the model, with the method in its metadata.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from vqlora.adapters.adapted import PEFT_METHODS, PEFT_PREFIX
from vqlora.recipe import Bottleneck, FullFineTune, Ia3, Lora, Method, Prefix, TemporalLora, recipe_from_json
from vqlora.record import Record, record_to_json

WEIGHTS, FULL_WEIGHTS = "adapter_model.safetensors", "trained.safetensors"
CONFIG, CARD, RECORD = "adapter_config.json", "README.md", "record.json"

CARD_TEXT = """---
library_name: peft
base_model: "{base}"
tags: [video-text-to-text, lora, qlora]
---

# {trial}

Trained by the study `{study}` (version {version}) of vqlora: `{method}` on `{base}`, {bits}, {frames} frames of
{size} x {size} pixels, {steps} steps of {batch} clips of `{data}`, seed {seed}.

| score | validation | test |
|---|---|---|
{scores}

Peak memory {train_gib} GiB in training, {infer_gib} GiB in inference, {latency} ms a clip, on {device}.
Base digest `{base_digest}`, data digest `{data_digest}`, commit `{commit}`. `record.json` holds everything else.

## Use

    vqlora caption FOLDER VIDEO.mp4                                # captions a video
    vqlora train --from FOLDER --data msrvtt:/data/msrvtt --steps 500   # trains it further
    vqlora rerun FOLDER                                            # does it come out again?
{peft}
## Limits

The scores are of the test split named above, greedy decoding, coco-caption's arithmetic. On a base of other weights,
other bits or another frame size than above nothing is known. Licence and limits of the base apply.
"""
PEFT_USE = """
In plain PEFT, on the base as transformers loads it:

    model = PeftModel.from_pretrained(base, FOLDER)
"""


def adapter_files(weights: bytes, record: Record) -> dict[str, bytes]:
    """{name: content} of the folder; `weights` as `Adapted.to_bytes` gave them."""
    method = recipe_from_json(record.recipe).method
    files = {CARD: model_card(record).encode(), RECORD: (record_to_json(record) + "\n").encode()}
    if method.kind in PEFT_METHODS:
        config = _peft_config(weights, method, str(record.recipe["base"]))
        return {WEIGHTS: weights, CONFIG: config, **files}
    return {FULL_WEIGHTS: weights, **files}


def model_card(record: Record) -> str:
    """The README.md of an adapter, from its record alone."""
    recipe = recipe_from_json(record.recipe)
    val, test = record.metrics.get("val", {}), record.metrics.get("test", {})
    rows = [f"| {name} | {_number(val.get(name))} | {_number(test.get(name))} |" for name in sorted({*val, *test})]
    cost, origin = record.cost, record.provenance
    bits = ", ".join(f"{role} at {bits} bits" for role, bits in recipe.bits.plan.items())
    return CARD_TEXT.format(
        trial=record.trial, study=record.study, version=record.version, base=recipe.base, data=recipe.data,
        method=_method(recipe.method), bits=bits,
        frames=recipe.frames.budget, size=recipe.frames.size, steps=recipe.schedule.steps,
        batch=recipe.schedule.batch_size, seed=recipe.seed, scores="\n".join(rows), device=origin.device,
        train_gib=_number(cost.train_peak_gib), infer_gib=_number(cost.infer_peak_gib),
        latency=_number(cost.latency_ms), base_digest=origin.base_digest, data_digest=origin.data_digest,
        commit=origin.commit, peft=PEFT_USE if recipe.method.kind in PEFT_METHODS else "",
    )  # fmt: skip


def _peft_config(weights: bytes, method: Method, base: str) -> bytes:
    """adapter_config.json as PEFT writes it, keys and layers sorted, so that equal adapters have equal files."""
    import safetensors.torch

    from vqlora.adapters.ia3 import ia3_config
    from vqlora.adapters.lora import PISSA, lora_config

    shapes = {name.removeprefix(PEFT_PREFIX): tensor.shape for name, tensor in safetensors.torch.load(weights).items()}
    if isinstance(method, Lora):
        suffix = ".lora_A.weight"
        ranks = {name.removesuffix(suffix): shape[0] for name, shape in shapes.items() if name.endswith(suffix)}
        config = lora_config(method, ranks)
        config.init_lora_weights = PISSA if method.init == "pissa" else True  # what the base is left with
    else:
        scaled = {name.removesuffix(".ia3_l"): shape for name, shape in shapes.items()}
        config = ia3_config(list(scaled), [name for name, shape in scaled.items() if shape[0] == 1])
    config.base_model_name_or_path, config.inference_mode = base, True
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        plain = json.loads((Path(folder) / CONFIG).read_text())
    for name in ("target_modules", "feedforward_modules"):
        if name in plain:
            plain[name] = sorted(plain[name])
    return (json.dumps(plain, indent=1, sort_keys=True) + "\n").encode()


def _method(method: Method) -> str:
    """A few words for a card."""
    match method:
        case Lora():
            name = " ".join(("LoRA", *(part for part in (method.variant, method.init) if part)))
            return f"{name} " + ", ".join(f"rank {rank} on {role}" for role, rank in method.rank.items() if rank)
        case TemporalLora():
            return f"temporal LoRA ({method.mode}) " + ", ".join(
                f"rank {r} on {role}" for role, r in method.rank.items()
            )
        case Bottleneck():
            return "bottleneck adapters of " + ", ".join(
                f"width {width} on {role}" for role, width in method.width.items() if width
            )
        case Prefix():
            return f"a prefix of {method.tokens} tokens"
        case Ia3():
            return f"(IA)^3 on {', '.join(method.roles)}"
        case FullFineTune():
            return f"full fine-tuning of {', '.join(method.roles)}"
    return method.kind


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
