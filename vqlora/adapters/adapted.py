"""What is trained on a base: its parameters by name, their state on disk, and how to take the adapter off again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from vqlora.models.bits import report
from vqlora.models.load import Loaded
from vqlora.models.roles import role_of
from vqlora.parts import whole, write
from vqlora.recipe import Method, to_json

ADAPTER = "default"  # PEFT's name for the only adapter; left out of state names
PEFT_PREFIX = "base_model.model."
PEFT_METHODS = ("lora", "ia3")  # whose adapters PEFT loads


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """A clip as a model is shown it: scores in [0, 1] by name, each [frames], and a number that is its own."""

    scores: Mapping[str, Sequence[float] | np.ndarray]
    number: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapted:
    """A base with something to train. parameters: trained ones by name; they are the base's own or were added.

    They are fp32 but for full fine-tuning in bf16. undo: takes off what was added, None where there is nothing to.
    """

    loaded: Loaded
    method: Method
    parameters: Mapping[str, nn.Parameter]
    undo: Callable[[], None] | None = None

    @property
    def model(self) -> Any:
        return self.loaded.model

    @property
    def trained_roles(self) -> frozenset[str]:
        return frozenset(role_of(self.loaded.model_type, name) for name in self.parameters)

    @property
    def is_removable(self) -> bool:
        """Whether `remove` gives the base back; full fine-tuning and PiSSA overwrite it."""
        return not self.method.changes_base

    def state(self) -> dict[str, Tensor]:
        """Copies of the trained parameters on the host."""
        return {name: whole(parameter.detach()).cpu().clone() for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes `state` over to the bit. ValueError unless its names and shapes are exactly those trained here."""
        missing, extra = sorted(set(self.parameters) - set(state)), sorted(set(state) - set(self.parameters))
        if missing or extra:
            raise ValueError(
                f"the adapter does not fit this base and method: {len(missing)} missing {missing[:2]}, {len(extra)} "
                f"unknown {extra[:2]}; load it with the recipe that trained it"
            )
        for name, parameter in self.parameters.items():
            if parameter.shape != state[name].shape:
                raise ValueError(f"{name} is {tuple(state[name].shape)} in the adapter, {tuple(parameter.shape)} here")
            write(parameter, state[name])

    @property
    def _prefix(self) -> str:
        """What PEFT puts before the names of a model's layers; methods it does not have keep the base's own names."""
        return PEFT_PREFIX if self.method.kind in PEFT_METHODS else ""

    def to_bytes(self) -> bytes:
        """The trained parameters as a safetensors file, named as PEFT does; metadata: the method, the base's digest."""
        about = {"method": to_json(self.method), "base_digest": self.loaded.digest}
        state = {self._prefix + name: value for name, value in self.state().items()}
        # One key: safetensors writes several in an order that differs from call to call.
        return safetensors.torch.save(state, {"vqlora": json.dumps(about, sort_keys=True)})

    def load_bytes(self, content: bytes) -> None:
        """Takes over what `to_bytes` gave. ValueError if it does not fit, or is no safetensors file."""
        try:
            state = safetensors.torch.load(content)
        except safetensors.SafetensorError as error:
            raise ValueError(f"the adapter is no safetensors file: {error}") from error
        self.load_state({name.removeprefix(self._prefix): value for name, value in state.items()})

    def found(self) -> dict[str, dict[str, Any]]:
        """What the built model holds per role, see `vqlora.models.bits.report`."""
        return report(self.model, self.loaded.model_type)

    @property
    def follows_frames(self) -> bool:
        """Whether `see` wants to be told what is shown."""
        return False

    def see(self, shown: Sequence[Shown], tokens: Mapping[str, Tensor] | None) -> None:
        """What the next pass will show: a clip for each row, and the batch where it is known."""

    def advance(self, share: float) -> None:
        """How much of the training is done, before each step."""

    def penalty(self) -> Tensor | float:
        """What a step minimises beside the loss of what was seen."""
        return 0.0

    def figures(self) -> dict[str, float]:
        """What the adapter has measured of itself since it was last asked; a metric of the split it saw."""
        return {}

    def dropout(self, active: bool) -> None:
        """Adapters' dropout on (training) or off; the base itself has none and stays in evaluation mode."""
        for name, module in self.model.named_modules():
            if "lora_dropout" in name and isinstance(module, nn.Dropout):
                module.train(active)

    def remove(self) -> None:
        """Takes the adapter off; the base's modules are the very ones it had before."""
        assert self.is_removable, f"{self.method.kind} changed the base; load it again"
        if self.undo is not None:
            self.undo()


def trained_names(model: nn.Module, *marks: str) -> dict[str, nn.Parameter]:
    """{name: parameter} of those with a mark in their name, now trained and fp32; PEFT's adapter name left out."""
    found = {}
    for name, parameter in model.named_parameters():
        if any(mark in name for mark in marks):
            parameter.data = parameter.data.float()
            found[name.replace(f".{ADAPTER}", "")] = parameter.requires_grad_(True)
    return found


def unwrap(model: Any) -> None:
    """Puts the layers that adapters were wrapped around back into their places."""
    for name, module in list(model.named_modules()):
        if hasattr(module, "base_layer"):
            model.set_submodule(name, module.base_layer)
    if hasattr(model, "peft_config"):
        del model.peft_config


@contextmanager
def declared_quantised(model: Any) -> Iterator[None]:
    """PEFT picks its layers for quantised linears only on models that say so; a mixed plan may hold both."""
    model.is_loaded_in_4bit = model.is_loaded_in_8bit = True
    try:
        yield
    finally:
        del model.is_loaded_in_4bit, model.is_loaded_in_8bit


def adapter_digest(content: bytes) -> str:
    """SHA-256 of an adapter's file, first 16 hex digits."""
    return hashlib.sha256(content).hexdigest()[:16]


def check_start(wanted: str | None, start: bytes | None) -> None:
    """ValueError unless `start` is the adapter with the digest that a recipe names, or both are absent."""
    digest = None if start is None else adapter_digest(start)
    if digest != wanted:
        raise ValueError(f"the recipe goes on from the adapter {wanted}, given is {digest}; give the one it names")
