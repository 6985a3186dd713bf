"""Architectures of the `random:` bases: published shapes and tiny ones, as a model without weights and its processor.

`random:videollama` and `random:flamingo` are the embedded bases' own architectures; the others use their tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

EMBEDDED = Path(__file__).parent / "embedded"
# Text: hidden, inner, layers, heads, key-value heads, vocabulary; vision: hidden, inner, layers, heads; merge a side.
VIDEOLLAMA3 = {
    "videollama3-tiny": ((64, 128, 2, 4, 4, 1024), (32, 64, 2, 2), 4),
    "videollama3-2b": ((1536, 8960, 28, 12, 2, 151936), (1152, 4304, 27, 16), 2),
    "videollama3-7b": ((3584, 18944, 28, 28, 4, 152064), (1152, 4304, 27, 16), 2),
}
# hidden, inner, layers, heads, vocabulary; cross-attention every n layers; vision as above and image side in pixels;
# resampler: depth, heads, width of a head, latents a frame.
IDEFICS = {
    "idefics-tiny": ((64, 128, 2, 4, 1024), 1, (32, 64, 2, 2, 112), (1, 2, 16, 4)),
    "idefics-9b": ((4096, 11008, 32, 32, 32000), 4, (1280, 5120, 32, 16, 224), (6, 16, 96, 64)),
}
EMBEDDED_NAMES = ("videollama", "flamingo")
RANDOM_BASES = (*VIDEOLLAMA3, *IDEFICS, *EMBEDDED_NAMES)
PATCH = 14


def skeleton(name: str) -> tuple[Any, Any]:
    """(model on the meta device, processor) of a `random:` base. ValueError for an unknown name."""
    if name not in RANDOM_BASES:
        raise ValueError(f"random base {name!r} is unknown; use one of {RANDOM_BASES}")
    build: Callable[[str, Any], tuple[Any, Any]] = (
        _videollama3 if name in VIDEOLLAMA3 else _idefics if name in IDEFICS else _embedded
    )
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return build(name, tokenizer())


def tokenizer() -> Any:
    """The embedded bases' tokenizer."""
    from transformers import AutoTokenizer

    folder = EMBEDDED / EMBEDDED_NAMES[0]
    if (folder / "tokenizer.json").exists():
        return AutoTokenizer.from_pretrained(folder)
    from vqlora.models.tokenizer import build_tokenizer

    return build_tokenizer()


def _embedded(name: str, tokenizer: Any) -> tuple[Any, Any]:
    from vqlora.models.architecture import build

    return build(name, tokenizer, seed=0)


def _videollama3(name: str, tokenizer: Any) -> tuple[Any, Any]:
    from transformers import (
        VideoLlama3Config,
        VideoLlama3ForConditionalGeneration,
        VideoLlama3ImageProcessor,
        VideoLlama3Processor,
        VideoLlama3VideoProcessor,
    )

    (hidden, inner, layers, heads, kv_heads, vocabulary), vision, merge = VIDEOLLAMA3[name]
    config = VideoLlama3Config(
        text_config={
            "model_type": "qwen2", "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": vocabulary,
            "max_position_embeddings": 32768, "bos_token_id": None, **_ends(tokenizer),
        },
        vision_config={
            "hidden_size": vision[0], "intermediate_size": vision[1], "num_hidden_layers": vision[2],
            "num_attention_heads": vision[3], "patch_size": PATCH, "num_channels": 3,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
    )  # fmt: skip
    processor = VideoLlama3Processor(
        image_processor=VideoLlama3ImageProcessor(patch_size=PATCH, merge_size=merge),
        video_processor=VideoLlama3VideoProcessor(patch_size=PATCH, merge_size=merge, use_token_compression=False),
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
    )
    return VideoLlama3ForConditionalGeneration(config), processor


def _idefics(name: str, tokenizer: Any) -> tuple[Any, Any]:
    from transformers import IdeficsConfig, IdeficsForVisionText2Text, IdeficsImageProcessor, IdeficsProcessor

    (hidden, inner, layers, heads, vocabulary), interval, vision, resampler = IDEFICS[name]
    config = IdeficsConfig(
        hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        vocab_size=vocabulary, cross_layer_interval=interval, use_resampler=True, freeze_text_layers=False,
        freeze_vision_layers=False, max_position_embeddings=2048, bos_token_id=None, **_ends(tokenizer),
        alpha_initializer="ones",  # zeros, the class's default, would hide the frames from a random text
        vision_config={
            "embed_dim": vision[0], "intermediate_size": vision[1], "num_hidden_layers": vision[2],
            "num_attention_heads": vision[3], "image_size": vision[4], "patch_size": PATCH,
        },
        perceiver_config={
            "use_resampler": True, "resampler_depth": resampler[0], "resampler_n_heads": resampler[1],
            "resampler_head_dim": resampler[2], "resampler_n_latents": resampler[3],
        },
    )  # fmt: skip
    processor = IdeficsProcessor(image_processor=IdeficsImageProcessor(image_size=vision[4]), tokenizer=tokenizer)
    return IdeficsForVisionText2Text(config), processor


def _ends(tokenizer: Any) -> dict[str, Any]:
    return {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
