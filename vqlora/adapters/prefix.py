"""Prefix tuning inside the attention function: trained keys and values go before those of the tokens.

PEFT's own passes the prefix as a cache of past tokens, which moves positions (wrong for M-RoPE with video), forbids
checkpointing and needs the outermost forward. Here positions and masks of the tokens stay as they are, and a cache
holds the tokens only. The frozen weights are not touched, so any bits will do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from vqlora.adapters.adapted import Adapted, trained_names
from vqlora.methods import Prefix
from vqlora.models.load import Loaded
from vqlora.models.roles import role_of

NAME = "prefix"


class KeysValues(nn.Module):
    """A layer's prefix: key and value [heads, tokens, width of a head], fp32; wanted: take them from the next clip."""

    def __init__(self, heads: int, tokens: int, width: int, device: torch.device) -> None:
        super().__init__()
        self.key = nn.Parameter(torch.zeros(heads, tokens, width, device=device))
        self.value = nn.Parameter(torch.zeros(heads, tokens, width, device=device))
        self.wanted = False

    @torch.no_grad()
    def take(self, key: Tensor, value: Tensor) -> None:
        """From tokens evenly spaced over the first half of a clip's conversation: frames and question, no padding."""
        places = torch.linspace(0, (key.shape[2] - 1) // 2, self.key.shape[1], device=key.device).round().long()
        self.key.copy_(key[0, :, places])
        self.value.copy_(value[0, :, places])
        self.wanted = False


def attach_prefix(loaded: Loaded, method: Prefix, *, run: Callable[[], None] | None) -> Adapted:
    """A prefix for every self-attention of the text. run: passes training clips through, for the first values.

    ValueError where the text has no self-attention with keys and values of their own.
    """
    layers = [
        module
        for name, module in loaded.model.named_modules()
        if isinstance(getattr(module, "k_proj", None), nn.Module)
        and hasattr(module, "head_dim")
        and role_of(loaded.model_type, name) == "text"
    ]
    if not layers:
        raise ValueError(f"prefix tuning needs layers with k_proj and head_dim, which {loaded.model_type} has none of")
    for layer in layers:
        heads = layer.k_proj.out_features // layer.head_dim
        layer.prefix = KeysValues(heads, method.tokens, layer.head_dim, loaded.device)
    configs = list({id(layer.config): layer.config for layer in layers}.values())
    plain = [config._attn_implementation for config in configs]
    for config, inner in zip(configs, plain, strict=True):
        config._attn_implementation = _registered(inner)
    if run is not None:
        for layer in layers:
            layer.prefix.wanted = True
        run()

    def undo() -> None:
        for config, inner in zip(configs, plain, strict=True):
            config._attn_implementation = inner
        for layer in layers:
            del layer.prefix

    parameters = trained_names(loaded.model, f".{NAME}.")
    return Adapted(loaded=loaded, method=method, parameters=parameters, undo=undo)


def _registered(inner: str) -> str:
    """The name of the attention that adds a prefix and leaves the rest to `inner`."""
    name = f"prefixed_{inner}"
    AttentionInterface.register(name, partial(_attend, ALL_ATTENTION_FUNCTIONS[inner]))
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS[inner])
    return name


def _attend(
    inner: Callable[..., Any], module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **more: Any
) -> Any:
    """Attention over [prefix, tokens]; query [batch, heads, tokens, width], masks True or 0 where a token is seen."""
    prefix = getattr(module, NAME, None)
    if prefix is not None and prefix.wanted:
        prefix.take(key, value)
        prefix = None
    if prefix is None:
        return inner(module, query, key, value, attention_mask, **more)
    tokens = prefix.key.shape[1]
    own = [part.to(key.dtype).expand(len(key), -1, -1, -1) for part in (prefix.key, prefix.value)]
    key, value = (torch.cat(parts, dim=2) for parts in zip(own, (key, value), strict=True))
    if attention_mask is not None:
        attention_mask = F.pad(attention_mask, (tokens, 0), value=attention_mask.dtype == torch.bool)
    elif query.shape[2] > 1 and _is_causal(module, more):
        # As many idle queries, whose outputs are dropped: fused kernels then take the causal mask as their own.
        out, weights = inner(module, F.pad(query, (0, 0, tokens, 0)), key, value, None, **more)
        return out[:, tokens:], weights
    return inner(module, query, key, value, attention_mask, **more)


def _is_causal(module: Any, given: dict[str, Any]) -> bool:
    asked = given.get("is_causal")
    return bool(getattr(module, "is_causal", True) if asked is None else asked)
