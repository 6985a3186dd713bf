"""What a base tells before other trials run: gradients on some training clips, and errors of its weights at fewer bits.

`ZeroShot(probe=CLIPS)` asks for it and the trial's record keeps it; `analysis.theory` predicts other trials from it.
Nothing is trained, and no weight has a gradient: hooks see each linear layer's inputs x and the gradients g of its
outputs, clip by clip, for the loss summed over a clip's label tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vqlora.data.example import Example
from vqlora.inputs import Inputs, precision
from vqlora.models.bits import dequantised, quantised_layer
from vqlora.models.conversation import IGNORED
from vqlora.models.roles import linear_layers
from vqlora.recipe import SCHEMES, Bits, Recipe, ZeroShot
from vqlora.training import batch_order

SKETCH = 32  # columns of a sketch: it tells of ranks up to this


@dataclass(eq=False)
class Watched:
    """One linear layer under watch. random: two matrices [SKETCH, in] of orthonormal rows.

    sums: over clips, by scheme, of the error d = (W - Q(W)) x: its square, its product with the gradient summed over a
    clip's tokens, and that sum's square.
    """

    role: str
    layer: nn.Linear
    random: tuple[Tensor, Tensor]
    sketches: list[Tensor] = field(default_factory=list)
    sums: dict[str, list[float]] = field(default_factory=lambda: {scheme: [0.0, 0.0, 0.0] for scheme in SCHEMES})
    energy: float = 0.0
    tokens: int = 0

    def forward(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """A forward hook; the base is frozen, so the first outputs have to ask for their gradient."""
        if not output.requires_grad:
            output.requires_grad_()
        x = inputs[0].detach().flatten(0, -2).float()
        output.register_hook(lambda gradient: self._backward(x, gradient.flatten(0, -2).float()))

    def _backward(self, x: Tensor, gradient: Tensor) -> None:
        self.energy += float(gradient.square().sum())
        self.tokens += len(x)
        parts = [gradient.T @ (x @ rows.T) for rows in self.random]
        self.sketches = [old + new for old, new in zip(self.sketches, parts, strict=True)] if self.sketches else parts
        for scheme, sums in self.sums.items():
            lost = x @ self._error(scheme).T
            along = float((gradient * lost).sum())
            for place, value in enumerate((float(lost.square().sum()), along, along**2)):
                sums[place] += value

    def _error(self, scheme: str) -> Tensor:
        """W - Q(W), made anew each time: the errors of all layers would take as much room as three bases."""
        bits = SCHEMES[scheme]
        plan = Bits(plan={}, scheme4=scheme) if bits == 4 else Bits(plan={})
        quantised = quantised_layer(self.layer, bits, plan, self.layer.weight.device)
        return self.layer.weight.float() - dequantised(quantised)

    def found(self, clips: int) -> dict[str, Any]:
        """The layer's row of a probe: the error's mean square a token, the products' mean and mean square a clip."""
        errors = {
            scheme: {"output": lost / self.tokens, "along": along / clips, "along_squared": squared / clips}
            for scheme, (lost, along, squared) in self.sums.items()
        }
        return {
            "role": self.role,
            "width": self.layer.out_features,
            "tokens": self.tokens / clips,
            "gradient_energy": _short(self.energy / self.tokens),
            "errors": {scheme: {name: _short(one) for name, one in own.items()} for scheme, own in errors.items()},
        }


def asked_probe(recipe: Recipe, inputs: Inputs, clips: Sequence[Example]) -> dict[str, Any]:
    """What the recipe's method asks to be measured, on clips that its seed draws; nothing for most."""
    method = recipe.method
    if not isinstance(method, ZeroShot) or not method.probe:
        return {}
    order = batch_order(len(clips), min(method.probe, len(clips)), recipe.seed, 0)
    return probe(inputs, [clips[index] for index, _ in order], seed=recipe.seed)


def probe(inputs: Inputs, examples: Sequence[Example], *, seed: int) -> dict[str, Any]:
    """Measures every linear layer of a base at 16 bits on the examples; plain values for a record."""
    loaded = inputs.adapted.loaded
    draw = torch.Generator().manual_seed(seed)
    names = linear_layers(loaded.model, loaded.model_type)
    watched = {
        name: _watched(role, loaded.model.get_submodule(name), draw) for role, own in names.items() for name in own
    }
    labels = 0
    with _hooked(watched.values()):
        for example in examples:
            tokens = inputs.tokens([example], [0])
            count = int((tokens["labels"][:, 1:] != IGNORED).sum())
            labels += count
            with torch.enable_grad(), precision(loaded.device):
                states = loaded.family.vision_states(loaded.model, loaded.processor, [inputs.frames(example)])
                (count * loaded.family.loss(loaded.model, tokens, states)).backward()
    used = {name: one for name, one in watched.items() if one.tokens}
    return {
        "clips": len(examples),
        "labels": labels / len(examples),
        "layers": {name: one.found(len(examples)) for name, one in used.items()},
        "sketches": {role: _of_role([one for one in used.values() if one.role == role], labels) for role in names},
    }


def _of_role(watched: Sequence[Watched], labels: int) -> dict[str, Any]:
    """Energies of the gradient of the mean loss, summed over a role's layers; see `sketch_energies`."""
    own, seen, energy = torch.zeros(SKETCH), torch.zeros(SKETCH), 0.0
    for one in watched:
        parts = [part / labels for part in one.sketches]
        values, along, whole = sketch_energies(parts[0], parts[1], inputs=one.layer.in_features)
        own[: len(values)] += torch.tensor(values)
        seen[: len(along)] += torch.tensor(along)
        energy += whole
    return {"own": [*map(_short, own.tolist())], "seen": [*map(_short, seen.tolist())], "energy": _short(energy)}


def sketch_energies(first: Tensor, second: Tensor, *, inputs: int) -> tuple[list[float], list[float], float]:
    """(own, seen, energy) of a gradient [out, inputs] from two sketches of it, [out, q] each.

    own: squared singular values; seen: energy of one sketch along the other's left singular vectors; energy: the whole
    gradient's. All are means over both orders, scaled to the gradient.
    """
    scale = inputs / first.shape[1] / 2
    own, seen, energy = 0.0, 0.0, 0.0
    for mine, other in ((first, second), (second, first)):
        left, values, _ = torch.linalg.svd(mine.double(), full_matrices=False)
        own = own + scale * values.square()
        seen = seen + scale * (left.T @ other.double()).square().sum(dim=1)
        energy += scale * float(other.double().square().sum())
    assert isinstance(own, Tensor) and isinstance(seen, Tensor)
    return own.tolist(), seen.tolist(), energy


def _watched(role: str, layer: nn.Linear, draw: torch.Generator) -> Watched:
    width = min(SKETCH, layer.in_features, layer.out_features)
    rows = [torch.linalg.qr(torch.randn(layer.in_features, width, generator=draw)).Q.T for _ in range(2)]
    device = layer.weight.device
    return Watched(role=role, layer=layer, random=(rows[0].to(device), rows[1].to(device)))


@contextmanager
def _hooked(watched: Any) -> Iterator[None]:
    handles = [one.layer.register_forward_hook(one.forward) for one in watched]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _short(value: float) -> float:
    """Six significant digits: a record is read by people too."""
    return float(f"{value:.6g}")
