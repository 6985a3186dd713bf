"""Families whose frames stand in the text: see `vqlora.models.pads` and `queries`."""

from __future__ import annotations

from typing import Any

from vqlora.models.sizes import Size
from vqlora.models.skeletons.parts import (
    classes,
    height_width,
    ids,
    model_of,
    square,
    text_fields,
    tokenizer,
    tower_fields,
)


def videollama3(size: Size) -> tuple[Any, Any]:
    transformers = classes()

    words, merge = tokenizer(), size.tower.more.get("merge", 2)
    text = text_fields(size, words, model_type="qwen2")
    del text["tie_word_embeddings"]
    tower = tower_fields(size, num_channels=3)
    config = transformers.VideoLlama3Config(
        text_config=text,
        vision_config={name: value for name, value in tower.items() if name not in ("image_size", "merge")},
        **ids(words, image_token_id="<|image_pad|>", video_token_id="<|video_pad|>"),
    )
    processor = transformers.VideoLlama3Processor(
        image_processor=transformers.VideoLlama3ImageProcessor(patch_size=size.tower.patch, merge_size=merge),
        video_processor=transformers.VideoLlama3VideoProcessor(
            patch_size=size.tower.patch, merge_size=merge, use_token_compression=False
        ),
        tokenizer=words,
        chat_template=words.chat_template,
    )
    return model_of(size, config), processor


def llava(size: Size) -> tuple[Any, Any]:
    """Video-LLaVA, LLaVA-NeXT-Video, LLaVA-OneVision."""
    transformers = classes()

    kind = {"video_llava": "VideoLlava", "llava_next_video": "LlavaNextVideo", "llava_onevision": "LlavaOnevision"}
    stem, is_qwen = kind[size.model_type], size.model_type == "llava_onevision"
    words = tokenizer("<video>", placeholder="<video>")
    tower = "siglip_vision_model" if is_qwen else "clip_vision_model"
    strategy = "full" if is_qwen else "default"
    config = getattr(transformers, f"{stem}Config")(
        text_config=text_fields(size, words, model_type="qwen2" if is_qwen else "llama"),
        vision_config=tower_fields(size, model_type=tower),
        tie_word_embeddings=size.text.tied,
        vision_feature_select_strategy=strategy,
        **ids(words, image_token_index="<image>", video_token_index="<video>"),
    )
    image = {"image_processor": getattr(transformers, f"{stem.replace('NextVideo', 'Next')}ImageProcessor")()}
    more: dict[str, Any] = {"patch_size": size.tower.patch, "num_additional_image_tokens": 1}
    if is_qwen:
        more = {"num_image_tokens": (size.tower.image // size.tower.patch) ** 2}
    processor = getattr(transformers, f"{stem}Processor")(
        tokenizer=words,
        video_processor=getattr(transformers, f"{stem}VideoProcessor")(**square(size.tower.image)),
        vision_feature_select_strategy=strategy,
        chat_template=words.chat_template,
        **image,
        **more,
    )
    return model_of(size, config), processor


def internvl(size: Size) -> tuple[Any, Any]:
    transformers = classes()

    names = {
        "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }  # fmt: skip
    words, tower = tokenizer(named=names, placeholder="<video>"), tower_fields(size)
    tower |= {"image_size": [size.tower.image] * 2, "patch_size": [size.tower.patch] * 2}
    config = transformers.InternVLConfig(
        text_config=text_fields(size, words, model_type="qwen2"),
        vision_config=tower,
        tie_word_embeddings=size.text.tied,
        **ids(words, image_token_id="<IMG_CONTEXT>"),
    )
    processor = transformers.InternVLProcessor(
        image_processor=transformers.GotOcr2ImageProcessor(size=height_width(size.tower.image)),
        video_processor=transformers.InternVLVideoProcessor(size=height_width(size.tower.image)),
        tokenizer=words,
        image_seq_length=(size.tower.image // size.tower.patch // 2) ** 2,
        chat_template=words.chat_template,
    )
    return model_of(size, config), processor


def smolvlm(size: Size) -> tuple[Any, Any]:
    transformers = classes()

    words = tokenizer(
        "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", "<video>", placeholder="<video>"
    )
    scale, image = size.more["scale_factor"], {"longest_edge": size.tower.image}
    config = transformers.SmolVLMConfig(
        text_config=text_fields(size, words, model_type="llama"),
        vision_config=tower_fields(size),
        scale_factor=scale,
        tie_word_embeddings=size.text.tied,
        pad_token_id=words.pad_token_id,
        **ids(words, image_token_id="<image>"),
    )
    processor = transformers.SmolVLMProcessor(
        image_processor=transformers.SmolVLMImageProcessor(size=image, max_image_size=image),
        video_processor=transformers.SmolVLMVideoProcessor(size=image, max_image_size=image),
        tokenizer=words,
        image_seq_len=(size.tower.image // size.tower.patch // scale) ** 2,
        chat_template=words.chat_template,
    )
    return model_of(size, config), processor


def perception(size: Size) -> tuple[Any, Any]:
    transformers = classes()

    names = {"image_token": "<|image|>", "video_token": "<|video|>"}
    words, tower = tokenizer(named=names, placeholder="<|video|>"), size.tower
    grid = [tower.image // tower.patch] * 2
    config = transformers.PerceptionLMConfig(
        text_config=text_fields(size, words, model_type="llama"),
        vision_config={
            "model_type": "timm_wrapper",
            "architecture": "vit_pe_core_large_patch14_336",
            "do_pooling": True,
            "model_args": {
                "embed_dim": tower.hidden, "depth": tower.layers, "num_heads": tower.heads,
                "img_size": [tower.image] * 2,
                "mlp_ratio": tower.inner / tower.hidden, "global_pool": "", "use_post_transformer_norm": False,
                "init_values": 0.1, "ref_feat_shape": grid,
            },
        },
        projector_pooling_ratio=2,
        tie_word_embeddings=size.text.tied,
        **ids(words, image_token_id="<|image|>", video_token_id="<|video|>"),
    )  # fmt: skip
    processor = transformers.PerceptionLMProcessor(
        image_processor=transformers.PerceptionLMImageProcessor(tile_size=tower.image),
        video_processor=transformers.PerceptionLMVideoProcessor(size=height_width(tower.image)),
        tokenizer=words,
        patch_size=tower.patch,
        pooling_ratio=2,
        chat_template=words.chat_template,
    )
    return model_of(size, config), processor


def instructblip(size: Size) -> tuple[Any, Any]:
    transformers = classes()

    words = tokenizer("<video>")
    words.chat_template = None  # the family's own
    vocabulary, hidden, inner, layers, heads = size.more["qformer"]
    queries = size.more["num_query_tokens"]
    config = transformers.InstructBlipVideoConfig(
        vision_config=tower_fields(size, initializer_range=0.02),
        qformer_config={
            "vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
            "num_attention_heads": heads, "encoder_hidden_size": size.tower.hidden,
        },
        text_config=text_fields(size, words, model_type="llama"),
        num_query_tokens=queries,
        **ids(words, video_token_index="<video>"),
    )  # fmt: skip
    processor = transformers.InstructBlipVideoProcessor(
        video_processor=transformers.InstructBlipVideoVideoProcessor(size=height_width(size.tower.image)),
        tokenizer=words,
        qformer_tokenizer=tokenizer(),
        num_query_tokens=queries,
    )
    return model_of(size, config), processor
