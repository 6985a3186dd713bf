"""The peer of `benchmarks/methods.py`: QLoRA with transformers, PEFT and bitsandbytes as their documentation has it.

`from_pretrained` with a BitsAndBytesConfig (nf4, double quantisation, bf16 arithmetic), prepare_model_for_kbit_training
with gradient checkpointing, LoRA on the language model's linear layers by leaf name, the model's own forward with
pixels and labels, torch's AdamW. The same random base, clips, rank and batch as our row.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from methods_rows import LATENCY_CLIPS, NEW_TOKENS, Noise, Row
from torch import Tensor

from vqlora.cost import GIB, PROBE_STEPS
from vqlora.data.example import PROMPTS, Clip, Message
from vqlora.models.families import family_of
from vqlora.models.load import load, meta_model, processor_of
from vqlora.models.pads import VideoLlama3
from vqlora.planner import CAPTION
from vqlora.recipe import Bits, Recipe
from vqlora.video.frames import ClipFrames

LEAVES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TEXT = r".*language_model.*\.({})$".format("|".join(LEAVES))


def checkpoint(base: str, folder: Path, device: str) -> Path:
    """A folder that `from_pretrained` loads, with the random base's weights; made once."""
    if not (folder / "config.json").is_file():
        loaded = load(base, Bits.preset("all16"), device)
        loaded.model.to(torch.bfloat16).save_pretrained(folder)
        del loaded
    return folder


def measure_peer(row: Row, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """The row's figures by the peer's own way, on a GPU; status 'done' or 'out_of_memory'."""
    try:
        return _measured(row, recipe, folder)
    except torch.OutOfMemoryError:
        return {"status": "out_of_memory"}
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def qlora(folder: Path, *, device: str, checkpointing: bool) -> Any:
    """The checkpoint at 4 bits with LoRA of rank 16 on it."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers import BitsAndBytesConfig, VideoLlama3ForConditionalGeneration

    bits = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )  # fmt: skip
    model: Any = VideoLlama3ForConditionalGeneration.from_pretrained(
        folder, quantization_config=bits, dtype=torch.bfloat16, device_map={"": device}
    )
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=checkpointing)
    return get_peft_model(model, LoraConfig(r=16, lora_alpha=16, target_modules=TEXT, task_type="CAUSAL_LM"))


def _measured(row: Row, recipe: Recipe, folder: Path) -> dict[str, Any]:
    model = qlora(folder, device="cuda:0", checkpointing=row.checkpointing)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    inputs = batch(recipe, row.batch, model.device)
    torch.cuda.reset_peak_memory_stats()
    model.train()
    seconds = []
    for _ in range(PROBE_STEPS):
        torch.cuda.synchronize()
        began = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16):
            model(**inputs).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    step = statistics.median(seconds[1:])
    free, whole = torch.cuda.mem_get_info()
    found = {
        "status": "done",
        "train_peak_gib": torch.cuda.max_memory_allocated() / GIB,
        "reserved_peak_gib": torch.cuda.max_memory_reserved() / GIB,
        "process_peak_gib": (whole - free) / GIB,
        "step_seconds": step,
        "tokens_per_second": inputs["input_ids"].numel() / step,
        "trainable_params": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
    return found | _inference(model, recipe)


def _inference(model: Any, recipe: Recipe) -> dict[str, Any]:
    model.eval()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    inputs = batch(recipe, 1, model.device, generate=True)
    seconds = []
    for _ in range(LATENCY_CLIPS + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
            model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return {
        "infer_peak_gib": torch.cuda.max_memory_allocated() / GIB,
        "latency_ms": 1e3 * statistics.median(seconds[1:]),
    }


def batch(recipe: Recipe, clips: int, device: Any, *, generate: bool = False) -> dict[str, Tensor]:
    """The model's own inputs: tokens, mask, labels, patches of all frames and their grids."""
    processor, store = processor_of(recipe.base), Noise(recipe.frames)
    shown = [store.get(Clip(path=str(number))) for number in range(clips)]
    said = (Message(role="user", text=PROMPTS["caption"]), Message(role="assistant", text=CAPTION))
    config = meta_model(recipe.base).config
    return model_inputs(processor, config, shown, [said] * clips, recipe.frames.size, device, generate=generate)


def model_inputs(
    processor: Any, config: Any, shown: Sequence[ClipFrames], said: Sequence[Sequence[Message]], size: int, device: Any,
    *, generate: bool,
) -> dict[str, Tensor]:  # fmt: skip
    """What the model's own forward takes of clips with their conversations."""
    times = [clip.times_seconds for clip in shown]
    tokens = family_of(config.model_type).batch(processor, config, times, said, size=size, generate=generate)
    found = {name: tensor for name, tensor in tokens.items() if name != "frame_of_token"}
    found |= pixels(processor.video_processor, shown, torch.bfloat16)
    return {name: tensor.to(device) for name, tensor in found.items()}


def pixels(video_processor: Any, clips: Sequence[ClipFrames], dtype: torch.dtype) -> dict[str, Tensor]:
    """Patches of all frames and their grids, as VideoLlama3's own forward takes them."""
    frames = torch.cat([torch.from_numpy(clip.frames) for clip in clips]).permute(0, 3, 1, 2)
    side, merge = frames.shape[-1] // video_processor.patch_size, video_processor.merge_size
    return {
        "pixel_values_videos": VideoLlama3.patches(video_processor, frames).to(dtype),
        "video_grid_thw": torch.tensor([[len(clip.frames), side, side] for clip in clips]),
        "video_merge_sizes": torch.tensor([merge] * len(clips)),
        "video_compression_mask": torch.ones(len(frames) * (side // merge) ** 2, dtype=torch.bool),
    }
