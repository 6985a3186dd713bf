"""The Qwen line: see `vqlora.models.rotary` and `omni`."""

from __future__ import annotations

from typing import Any

from vqlora.models.sizes import Size
from vqlora.models.skeletons.parts import (
    classes,
    ids,
    model_of,
    text_fields,
    tokenizer,
)

VISION_MARKS = ("<|vision_start|>", "<|vision_end|>")


def qwen_vl(size: Size) -> tuple[Any, Any]:
    """Qwen2-VL, Qwen2.5-VL, Qwen3-VL."""
    transformers = classes()

    kind = {"qwen2_vl": "Qwen2VL", "qwen2_5_vl": "Qwen2_5_VL", "qwen3_vl": "Qwen3VL"}
    stem = kind[size.model_type]
    words = tokenizer(*VISION_MARKS, placeholder="<|vision_start|><|video_pad|><|vision_end|>")
    config = getattr(transformers, f"{stem}Config")(
        text_config=text_fields(size, words, rope_parameters=_mrope(size)),
        vision_config=_qwen_tower(size),
        tie_word_embeddings=size.text.tied,
        **_qwen_ids(words),
    )
    patches = {"patch_size": size.tower.patch, "merge_size": 2, "temporal_patch_size": 2}
    means = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3} if stem == "Qwen3VL" else {}
    video = transformers.Qwen3VLVideoProcessor if stem == "Qwen3VL" else transformers.Qwen2VLVideoProcessor
    processor = getattr(transformers, f"{stem}Processor")(
        image_processor=transformers.Qwen2VLImageProcessor(**patches, **means),
        video_processor=video(**patches, **means),
        tokenizer=words,
        chat_template=words.chat_template,
    )
    return model_of(size, config), processor


def omni(size: Size) -> tuple[Any, Any]:
    transformers = classes()

    names = {
        "image_token": "<|IMAGE|>", "audio_token": "<|AUDIO|>", "video_token": "<|VIDEO|>",
        "vision_bos_token": "<|vision_bos|>", "vision_eos_token": "<|vision_eos|>",
        "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>",
    }  # fmt: skip
    words = tokenizer(named=names, placeholder="<|vision_bos|><|VIDEO|><|vision_eos|>")
    tower = {name: value for name, value in _qwen_tower(size).items() if name != "tokens_per_second"}
    config = transformers.Qwen2_5OmniThinkerConfig(
        text_config=text_fields(size, words, rope_parameters=_mrope(size)),
        vision_config=tower,
        audio_config={**size.more["audio_config"], "output_dim": size.text.hidden},
        tie_word_embeddings=size.text.tied,
        **ids(
            words,
            audio_token_index="<|AUDIO|>",
            image_token_index="<|IMAGE|>",
            video_token_index="<|VIDEO|>",
            audio_start_token_id="<|audio_bos|>",
            audio_end_token_id="<|audio_eos|>",
            vision_start_token_id="<|vision_bos|>",
            vision_end_token_id="<|vision_eos|>",
        ),
    )
    patches = {"patch_size": size.tower.patch, "merge_size": 2, "temporal_patch_size": 2}
    processor = transformers.Qwen2_5OmniProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(**patches),
        video_processor=transformers.Qwen2VLVideoProcessor(**patches),
        feature_extractor=transformers.WhisperFeatureExtractor(feature_size=128, hop_length=160, chunk_length=300),
        tokenizer=words,
        chat_template=words.chat_template,
    )
    return model_of(size, config), processor


def _qwen_tower(size: Size) -> dict[str, Any]:
    tower = size.tower
    shared = {"depth": tower.layers, "num_heads": tower.heads, "patch_size": tower.patch, **tower.more}
    if size.model_type == "qwen2_vl":
        inner = {"embed_dim": tower.hidden, "mlp_ratio": tower.inner // tower.hidden, "hidden_size": size.text.hidden}
        return shared | inner
    return shared | {
        "hidden_size": tower.hidden,
        "intermediate_size": tower.inner,
        "out_hidden_size": size.text.hidden,
    }


def _qwen_ids(words: Any) -> dict[str, int]:
    return ids(
        words,
        image_token_id="<|image_pad|>",
        video_token_id="<|video_pad|>",
        vision_start_token_id=VISION_MARKS[0],
        vision_end_token_id=VISION_MARKS[1],
    )


def _mrope(size: Size) -> dict[str, Any]:
    """Half of a head's width over time, height and width, as the published shapes share out their 64."""
    half = (size.text.head_width or size.text.hidden // size.text.heads) // 2
    if size.model_type == "qwen3_vl":
        side = half * 20 // 64
        section = {"mrope_section": [half - 2 * side, side, side], "mrope_interleaved": True}
        return {"rope_type": "default", "rope_theta": 5e6, **section}
    side = half * 24 // 64
    return {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [half - 2 * side, side, side]}
