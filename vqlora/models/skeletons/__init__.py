"""`random:` bases: a model without weights and its processor, of the family's own classes, at a shape of `sizes`.

The tokenizer is the embedded bases' with the family's special tokens; the chat template, where the family writes
frames into one, is a plain one with the family's placeholder. `random:videollama` and `random:flamingo` are the
embedded bases' own architectures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from vqlora.models.sizes import SIZES, Size
from vqlora.models.skeletons.crossed import dual, idefics, mllama
from vqlora.models.skeletons.pads import instructblip, internvl, llava, perception, smolvlm, videollama3
from vqlora.models.skeletons.parts import EMBEDDED, EMBEDDED_NAMES, tokenizer
from vqlora.models.skeletons.rotary import omni, qwen_vl

__all__ = ["EMBEDDED", "EMBEDDED_NAMES", "RANDOM_BASES", "random_model_type", "skeleton", "tokenizer"]

RANDOM_BASES = (*SIZES, *EMBEDDED_NAMES)
BUILDERS: dict[str, Callable[[Size], tuple[Any, Any]]] = {
    "video_llama_3": videollama3,
    "idefics": idefics,
    "video_llava": llava,
    "llava_next_video": llava,
    "llava_onevision": llava,
    "qwen2_vl": qwen_vl,
    "qwen2_5_vl": qwen_vl,
    "qwen3_vl": qwen_vl,
    "qwen2_5_omni_thinker": omni,
    "internvl": internvl,
    "smolvlm": smolvlm,
    "instructblipvideo": instructblip,
    "mllama": mllama,
    "perception_lm": perception,
    "clip": dual,
    "siglip": dual,
    "xclip": dual,
}


def skeleton(name: str) -> tuple[Any, Any]:
    """(model on the meta device, processor) of a `random:` base. ValueError for an unknown name."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        if name in EMBEDDED_NAMES:
            from vqlora.models.architecture import build

            return build(name, tokenizer(), seed=0)
        size = SIZES[_known(name)]
        return BUILDERS[size.model_type](size)


def random_model_type(name: str) -> str:
    """The model type of a `random:` base. ValueError for an unknown name."""
    embedded = dict(zip(EMBEDDED_NAMES, ("video_llama_3", "idefics"), strict=True))
    return embedded[name] if name in embedded else SIZES[_known(name)].model_type


def _known(name: str) -> str:
    """The name, if it is one of `SIZES`; else ValueError with those there are."""
    if name not in SIZES:
        raise ValueError(f"random base {name!r} is unknown; use one of {RANDOM_BASES}")
    return name
