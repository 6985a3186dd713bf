"""What the skeletons of several families share: the tokenizer, and fields of configurations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqlora.models.families import FAMILIES
from vqlora.models.sizes import Size

EMBEDDED = Path(__file__).parents[1] / "embedded"
EMBEDDED_NAMES = ("videollama", "flamingo")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'video' %}PLACEHOLDER{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def classes() -> Any:
    """transformers, imported late and without types: its annotations do not know its own constructors' fields."""
    import transformers

    return transformers


def tokenizer(*special: str, named: Mapping[str, str] | None = None, placeholder: str | None = None) -> Any:
    """The embedded bases' tokenizer with more special tokens; named: {attribute: token}, as some processors ask."""
    from transformers import AutoTokenizer

    from vqlora.models.tokenizer import build_tokenizer

    folder = EMBEDDED / EMBEDDED_NAMES[0]
    attributes = {"extra_special_tokens": dict(named)} if named else {}
    written = (folder / "tokenizer.json").exists()
    own = AutoTokenizer.from_pretrained(folder, **attributes) if written else build_tokenizer()
    own.add_tokens(list(special), special_tokens=True)
    if placeholder is not None:
        own.chat_template = TEMPLATE.replace("PLACEHOLDER", placeholder)
    return own


def ends(tokenizer: Any) -> dict[str, Any]:
    return {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}


def text_fields(size: Size, tokenizer: Any, **more: Any) -> dict[str, Any]:
    """Of a decoder-only language model."""
    text = size.text
    width = {} if text.head_width is None else {"head_dim": text.head_width}
    return {
        "hidden_size": text.hidden, "intermediate_size": text.inner, "num_hidden_layers": text.layers,
        "num_attention_heads": text.heads, "num_key_value_heads": text.kv_heads, "vocab_size": text.vocabulary,
        "max_position_embeddings": 32768, "bos_token_id": None, "tie_word_embeddings": text.tied,
        **width, **ends(tokenizer), **more,
    }  # fmt: skip


def tower_fields(size: Size, **more: Any) -> dict[str, Any]:
    """Of a plain vision transformer."""
    tower = size.tower
    return {
        "hidden_size": tower.hidden, "intermediate_size": tower.inner, "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads, "image_size": tower.image, "patch_size": tower.patch, **tower.more, **more,
    }  # fmt: skip


def ids(tokenizer: Any, **tokens: str) -> dict[str, int]:
    return {name: tokenizer.convert_tokens_to_ids(token) for name, token in tokens.items()}


def square(side: int) -> dict[str, Any]:
    return {"size": height_width(side), "crop_size": height_width(side)}


def height_width(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


def model_of(size: Size, config: Any) -> Any:
    return FAMILIES[size.model_type].build(config)
