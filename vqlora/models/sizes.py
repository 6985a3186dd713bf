"""Shapes of the `random:` bases: those that the families have published, and tiny ones for tests.

Numbers only, from each checkpoint's config.json; `vqlora.models.skeletons` builds models and processors of them. The
test compares each with the number of parameters that its model card names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Text:
    """A language model; width of a head where it is not hidden / heads."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool = False
    head_width: int | None = None


@dataclass(frozen=True)
class Tower:
    """A vision tower: image side and patch in pixels; `more` are fields of its own configuration."""

    hidden: int
    inner: int
    layers: int
    heads: int
    image: int
    patch: int
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Size:
    """A base: its family's model type, its parts by name, and fields of its whole configuration."""

    model_type: str
    text: Text
    tower: Tower
    more: Mapping[str, Any] = field(default_factory=dict)


TINY = Text(64, 128, 2, 4, 2, 1088)
TINY_TOWER = Tower(32, 64, 2, 2, 56, 14)
VICUNA = Text(4096, 11008, 32, 32, 32, 32064)
YI_34B = Text(7168, 20480, 60, 56, 8, 64064)
QWEN2 = {
    "0.5b": Text(896, 4864, 24, 14, 2, 151936, tied=True),
    "1.5b": Text(1536, 8960, 28, 12, 2, 151936, tied=True),
    "3b": Text(2048, 11008, 36, 16, 2, 151936, tied=True),
    "7b": Text(3584, 18944, 28, 28, 4, 152064),
    "14b": Text(5120, 13824, 48, 40, 8, 152064),
    "32b": Text(5120, 27648, 64, 40, 8, 152064),
    "72b": Text(8192, 29568, 80, 64, 8, 152064),
}
QWEN3 = {
    "2b": Text(2048, 6144, 28, 16, 8, 151936, tied=True, head_width=128),
    "4b": Text(2560, 9728, 36, 32, 8, 151936, tied=True, head_width=128),
    "8b": Text(4096, 12288, 36, 32, 8, 151936, head_width=128),
    "32b": Text(5120, 25600, 64, 64, 8, 151936, head_width=128),
}
LLAMA3 = {
    "1b": Text(2048, 8192, 16, 32, 8, 128256, tied=True),
    "3b": Text(3072, 8192, 28, 24, 8, 128256, tied=True),
    "8b": Text(4096, 14336, 32, 32, 8, 128256),
    "11b-vision": Text(4096, 14336, 40, 32, 8, 128256),
    "90b-vision": Text(8192, 28672, 100, 64, 8, 128256),
}
SMOLLM2 = {
    "135m": Text(576, 1536, 30, 9, 3, 49280),
    "360m": Text(960, 2560, 32, 15, 5, 49280),
    "1.7b": Text(2048, 8192, 24, 32, 32, 49280),
}
TINY_CLIP_TEXT = Text(32, 64, 2, 2, 2, 1088)
CLIP_TEXT, CLIP_LARGE_TEXT = Text(512, 2048, 12, 8, 8, 49408), Text(768, 3072, 12, 12, 12, 49408)
VIT_B32, VIT_B16 = Tower(768, 3072, 12, 12, 224, 32), Tower(768, 3072, 12, 12, 224, 16)
CLIP_L_336, CLIP_L_224 = Tower(1024, 4096, 24, 16, 336, 14), Tower(1024, 4096, 24, 16, 224, 14)
SIGLIP_384 = Tower(1152, 4304, 27, 16, 384, 14)
SIGLIP_384_26 = Tower(1152, 4304, 26, 16, 384, 14, {"vision_use_head": False})
SMOL_512 = Tower(768, 3072, 12, 12, 512, 16)
INTERNVIT = Tower(1024, 4096, 24, 16, 448, 14, {"attention_bias": True})
INTERNVIT_6B = Tower(3200, 12800, 45, 25, 448, 14, {"use_qk_norm": True, "norm_type": "rms_norm"})
EVA_G = Tower(1408, 6144, 39, 16, 224, 14)
QWEN_TOWER = Tower(1280, 5120, 32, 16, 448, 14)
WINDOWS = {"window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31], "tokens_per_second": 2}
QWEN25_TOWER = Tower(1280, 3420, 32, 16, 448, 14, WINDOWS)
QWEN25_LARGE_TOWER = Tower(1280, 3456, 32, 16, 448, 14, WINDOWS)
QWEN3_SMALL_TOWER = Tower(1024, 4096, 24, 16, 448, 16, {"deepstack_visual_indexes": [5, 11, 17]})
QWEN3_TOWER = Tower(1152, 4304, 27, 16, 448, 16, {"deepstack_visual_indexes": [8, 16, 24]})
MLLAMA_TOWER = Tower(
    1280, 5120, 32, 16, 560, 14, {"num_global_layers": 8, "intermediate_layers_indices": [3, 7, 15, 23, 30]}
)
PE_L, PE_G = Tower(1024, 4096, 23, 16, 448, 14), Tower(1536, 8960, 47, 16, 448, 14)
AUDIO = {"d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120, "n_window": 100}

SIZES: dict[str, Size] = {
    "videollama3-tiny": Size("video_llama_3", Text(64, 128, 2, 4, 4, 1024), Tower(32, 64, 2, 2, 56, 14, {"merge": 4})),
    "videollama3-2b": Size("video_llama_3", Text(1536, 8960, 28, 12, 2, 151936), Tower(1152, 4304, 27, 16, 448, 14)),
    "videollama3-7b": Size("video_llama_3", QWEN2["7b"], Tower(1152, 4304, 27, 16, 448, 14)),
    "idefics-tiny": Size(
        "idefics",
        Text(64, 128, 2, 4, 4, 1024),
        Tower(32, 64, 2, 2, 112, 14),
        {"cross_layer_interval": 1, "resampler": (1, 2, 16, 4)},
    ),
    "idefics-9b": Size(
        "idefics",
        Text(4096, 11008, 32, 32, 32, 32000),
        Tower(1280, 5120, 32, 16, 224, 14),
        {"cross_layer_interval": 4, "resampler": (6, 16, 96, 64)},
    ),
    "video-llava-tiny": Size("video_llava", TINY, TINY_TOWER),
    "video-llava-7b": Size("video_llava", VICUNA, CLIP_L_224),
    "llava-next-video-tiny": Size("llava_next_video", TINY, TINY_TOWER),
    "llava-next-video-7b": Size("llava_next_video", VICUNA, CLIP_L_336),
    "llava-next-video-34b": Size("llava_next_video", YI_34B, CLIP_L_336),
    "llava-onevision-tiny": Size("llava_onevision", TINY, TINY_TOWER),
    "llava-onevision-0.5b": Size("llava_onevision", QWEN2["0.5b"], SIGLIP_384_26),
    "llava-onevision-7b": Size("llava_onevision", QWEN2["7b"], SIGLIP_384_26),
    "llava-onevision-72b": Size("llava_onevision", QWEN2["72b"], SIGLIP_384_26),
    "qwen2-vl-tiny": Size("qwen2_vl", TINY, TINY_TOWER),
    "qwen2-vl-2b": Size("qwen2_vl", QWEN2["1.5b"], QWEN_TOWER),
    "qwen2-vl-7b": Size("qwen2_vl", QWEN2["7b"], QWEN_TOWER),
    "qwen2-vl-72b": Size("qwen2_vl", QWEN2["72b"], QWEN_TOWER),
    "qwen2.5-vl-tiny": Size(
        "qwen2_5_vl",
        TINY,
        Tower(32, 64, 2, 2, 56, 14, {"window_size": 56, "fullatt_block_indexes": [1], "tokens_per_second": 2}),
    ),
    "qwen2.5-vl-3b": Size("qwen2_5_vl", QWEN2["3b"], QWEN25_TOWER),
    "qwen2.5-vl-7b": Size("qwen2_5_vl", QWEN2["7b"], QWEN25_TOWER),
    "qwen2.5-vl-32b": Size("qwen2_5_vl", QWEN2["32b"], QWEN25_LARGE_TOWER),
    "qwen2.5-vl-72b": Size("qwen2_5_vl", QWEN2["72b"], QWEN25_LARGE_TOWER),
    "qwen3-vl-tiny": Size(
        "qwen3_vl",
        Text(64, 128, 2, 4, 2, 1088, head_width=16),
        Tower(32, 64, 2, 2, 56, 14, {"deepstack_visual_indexes": [0], "num_position_embeddings": 16}),
    ),
    "qwen3-vl-2b": Size("qwen3_vl", QWEN3["2b"], QWEN3_SMALL_TOWER),
    "qwen3-vl-4b": Size("qwen3_vl", QWEN3["4b"], QWEN3_SMALL_TOWER),
    "qwen3-vl-8b": Size("qwen3_vl", QWEN3["8b"], QWEN3_TOWER),
    "qwen3-vl-32b": Size("qwen3_vl", QWEN3["32b"], QWEN3_TOWER),
    "internvl-tiny": Size("internvl", TINY, TINY_TOWER),
    "internvl3-1b": Size("internvl", Text(896, 4864, 24, 14, 2, 151674), INTERNVIT),
    "internvl3-2b": Size("internvl", Text(1536, 8960, 28, 12, 2, 151674), INTERNVIT),
    "internvl3-8b": Size("internvl", QWEN2["7b"], INTERNVIT),
    "internvl3-14b": Size("internvl", QWEN2["14b"], INTERNVIT),
    "internvl3-38b": Size("internvl", QWEN2["32b"], INTERNVIT_6B),
    "internvl3-78b": Size("internvl", QWEN2["72b"], INTERNVIT_6B),
    "smolvlm-tiny": Size("smolvlm", TINY, TINY_TOWER, {"scale_factor": 2}),
    "smolvlm2-256m": Size("smolvlm", SMOLLM2["135m"], SMOL_512, {"scale_factor": 4}),
    "smolvlm2-500m": Size("smolvlm", SMOLLM2["360m"], SMOL_512, {"scale_factor": 4}),
    "smolvlm2-2.2b": Size("smolvlm", SMOLLM2["1.7b"], SIGLIP_384, {"scale_factor": 3}),
    "instructblip-video-tiny": Size(
        "instructblipvideo", TINY, TINY_TOWER, {"num_query_tokens": 2, "qformer": (1088, 32, 64, 2, 2)}
    ),
    "instructblip-video-7b": Size(
        "instructblipvideo",
        Text(4096, 11008, 32, 32, 32, 32001),
        EVA_G,
        {"num_query_tokens": 32, "qformer": (30523, 768, 3072, 12, 12)},
    ),
    "mllama-tiny": Size(
        "mllama",
        Text(64, 128, 5, 4, 2, 1088),  # a layer after the fourth, which looks at the frames
        Tower(32, 64, 2, 2, 56, 14, {"num_global_layers": 1, "intermediate_layers_indices": [0]}),
    ),
    "mllama-11b": Size("mllama", LLAMA3["11b-vision"], MLLAMA_TOWER),
    "mllama-90b": Size("mllama", LLAMA3["90b-vision"], MLLAMA_TOWER),
    "perceptionlm-tiny": Size("perception_lm", TINY, Tower(64, 256, 2, 16, 56, 14)),
    "perceptionlm-1b": Size("perception_lm", LLAMA3["1b"], PE_L),
    "perceptionlm-3b": Size("perception_lm", LLAMA3["3b"], PE_L),
    "perceptionlm-8b": Size("perception_lm", LLAMA3["8b"], PE_G),
    "qwen2.5-omni-tiny": Size(
        "qwen2_5_omni_thinker",
        TINY,
        Tower(32, 64, 2, 2, 56, 14, {"window_size": 56, "fullatt_block_indexes": [1]}),
        {
            "audio_config": {
                "d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 64, "n_window": 50,
            }
        },
    ),
    "qwen2.5-omni-3b": Size("qwen2_5_omni_thinker", QWEN2["3b"], QWEN25_TOWER, {"audio_config": AUDIO}),
    "qwen2.5-omni-7b": Size("qwen2_5_omni_thinker", QWEN2["7b"], QWEN25_TOWER, {"audio_config": AUDIO}),
    "clip-tiny": Size("clip", TINY_CLIP_TEXT, TINY_TOWER, {"projection_dim": 16}),
    "clip-b32": Size("clip", CLIP_TEXT, VIT_B32, {"projection_dim": 512}),
    "clip-b16": Size("clip", CLIP_TEXT, VIT_B16, {"projection_dim": 512}),
    "clip-l14": Size("clip", CLIP_LARGE_TEXT, CLIP_L_224, {"projection_dim": 768}),
    "siglip-tiny": Size("siglip", TINY_CLIP_TEXT, TINY_TOWER),
    "siglip-b16": Size("siglip", Text(768, 3072, 12, 12, 12, 32000), VIT_B16),
    "siglip-so400m": Size("siglip", Text(1152, 4304, 27, 16, 16, 32000), SIGLIP_384),
    "x-clip-tiny": Size(
        "xclip", TINY_CLIP_TEXT, TINY_TOWER, {"projection_dim": 16, "frames": 4, "mit": (16, 32, 1, 2)}
    ),
    "x-clip-b32": Size(
        "xclip",
        CLIP_TEXT,
        VIT_B32,
        {"projection_dim": 512, "frames": 8, "mit": (512, 2048, 1, 8)},
    ),
    "x-clip-b16": Size(
        "xclip",
        CLIP_TEXT,
        VIT_B16,
        {"projection_dim": 512, "frames": 8, "mit": (512, 2048, 1, 8)},
    ),
    "x-clip-l14": Size(
        "xclip",
        CLIP_LARGE_TEXT,
        CLIP_L_224,
        {"projection_dim": 768, "frames": 8, "mit": (768, 3072, 1, 12)},
    ),
}  # fmt: skip
TINY_OF = {size.model_type: name for name, size in SIZES.items() if name.endswith("-tiny")}
