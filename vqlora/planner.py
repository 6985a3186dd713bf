"""What a recipe will need before anything is loaded: memory and FLOPs from shapes, on the meta device.

The model is built without weights, its adapters are attached, and one training step runs on tensors that have shapes
only, through the layers' own code and, for quantised ones and attention, through `shadow`. What is alive at once and
what operators would cost is counted as in `cost`. No constant is fitted to a measured peak.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PretrainedConfig

from vqlora.adapters import Adapted, attach
from vqlora.adapters.adapted import Shown
from vqlora.checkpointing import checkpointed
from vqlora.cost import GIB, LivePeak, saved_activations
from vqlora.data.example import PROMPTS, Message
from vqlora.flops import FlopCounter
from vqlora.methods import SCORES
from vqlora.models.bits import layer_bits, linear_bytes
from vqlora.models.conversation import IGNORED
from vqlora.models.dual import Dual
from vqlora.models.families import family_of
from vqlora.models.load import Loaded, meta_model, model_type_of, processor_of
from vqlora.models.rotary import Rotary
from vqlora.plan import Plan
from vqlora.recipe import Bits, FullFineTune, Lora, Recipe
from vqlora.shadow import FRAMES_ONLY, SHAPES_ONLY, bf16_autocast, fake_tensors, shadow_layer

CAPTION = " ".join(["word"] * 30)  # as long as the captions of the embedded data; a token or two a word elsewhere
TOLERANCE = 0.002  # of the counted peak, for a count that takes seconds
WORKSPACE_BYTES = 32 * 2**20  # of cuBLAS on compute capability 9 by torch's default; 8 MiB on earlier ones
SMALLEST_8_BIT, SMALLEST_PAGED, BLOCK_8_BIT = 4096, 100_000, 256  # of bitsandbytes' optimizers, in values


def plan(recipe: Recipe, *, device: str = "cuda") -> Plan:
    """Memory and FLOPs of a trial on 'cuda' (bf16) or 'cpu' (fp32). ValueError as for the trial itself.

    On a GPU the peak is that of all tensors alive at once, temporaries too; on a CPU, as it is measured there, what is
    kept for the backward pass.
    """
    if not is_planned(recipe.base):
        raise ValueError(
            f"{recipe.base} is not planned: its tower reads values, and a plan has shapes only; just run it"
        )
    if isinstance(recipe.method, Lora) and recipe.method.init is not None:  # initial values cost no memory in a step
        recipe = replace(recipe, method=replace(recipe.method, init=None))
    on_gpu = torch.device(device).type == "cuda"
    adapted, base_bytes = _without_weights(recipe, on_gpu)
    batch = _batch(adapted, recipe)
    with FakeTensorMode(allow_non_fake_inputs=True) if on_gpu else nullcontext():
        return _plan(recipe, _faked(adapted) if on_gpu else adapted, batch, base_bytes)


def is_planned(base: str) -> bool:
    """Whether the base's tower runs without values; Qwen-VL's read the grid of their frames."""
    return not isinstance(family_of(model_type_of(base)), Rotary)


def _plan(recipe: Recipe, adapted: Adapted, batch: _Batch, base_bytes: float) -> Plan:
    on_gpu = adapted.loaded.device.type != "meta"
    sizes = [parameter.numel() for parameter in adapted.parameters.values()]
    about: dict[str, Any] = {
        "base_bytes": base_bytes,
        "trainable_params": sum(sizes),
        "clip_tokens": batch.tokens["input_ids"].shape[1],
        "layers": int(adapted.model.config.get_text_config().num_hidden_layers),
    }
    if not sizes:
        return Plan(peak_gib=base_bytes / GIB, activation_bytes=0, train_flops=0.0, **about)
    seen = _seen(adapted, recipe)
    recomputing = checkpointed(adapted.model) if recipe.schedule.checkpointing else nullcontext()
    counting = LivePeak(TOLERANCE) if on_gpu or recipe.schedule.checkpointing else saved_activations(adapted.model)
    with counting as counted, FlopCounter() as flops, recomputing:
        with bf16_autocast() if on_gpu else nullcontext():
            loss = _loss(adapted, recipe, batch, seen.states)
        loss.backward()
    gradients = sum(parameter.numel() * parameter.element_size() for parameter in adapted.parameters.values())
    alive = max(counted.peak, seen.peak) if isinstance(counted, LivePeak) else counted.bytes + gradients
    step = alive
    if isinstance(counted, LivePeak):
        step = max(alive, gradients + update_bytes(recipe, sizes)) + (WORKSPACE_BYTES if on_gpu else 0)
    peak = base_bytes + _added_bytes(recipe, gradients, on_gpu) + state_bytes(recipe, sizes, on_gpu=on_gpu) + step
    return Plan(
        peak_gib=peak / GIB,
        activation_bytes=alive - gradients,
        train_flops=float(flops.total + seen.flops) * recipe.schedule.steps,
        **about,
    )


def _added_bytes(recipe: Recipe, trained_bytes: int, on_gpu: bool) -> float:
    """What trained weights take beyond the base's; full fine-tuning turns bf16 ones into fp32 ones on a GPU."""
    if not isinstance(recipe.method, FullFineTune):
        return trained_bytes
    return trained_bytes / 2 if on_gpu and recipe.method.update is None else 0.0


def state_bytes(recipe: Recipe, sizes: Sequence[int], *, on_gpu: bool) -> float:
    """What the optimizer keeps between steps, of parameters of these sizes, where torch's allocator sees it.

    Two moments, in fp32 or in 8 bits with a scale a block; bitsandbytes keeps small parameters in fp32, and pages large
    ones in memory of the driver's.
    """
    schedule, update = recipe.schedule, getattr(recipe.method, "update", None)
    total = 0.0
    for size in sizes:
        if schedule.optimizer is None or size < SMALLEST_8_BIT:
            total += 8 * size
        else:
            is_paged = on_gpu and schedule.optimizer == "paged_adamw8bit" and size >= SMALLEST_PAGED
            total += 2 * (0 if is_paged else size) + 8 * -(-size // BLOCK_8_BIT)
        if update == "kahan":
            total += (2 if on_gpu else 4) * size
    return total


def update_bytes(recipe: Recipe, sizes: Sequence[int]) -> int:
    """What an update makes beside the state: nothing, but in bf16 fp32 copies of one parameter at a time."""
    return 0 if getattr(recipe.method, "update", None) is None else 16 * max(sizes)


def _without_weights(recipe: Recipe, on_gpu: bool) -> tuple[Adapted, float]:
    """The adapted base on the meta device, and the bytes its weights will take at the recipe's bits."""
    model_type, dtype = model_type_of(recipe.base), torch.bfloat16 if on_gpu else torch.float32
    model = meta_model(recipe.base).to(dtype).requires_grad_(False).eval()
    for module in model.modules():
        if isinstance(getattr(module, "config", None), PretrainedConfig):
            module.config._attn_implementation = SHAPES_ONLY
    base_bytes = _base_bytes(model, model_type, recipe.bits, dtype.itemsize)
    if on_gpu:
        _quantise(model, model_type, recipe)
    loaded = Loaded(
        base=recipe.base,
        model=model,
        processor=_processor(recipe.base),
        family=family_of(model_type),
        bits=recipe.bits,
        digest="",
        device=torch.device("meta"),
        dtype=dtype,
        found={},
    )
    return attach(loaded, recipe.method, seed=0), base_bytes


def _faked(adapted: Adapted) -> Adapted:
    """The same of fake tensors, on a CPU by name."""
    made = fake_tensors(adapted.model)
    parameters = {name: made[id(parameter)] for name, parameter in adapted.parameters.items()}
    return replace(adapted, loaded=replace(adapted.loaded, device=torch.device("cpu")), parameters=parameters)


def _quantise(model: Any, model_type: str, recipe: Recipe) -> None:
    """Stand-ins for quantised layers. DoRA reads weights, which stand-ins do not have; its own copies rule there."""
    if isinstance(recipe.method, Lora) and recipe.method.variant == "dora":
        return
    for name, bits in layer_bits(model, model_type, recipe.bits).items():
        if bits < 16:
            model.set_submodule(name, shadow_layer(model.get_submodule(name), bits))


_processor = cache(processor_of)


def _base_bytes(model: Any, model_type: str, bits: Bits, wide: int) -> float:
    plan = layer_bits(model, model_type, bits)
    total = 0.0
    for name, parameter in model.named_parameters():
        layer, _, kind = name.rpartition(".")
        if layer in plan and kind == "weight":
            rows, columns = parameter.shape
            total += linear_bytes(rows, columns, plan[layer], bits, wide=wide)
        else:
            total += wide * parameter.numel()
    return total


@dataclass(frozen=True)
class _Batch:
    """Tokens of a batch, and how many of them are labels."""

    tokens: dict[str, Tensor]
    labels: int


def _batch(adapted: Adapted, recipe: Recipe) -> _Batch:
    """A batch of the recipe's shape."""
    loaded = adapted.loaded
    frames, size = _slots(recipe), recipe.frames.size
    asked = (Message(role="user", text=PROMPTS["caption"]), Message(role="assistant", text=CAPTION))
    times = [[float(second) for second in range(frames)]] * recipe.schedule.batch_size
    tokens = loaded.family.batch(
        loaded.processor, loaded.model.config, times, [asked] * recipe.schedule.batch_size, size=size
    )
    tokens["attention_mask"] = torch.ones_like(tokens["attention_mask"])  # as training batches have it
    return _Batch(tokens, int((tokens["labels"][:, 1:] != IGNORED).sum()) if "labels" in tokens else 0)


def _slots(recipe: Recipe) -> int:
    """Frames that the language model sees: those of the budget, or what an adapter's memory leaves of them."""
    return min(recipe.frames.budget, getattr(recipe.method, "memory", None) or recipe.frames.budget)


def _loss(adapted: Adapted, recipe: Recipe, batch: _Batch, states: Sequence[Tensor] | None) -> Tensor:
    """The loss of that batch, without values; states: of a frozen tower."""
    loaded = adapted.loaded
    device, family = loaded.device, loaded.family
    tokens = {name: tensor.to(device) for name, tensor in batch.tokens.items()}
    if states is None:
        clips = recipe.schedule.batch_size
        states = _tower(adapted, recipe, clips).unflatten(0, (clips, -1)).unbind(0)
    if adapted.follows_frames:
        shown = Shown(scores=dict.fromkeys(SCORES, np.zeros(_slots(recipe))), number=0)
        adapted.see([shown] * recipe.schedule.batch_size, tokens)
    if isinstance(family, Dual):
        return family.loss(loaded.model, tokens, states)
    hidden = family.hidden(loaded.model, tokens, states)
    logits = attrgetter(family.head)(loaded.model)(hidden.flatten(0, 1)[: batch.labels])
    return torch.nn.functional.cross_entropy(logits.float(), torch.zeros(batch.labels, dtype=torch.long, device=device))


@dataclass(frozen=True)
class _Seen:
    """What a frozen tower gives for a batch, its FLOPs and peak; a trained one runs with the rest: no states, 0."""

    states: Sequence[Tensor] | None = None
    flops: int = 0
    peak: int = 0


def _seen(adapted: Adapted, recipe: Recipe) -> _Seen:
    """A frozen tower runs clip by clip and keeps nothing, so that one clip stands for all."""
    if "vision" in adapted.trained_roles:
        return _Seen()
    with torch.no_grad(), LivePeak(TOLERANCE) as live, FlopCounter() as flops:
        one = _tower(adapted, recipe, 1)
    return _Seen(
        [one[: _slots(recipe)]] * recipe.schedule.batch_size, recipe.schedule.batch_size * flops.total, live.peak
    )


def _tower(adapted: Adapted, recipe: Recipe, clips: int) -> Tensor:
    """The tower on the frames of so many clips: [states, tokens, width]."""
    loaded, frames, size = adapted.loaded, clips * recipe.frames.budget, recipe.frames.size
    if loaded.model_type == "video_llama_3":
        return _videollama3_states(adapted, loaded.model.model.vision_model, frames, size)
    pixels = torch.empty(frames, 3, size, size, device=loaded.device, dtype=torch.uint8)
    return loaded.family.encode_frames(loaded.model, loaded.processor, pixels)


def _videollama3_states(adapted: Adapted, tower: Any, frames: int, size: int) -> Tensor:
    """As the tower's forward, whose own grid arithmetic reads values. [frames, tokens, width]."""
    config, device = tower.config, adapted.loaded.device
    side = size // config.patch_size
    patches = torch.empty(frames * side * side, 3 * config.patch_size**2, device=device, dtype=adapted.model.dtype)
    hidden = tower.embeddings(patches)
    half = torch.empty(
        len(patches), config.hidden_size // config.num_attention_heads, device=device, dtype=hidden.dtype
    )
    borders = torch.arange(frames + 1) * side * side
    config._attn_implementation = FRAMES_ONLY
    hidden = tower.encoder(
        hidden, cu_seqlens=borders, max_seqlen=side * side, position_embeddings=(half, half)
    ).last_hidden_state
    merge = adapted.loaded.processor.video_processor.merge_size
    merged = tower.post_layernorm(hidden).unflatten(0, (frames, (side // merge) ** 2, merge**2))
    return merged.mean(2)
