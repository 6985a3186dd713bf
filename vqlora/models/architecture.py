"""The embedded bases' architectures: transformers' own classes at a few million parameters, with their processors."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from vqlora.data.shapes import SIDE

WIDTH, INNER, LAYERS, HEADS = 192, 384, 6, 6  # of the language model
VISION = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4}
PATCH, MERGE = 14, 4  # 8 x 8 patches a frame; the Video-LLaMA family merges them to 2 x 2 tokens
LATENTS = 4  # tokens a frame of the Flamingo family's resampler


def build(name: str, tokenizer: PreTrainedTokenizerFast, seed: int) -> tuple[Any, Any]:
    """(model, processor) with random weights; name 'videollama' or 'flamingo'."""
    builders = {"videollama": _videollama, "flamingo": _flamingo}
    if name not in builders:
        raise ValueError(f"embedded base {name!r} is unknown; use one of {tuple(builders)}")
    torch.manual_seed(seed)
    return builders[name](tokenizer)


def _vocabulary(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    size = -(-len(tokenizer) // 64) * 64
    return {"vocab_size": size, "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}


def _videollama(tokenizer: PreTrainedTokenizerFast) -> tuple[Any, Any]:
    from transformers import (
        VideoLlama3Config,
        VideoLlama3ForConditionalGeneration,
        VideoLlama3ImageProcessor,
        VideoLlama3Processor,
        VideoLlama3VideoProcessor,
    )

    config = VideoLlama3Config(
        vision_config={**VISION, "patch_size": PATCH, "num_channels": 3},
        text_config={
            "model_type": "qwen2", "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "max_position_embeddings": 4096,
            "tie_word_embeddings": True, "bos_token_id": None, **_vocabulary(tokenizer),
        },
        image_token_id=tokenizer.get_vocab()["<|image_pad|>"],
        video_token_id=tokenizer.get_vocab()["<|video_pad|>"],
        tie_word_embeddings=True,
    )  # fmt: skip
    size = {"shortest_edge": SIDE * SIDE, "longest_edge": SIDE * SIDE * 64}
    processor = VideoLlama3Processor(
        image_processor=VideoLlama3ImageProcessor(patch_size=PATCH, merge_size=MERGE, size=size),
        video_processor=VideoLlama3VideoProcessor(
            patch_size=PATCH, merge_size=MERGE, size=size, use_token_compression=False
        ),
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
    )
    return VideoLlama3ForConditionalGeneration(config), processor


def _flamingo(tokenizer: PreTrainedTokenizerFast) -> tuple[Any, Any]:
    from transformers import IdeficsConfig, IdeficsForVisionText2Text, IdeficsImageProcessor, IdeficsProcessor

    config = IdeficsConfig(
        hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        cross_layer_interval=2, alpha_initializer="ones", max_position_embeddings=4096, tie_word_embeddings=True,
        bos_token_id=None, freeze_text_layers=False, freeze_vision_layers=False, use_resampler=True,
        vision_config={
            "embed_dim": VISION["hidden_size"], "intermediate_size": VISION["intermediate_size"], "image_size": SIDE,
            "patch_size": PATCH, "num_hidden_layers": VISION["num_hidden_layers"],
            "num_attention_heads": VISION["num_attention_heads"],
        },
        perceiver_config={
            "use_resampler": True, "resampler_n_latents": LATENTS, "resampler_depth": 1, "resampler_n_heads": 4,
            "resampler_head_dim": 32,
        },
        **_vocabulary(tokenizer),
    )  # fmt: skip
    processor = IdeficsProcessor(image_processor=IdeficsImageProcessor(image_size=SIDE), tokenizer=tokenizer)
    return IdeficsForVisionText2Text(config), processor
