"""Temporal LoRA: the active rank of a token follows how much happens in its frame.

The mechanism is PEFT's LoraVariant, on its 4, 8 and 16-bit layers alike; its nested ranks are DyLoRA's
(arXiv:2210.07558), the shape of the gate that of Video Motion Prompts (arXiv:2407.03179). What a token's frame is:
`watch`. Mixing over time: `mixer`. An ordinary LoRA made of it: `static`. PEFT calls LoraVariant private, so its
version is pinned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft.tuners.lora.layer import LoraVariant
from torch import Tensor, nn
from torch.nn import functional as F

from vqlora.adapters.adapted import ADAPTER, Adapted, Shown, trained_names, unwrap
from vqlora.adapters.lora import attach_lora
from vqlora.adapters.mixer import MIXED, add_mixer
from vqlora.adapters.watch import Layout, Watch, layout_of, scores_of
from vqlora.models.load import Loaded
from vqlora.models.roles import role_of
from vqlora.recipe import Lora, TemporalLora

SLOPE, THRESHOLD = 4.0, 0.5  # where training starts
SOFT, HARD, HARDENING = 2.0, 0.25, 0.5  # ranks over which the soft mask falls; share of training until the last
BUDGET_WEIGHT, SMOOTH_WEIGHT = 1.0, 0.01


def check_temporal(method: TemporalLora, model_type: str) -> None:
    """ValueError for a family whose order of frames is not known, or that has no place for a mixer."""
    layout_of(model_type, "")
    if method.mixer and model_type not in MIXED:
        raise ValueError(f"the mixer stands after a projector, and which one a {model_type} base has is not known here")


class Gate(nn.Module):
    """Masks of the ranks of one role: rows [1 + frames, R] (or [1 + frames, 1] in gate mode), row 0 for text."""

    def __init__(self, method: TemporalLora, rank: int, device: torch.device) -> None:
        super().__init__()
        self.method, self.rank, self.softness = method, rank, SOFT
        self._made: tuple[tuple[Any, ...], Tensor] | None = None
        if method.mode == "gate":
            self.weights = nn.Parameter(torch.zeros(3, device=device))
        elif method.control != "constant":
            self.slope = nn.Parameter(torch.tensor(SLOPE, device=device))
            self.threshold = nn.Parameter(torch.tensor(THRESHOLD, device=device))

    def shares(self, watch: Watch, device: torch.device | None = None) -> Tensor:
        """k / R of each frame [frames]; in gate mode its factor. device: for a watch that saw none yet."""
        method = self.method
        scores, before = (watch.scores, watch.before) if watch.counts else 2 * (torch.zeros(0, device=device),)
        if method.mode == "gate":
            level, own, change = self.weights
            return 2 * torch.sigmoid(level + own * scores + change * (scores - before).abs())
        if method.control == "constant":
            return torch.full_like(scores, method.budget)
        return method.low + (1 - method.low) * torch.sigmoid(F.softplus(self.slope) * (scores - self.threshold))

    def table(self, watch: Watch, device: torch.device | None = None) -> Tensor:
        """The masks, hard forward and soft backward (straight through)."""
        if self._made is not None and self._made[0] == self._state(watch):
            return self._made[1]
        return self._masks(watch, device)

    def prepare(self, watch: Watch) -> None:
        """Makes the masks of the pass that was announced, once for all layers and outside of checkpointed blocks."""
        self._made = self._state(watch), self._masks(watch, None)

    def _state(self, watch: Watch) -> tuple[float, ...]:
        """What the masks depend on."""
        return watch.passes, self.softness, *(parameter._version for parameter in self.parameters())

    def _masks(self, watch: Watch, device: torch.device | None) -> Tensor:
        shares = self.shares(watch, device)
        if self.method.mode == "gate":
            return torch.cat([torch.ones_like(shares[:1]) if len(shares) else shares.new_ones(1), shares])[:, None]
        ranks = self.rank * torch.cat([shares.new_full((1,), self.method.text), shares])[:, None]
        steps = torch.arange(self.rank, device=ranks.device) + 0.5
        soft = torch.sigmoid((ranks - steps) / self.softness)
        return (ranks > steps).to(soft.dtype) + soft - soft.detach()

    def penalty(self, watch: Watch) -> Tensor | float:
        """How far the mean k / R is from the budget, squared, and how much it changes from frame to frame.

        From both sides: with nothing to hold it up the gate closes for all frames alike, whatever their scores.
        """
        if self.method.mode == "gate" or self.method.control == "constant":
            return 0.0
        shares = self.shares(watch)
        changes, follows = shares.diff().square(), watch.follows[1:]
        smooth = (changes * follows).sum() / follows.sum().clamp(min=1)
        return BUDGET_WEIGHT * (shares.mean() - self.method.budget).square() + SMOOTH_WEIGHT * smooth


class Masked(LoraVariant):
    """What one layer does with its role's gate. An object per layer; PEFT asks for these methods only."""

    def __init__(self, gate: Gate, watch: Watch, layout: Layout) -> None:
        self.gate, self.watch = gate, watch
        self.layout: Layout = layout

    def supports_lora_conversion(self) -> bool:
        return False

    def forward(self, module: Any, active_adapter: str, x: Tensor, result: Tensor, **_: Any) -> Tensor:  # type: ignore[override]
        """result [..., out] of the base layer and x [..., in] to the sum of both branches."""
        low = module.lora_A[active_adapter](x)
        mask = self.gate.table(self.watch, low.device).to(low.dtype)
        rows = self.watch.rows(self.layout, low.shape[:-1])
        low = low * (mask[0] if rows is None else mask[rows])
        return result + module.lora_B[active_adapter](low) * module.scaling[active_adapter]

    def merge_safe(self, *_: Any) -> Tensor:  # type: ignore[override]
        raise ValueError(
            "temporal LoRA has no single weight to merge; make an ordinary LoRA of it with `vqlora static`"
        )

    merge_unsafe = unmerge = merge_safe  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True, eq=False)
class TemporalAdapted(Adapted):
    """A base with gates {role: Gate} that follow what `watch` sees."""

    watch: Watch
    gates: Mapping[str, Gate]
    seen: dict[str, list[Tensor]] = field(default_factory=dict)

    @property
    def follows_frames(self) -> bool:
        return True

    def see(self, shown: Sequence[Shown], tokens: Mapping[str, Tensor] | None) -> None:
        scores = [scores_of(one, self.method) for one in shown]  # type: ignore[arg-type]
        self.watch.see(scores, tokens, self.loaded.device)
        with torch.no_grad():
            for role, gate in self.gates.items():
                self.seen.setdefault(role, []).append(gate.shares(self.watch).mean())
        for gate in self.gates.values():
            gate.prepare(self.watch)

    def advance(self, share: float) -> None:
        for gate in self.gates.values():
            gate.softness = SOFT + (HARD - SOFT) * min(1.0, share / HARDENING)

    def penalty(self) -> Tensor | float:
        return sum((gate.penalty(self.watch) for gate in self.gates.values()), 0.0)

    def figures(self) -> dict[str, float]:
        """Mean k / R of frames (in gate mode the mean factor) per role."""
        found = {f"active_{role}": float(torch.stack(means).mean()) for role, means in self.seen.items()}
        self.seen.clear()
        return found


def attach_temporal(loaded: Loaded, method: TemporalLora, *, seed: int) -> TemporalAdapted:
    """LoRA of the greatest ranks with a gate per role, and the mixer; at first the output is the base's own."""
    check_temporal(method, loaded.model_type)
    watch = Watch(placeholders=_placeholders(loaded))
    gates: dict[str, Gate] = {}
    if any(method.rank.values()):
        attach_lora(loaded, Lora(rank=method.rank, alpha=method.alpha, rslora=method.rslora), seed=seed)
        for name, layer in loaded.model.named_modules():
            if hasattr(layer, "lora_A"):
                role = role_of(loaded.model_type, name)
                if role not in gates:  # the first layer of a role keeps its gate
                    gates[role] = Gate(method, method.rank[role], loaded.device)
                    layer.lora_gate = nn.ModuleDict({ADAPTER: gates[role]})
                layer.lora_variant[ADAPTER] = Masked(gates[role], watch, layout_of(loaded.model_type, name))
    remove_mixer = add_mixer(loaded, method, watch, seed=seed) if method.mixer else None

    def undo() -> None:
        unwrap(loaded.model)
        if remove_mixer is not None:
            remove_mixer()

    parameters = trained_names(loaded.model, ".lora_", ".temporal_mixer.")
    return TemporalAdapted(loaded=loaded, method=method, parameters=parameters, undo=undo, watch=watch, gates=gates)


def _placeholders(loaded: Loaded) -> frozenset[int]:
    """Token ids that stand for what is seen of a frame."""
    if loaded.model_type == "idefics":
        return frozenset({loaded.processor.tokenizer.convert_tokens_to_ids("<image>")})
    return frozenset({loaded.model.config.video_token_id})
