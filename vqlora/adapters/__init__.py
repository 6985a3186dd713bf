"""Ways to adapt a base: attach a method to a loaded base, get what is trained."""

from __future__ import annotations

from vqlora.adapters.adapted import Adapted
from vqlora.adapters.full import attach_full
from vqlora.adapters.lora import attach_lora
from vqlora.models.load import Loaded
from vqlora.recipe import FullFineTune, Lora, Method, ZeroShot

__all__ = ["Adapted", "attach"]


def attach(loaded: Loaded, method: Method, *, seed: int) -> Adapted:
    """The base with the method attached, in place; the same seed gives the same initial weights."""
    match method:
        case Lora():
            return attach_lora(loaded, method, seed=seed)
        case FullFineTune():
            return attach_full(loaded, method)
        case ZeroShot():
            return Adapted(loaded=loaded, method=method, parameters={})
    raise ValueError(f"method {method.kind!r} has no adapter; a new one is a file in vqlora/adapters and a case here")
