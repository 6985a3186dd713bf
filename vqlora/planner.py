"""What a recipe will need before anything is loaded: memory and FLOPs from shapes, on the meta device.

The model is built without weights, its adapters are attached, and one training step runs on tensors that have shapes
only; what autograd would keep and what operators would cost is counted as in `cost`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PretrainedConfig

from vqlora.adapters import Adapted, attach
from vqlora.cost import GIB, LATENCY_CLIPS, saved_activations
from vqlora.data.example import PROMPTS, Message
from vqlora.evaluation import BATCH, BATCH_TOKENS
from vqlora.flops import FlopCounter
from vqlora.models.bits import bits_by_role, linear_bytes
from vqlora.models.conversation import IGNORED
from vqlora.models.families import family_of
from vqlora.models.load import Loaded, meta_model, model_type_of, processor_of
from vqlora.models.roles import linear_layers
from vqlora.recipe import Bits, Recipe
from vqlora.training import evaluation_steps

# Assumed of one H100; a finished trial's own seconds stand beside the prediction in its record.
SUSTAINED_FLOPS = 2.5e14  # in training; a dequantised product counts as a dense one
# A layer of the language model for one generated token of a batch: bound by its launches, so the same for any batch.
# Medians of a 28-layer adapted model at 16 and at 4 bits that captioned clips on an H100.
LAYER_SECONDS, QUANTISED_LAYER_SECONDS = 2.0e-3, 3.1e-3
LOAD_SECONDS = 20.0
CAPTION = " ".join(["word"] * 30)  # as long as the captions of the embedded data; a token or two a word elsewhere
META = torch.device("meta")


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
        seen, validations = recipe.schedule.clips_seen, len(evaluation_steps(recipe.schedule))
        forward = self.train_flops / seen / 2 if seen else 2.0 * self.base_bytes * self.clip_tokens
        batch = max(1, min(BATCH, BATCH_TOKENS // self.clip_tokens))
        turns = validations * math.ceil(val / batch) + math.ceil(test / batch) + 1 + LATENCY_CLIPS
        layer_seconds = LAYER_SECONDS if recipe.bits.of("text") == 16 else QUANTISED_LAYER_SECONDS
        generating = turns * recipe.max_new_tokens * self.layers * layer_seconds
        forwards = 2 * (validations * val + test) * forward
        return LOAD_SECONDS + (self.train_flops + forwards) / SUSTAINED_FLOPS + generating


def plan(recipe: Recipe, *, device: str = "cuda") -> Plan:
    """Memory and FLOPs of a trial on 'cuda' (bf16) or 'cpu' (fp32). ValueError as for the trial itself."""
    wide = 2 if torch.device(device).type == "cuda" else 4
    adapted, base_bytes = _without_weights(recipe, wide)
    trained = sum(parameter.numel() for parameter in adapted.parameters.values())
    batch = _batch(adapted, recipe)
    shape = {"clip_tokens": batch["input_ids"].shape[1], "layers": _layers(adapted.model)}
    if trained == 0:
        return Plan(
            peak_gib=base_bytes / GIB, base_bytes=base_bytes, trainable_params=0, activation_bytes=0, train_flops=0.0,
            **shape,
        )  # fmt: skip
    if wide == 2:  # fp32 masters, but autocast multiplies and keeps bf16
        for parameter in adapted.parameters.values():
            parameter.data = parameter.data.bfloat16()
    with saved_activations(adapted.model) as saved, FlopCounter() as flops:
        _loss(adapted, recipe, batch).backward()
    added = 0 if recipe.method.kind == "full" else 4 * trained
    full = (4 - wide) * trained if recipe.method.kind == "full" else 0
    peak = base_bytes + added + full + 3 * 4 * trained + saved.bytes
    return Plan(
        peak_gib=peak / GIB,
        base_bytes=base_bytes,
        trainable_params=trained,
        activation_bytes=saved.bytes,
        train_flops=float(flops.total) * recipe.schedule.steps,
        **shape,
    )


def _without_weights(recipe: Recipe, wide: int) -> tuple[Adapted, float]:
    """The adapted base on the meta device, and the bytes its weights will take at the recipe's bits."""
    model_type = model_type_of(recipe.base)
    model = meta_model(recipe.base).to(torch.bfloat16 if wide == 2 else torch.float32).requires_grad_(False).eval()
    for module in model.modules():
        if isinstance(getattr(module, "config", None), PretrainedConfig):
            module.config._attn_implementation = SHAPES_ONLY
    loaded = Loaded(
        base=recipe.base,
        model=model,
        processor=_processor(recipe.base),
        family=family_of(model_type),
        bits=recipe.bits,
        digest="",
        device=META,
        dtype=torch.float32,
        found={},
    )
    base_bytes = _base_bytes(model, model_type, recipe.bits, wide)
    return attach(loaded, recipe.method, seed=0), base_bytes


_processor = cache(processor_of)


def _base_bytes(model: Any, model_type: str, bits: Bits, wide: int) -> float:
    by_role = bits_by_role(bits, model_type)
    plan = {name: by_role[role] for role, names in linear_layers(model, model_type).items() for name in names}
    total = 0.0
    for name, parameter in model.named_parameters():
        layer, _, kind = name.rpartition(".")
        if layer in plan and kind == "weight":
            rows, columns = parameter.shape
            total += linear_bytes(rows, columns, plan[layer], bits, wide=wide)
        else:
            total += wide * parameter.numel()
    return total


def _layers(model: Any) -> int:
    config = model.config.get_text_config()
    return int(config.num_hidden_layers)


def _batch(adapted: Adapted, recipe: Recipe) -> dict[str, Tensor]:
    """Tokens of a batch of the recipe's shape."""
    loaded = adapted.loaded
    frames, size = recipe.frames.budget, recipe.frames.size
    asked = (Message(role="user", text=PROMPTS["caption"]), Message(role="assistant", text=CAPTION))
    times = [[float(second) for second in range(frames)]] * recipe.schedule.batch_size
    return loaded.family.batch(
        loaded.processor, loaded.model.config, times, [asked] * recipe.schedule.batch_size, size=size
    )


def _loss(adapted: Adapted, recipe: Recipe, batch: dict[str, Tensor]) -> Tensor:
    """The loss of that batch, without values."""
    loaded = adapted.loaded
    labels = int((batch["labels"][:, 1:] != IGNORED).sum())
    tokens = {name: tensor.to(META) for name, tensor in batch.items()}
    states = _states(adapted, recipe)
    hidden = loaded.family.hidden(loaded.model, tokens, states)
    logits = loaded.model.lm_head(hidden.flatten(0, 1)[:labels])
    return torch.nn.functional.cross_entropy(logits.float(), torch.zeros(labels, dtype=torch.long, device=META))


def _states(adapted: Adapted, recipe: Recipe) -> Sequence[Tensor]:
    """Vision states of a batch; through the tower's layers, whose activations count where it is trained."""
    model, clips, budget = adapted.model, recipe.schedule.batch_size, recipe.frames.budget
    tower, config = model.model.vision_model, model.config.vision_config
    side = recipe.frames.size // config.patch_size
    context = torch.enable_grad() if "vision" in adapted.trained_roles else torch.no_grad()
    with context:
        if adapted.loaded.model_type == "idefics":
            pixels = torch.empty(clips * budget, 3, recipe.frames.size, recipe.frames.size, device=META)
            states = tower(pixel_values=pixels.to(model.dtype)).last_hidden_state
        else:
            states = _videollama3_states(adapted, tower, clips * budget, side)
    return states.unflatten(0, (clips, budget)).unbind(0)


def _videollama3_states(adapted: Adapted, tower: Any, frames: int, side: int) -> Tensor:
    """As the tower's forward, whose own grid arithmetic reads values. [frames, tokens, width]."""
    config = tower.config
    patches = torch.empty(frames * side * side, 3 * config.patch_size**2, device=META, dtype=adapted.model.dtype)
    hidden = tower.embeddings(patches)
    half = torch.empty(len(patches), config.hidden_size // config.num_attention_heads, device=META, dtype=hidden.dtype)
    borders = torch.arange(frames + 1) * side * side
    config._attn_implementation = FRAMES_ONLY
    hidden = tower.encoder(hidden, cu_seqlens=borders, position_embeddings=(half, half)).last_hidden_state
    merge = adapted.loaded.processor.video_processor.merge_size
    merged = tower.post_layernorm(hidden).unflatten(0, (frames, (side // merge) ** 2, merge**2))
    return merged.mean(2)


def _shapes_only_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attention as the fused kernels keep it for backward: query, key, value and output, never the score matrix.

    On the meta device torch would choose the unfused one.
    """
    borders = kwargs.get("cu_seq_lens_q")
    if borders is not None:
        frames = len(borders) - 1
        query, key, value = (part[0].unflatten(1, (frames, -1)).transpose(0, 1) for part in (query, key, value))
    groups = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(groups, dim=1) if groups > 1 else part for part in (key, value))
    out = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, value)[0].transpose(1, 2)
    return (out.flatten(0, 1).unsqueeze(0) if borders is not None else out), None


SHAPES_ONLY = "shapes_only"
FRAMES_ONLY = "flash_shapes_only"  # 'flash' in the name asks a tower for frame borders
AttentionInterface.register(SHAPES_ONLY, _shapes_only_attention)
AttentionInterface.register(FRAMES_ONLY, _shapes_only_attention)
AttentionMaskInterface.register(SHAPES_ONLY, lambda *_, **__: None)
