"""Families with cross-attention, and dual encoders: see `vqlora.models.crossed` and `dual`."""

from __future__ import annotations

from typing import Any

from vqlora.models.sizes import Size
from vqlora.models.skeletons.parts import (
    classes,
    ends,
    height_width,
    ids,
    model_of,
    square,
    text_fields,
    tokenizer,
    tower_fields,
)

ASPECTS = [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]]
CLIP_END = "<|endoftext_clip|>"  # CLIP and X-CLIP read a text at its highest id, which is their vocabulary's last


def idefics(size: Size) -> tuple[Any, Any]:
    transformers = classes()

    words, text, tower = tokenizer(), size.text, size.tower
    depth, heads, width, latents = size.more["resampler"]
    config = transformers.IdeficsConfig(
        hidden_size=text.hidden, intermediate_size=text.inner, num_hidden_layers=text.layers,
        num_attention_heads=text.heads, vocab_size=text.vocabulary, use_resampler=True,
        cross_layer_interval=size.more["cross_layer_interval"], freeze_text_layers=False, freeze_vision_layers=False,
        max_position_embeddings=2048, bos_token_id=None, **ends(words),
        alpha_initializer="ones",  # zeros, the class's default, would hide the frames from a random text
        vision_config={
            "embed_dim": tower.hidden, "intermediate_size": tower.inner, "num_hidden_layers": tower.layers,
            "num_attention_heads": tower.heads, "image_size": tower.image, "patch_size": tower.patch,
        },
        perceiver_config={
            "use_resampler": True, "resampler_depth": depth, "resampler_n_heads": heads,
            "resampler_head_dim": width, "resampler_n_latents": latents,
        },
    )  # fmt: skip
    processor = transformers.IdeficsProcessor(
        image_processor=transformers.IdeficsImageProcessor(image_size=tower.image), tokenizer=words
    )
    return model_of(size, config), processor


def mllama(size: Size) -> tuple[Any, Any]:
    transformers = classes()

    words = tokenizer("<|image|>", "<|python_tag|>", placeholder="<|image|>")
    cross = list(range(3, size.text.layers, 5))
    tower = tower_fields(size, supported_aspect_ratios=ASPECTS, max_num_tiles=4)
    tower["attention_heads"] = tower.pop("num_attention_heads")
    tower["vision_output_dim"] = size.tower.hidden * (1 + len(tower["intermediate_layers_indices"]))
    config = transformers.MllamaConfig(
        text_config=text_fields(size, words, cross_attention_layers=cross, bos_token_id=words.pad_token_id),
        vision_config=tower,
        **ids(words, image_token_index="<|image|>"),
    )
    processor = transformers.MllamaProcessor(
        image_processor=transformers.MllamaImageProcessor(size=height_width(size.tower.image), max_image_tiles=4),
        tokenizer=words,
        chat_template=words.chat_template,
    )
    return model_of(size, config), processor


def dual(size: Size) -> tuple[Any, Any]:
    """CLIP, SigLIP, X-CLIP."""
    transformers = classes()

    stem = {"clip": "CLIP", "siglip": "Siglip", "xclip": "XCLIP"}[size.model_type]
    words, text = tokenizer(CLIP_END), size.text
    words.bos_token, words.eos_token = "<|im_start|>", CLIP_END
    tower = tower_fields(size)
    if "mit" in size.more:
        names = ("mit_hidden_size", "mit_intermediate_size", "mit_num_hidden_layers", "mit_num_attention_heads")
        tower |= {**dict(zip(names, size.more["mit"], strict=True)), "num_frames": size.more["frames"]}
    own = {"projection_dim": size.more["projection_dim"]} if "projection_dim" in size.more else {}
    if stem == "XCLIP":
        own["prompt_num_attention_heads"] = text.heads
    config = getattr(transformers, f"{stem}Config")(
        text_config={
            "hidden_size": text.hidden, "intermediate_size": text.inner, "num_hidden_layers": text.layers,
            "num_attention_heads": text.heads, "vocab_size": text.vocabulary, "bos_token_id": None, **ends(words),
        },
        vision_config=tower,
        **own,
    )  # fmt: skip
    image = transformers.SiglipImageProcessor if stem == "Siglip" else transformers.CLIPImageProcessor
    processor = {
        "CLIP": transformers.CLIPProcessor,
        "Siglip": transformers.SiglipProcessor,
        "XCLIP": transformers.XCLIPProcessor,
    }[stem](image_processor=image(**square(size.tower.image)), tokenizer=words)
    return model_of(size, config), processor
