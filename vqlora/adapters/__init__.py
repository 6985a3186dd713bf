"""Ways to adapt a base: attach a method to a loaded base, get what is trained."""

from __future__ import annotations

from collections.abc import Callable

from vqlora.adapters.adapted import Adapted
from vqlora.adapters.bottleneck import attach_bottleneck
from vqlora.adapters.full import attach_full
from vqlora.adapters.ia3 import attach_ia3
from vqlora.adapters.lora import attach_lora
from vqlora.adapters.prefix import attach_prefix
from vqlora.adapters.temporal import attach_temporal, check_temporal
from vqlora.models.bits import bits_by_role
from vqlora.models.load import Loaded
from vqlora.models.roles import check_roles
from vqlora.recipe import Bits, Bottleneck, FullFineTune, Ia3, Lora, Method, Prefix, TemporalLora, ZeroShot

__all__ = ["OWN", "Adapted", "attach", "check_method"]

OWN: dict[type[Method], Callable[..., Adapted]] = {}  # methods of `vqlora.extend`


def attach(loaded: Loaded, method: Method, *, seed: int, run: Callable[[], None] | None = None) -> Adapted:
    """The base with the method attached, in place; the same seed gives the same initial weights.

    run: passes a few training clips through the base, for methods whose initial values come from them (prefix, EVA);
    None where an adapter's own weights are loaded afterwards.
    """
    match method:
        case Lora():
            return attach_lora(loaded, method, seed=seed, run=run)
        case FullFineTune():
            return attach_full(loaded, method)
        case Prefix():
            return attach_prefix(loaded, method, run=run)
        case Bottleneck():
            return attach_bottleneck(loaded, method, seed=seed)
        case Ia3():
            return attach_ia3(loaded, method)
        case TemporalLora():
            return attach_temporal(loaded, method, seed=seed)
        case ZeroShot():
            return Adapted(loaded=loaded, method=method, parameters={})
    if type(method) in OWN:
        return OWN[type(method)](loaded, method, seed=seed, run=run)
    raise ValueError(f"method {method.kind!r} has no adapter; vqlora.extend.add_method gives it one")


def check_method(method: Method, bits: Bits, *, model_type: str, base: str) -> None:
    """ValueError, with the reason, for a role that the base lacks or bits that the method cannot start from."""
    check_roles(model_type, method.adapted_roles, f"{type(method).__name__}.{method.by_role}")
    found = {role: bits_by_role(bits, model_type)[role] for role in method.adapted_roles}
    low = [role for role, own in found.items() if own < 16]
    if isinstance(method, TemporalLora):
        check_temporal(method, model_type)
    if isinstance(method, FullFineTune) and low:
        raise ValueError(f"full fine-tuning of {low} needs 16 bits there; quantised weights have no gradient")
    if isinstance(method, Lora) and method.init == "pissa" and low:
        raise ValueError(
            f"PiSSA on {low} at {found[low[0]]} bits would have to quantise what is left of W without its principal "
            "part, but a base is quantised as it is loaded; give these roles 16 bits, or use init='loftq'"
        )
    if isinstance(method, Lora) and method.init == "loftq":
        if not low:
            raise ValueError(
                f"LoftQ starts from what quantisation lost, and {list(found)} stay at 16 bits; use 'pissa'"
            )
        if base.startswith("random:"):
            raise ValueError("LoftQ reads the 16-bit weights of a checkpoint, and a random base has none")
