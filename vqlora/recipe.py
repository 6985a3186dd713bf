"""What one fine-tune is: a Recipe and its parts, frozen and self-checking.

Everything that may change a result stands here and enters the fingerprint; where and how a trial runs is
`vqlora.study.Runtime`. Standard library only, so a study expands without torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from vqlora.from_json import build
from vqlora.methods import METHODS, ROLES, Bottleneck, FullFineTune, Ia3, Lora, Method, Prefix, TemporalLora, ZeroShot
from vqlora.methods import require as _require
from vqlora.methods import require_roles as _check_roles

__all__ = [
    "METHODS", "ROLES", "Bits", "Bottleneck", "Frames", "FullFineTune", "Ia3", "Lora", "Method", "Prefix", "Recipe",
    "Schedule", "TemporalLora", "ZeroShot", "recipe_from_json", "to_json",
]  # fmt: skip

SCHEMES = {"nf4": 4, "fp4": 4, "int8": 8}
WIDTHS = (4, 8, 16)
PARTS = ("attn", "mlp")
PRESETS = {
    "all16": {"text": 16, "vision": 16},
    "all8": {"text": 8, "vision": 8},
    "all4": {"text": 4, "vision": 4},
    "v8t4": {"text": 4, "vision": 8},
    "v16t4": {"text": 4, "vision": 16},
    "v4t8": {"text": 8, "vision": 4},
}
OPTIMIZERS = ("adamw8bit", "paged_adamw8bit")
SAMPLERS = [
    "uniform", "fps", "random", "keyframe", "codec", "vectors", "motion", "entropy", "scene",
    "fidelity", "quant_logdet", "flat_logdet", "full_logdet", "query",
]  # fmt: skip
TOWER_SAMPLERS = ("fidelity", "quant_logdet", "flat_logdet", "full_logdet", "query")  # look at the base's features
WITHOUT_QUESTION = ("caption", "retrieval")  # tasks that say the same of every clip
DEFAULT_FPS = 2.0  # of the sampler 'fps'
TASKS = ("caption", "retrieval")


@dataclass(frozen=True, kw_only=True)
class Bits:
    """Bits per weight of each role's linear layers; embeddings, norms and heads stay 16.

    plan: {role: 4, 8 or 16}, absent = 16; 'text.attn' and 'text.mlp' say it for a part of a role. scheme4: 'nf4'
    (arXiv:2305.14314) or 'fp4'; 8 bit is LLM.int8 (arXiv:2208.07339). 16 means bf16 on a GPU and fp32 on a CPU.
    """

    plan: Mapping[str, int]
    scheme4: str = "nf4"
    double_quant: bool = True

    def __post_init__(self) -> None:
        for group, bits in self.plan.items():
            role, _, part = group.partition(".")
            _check_roles("Bits.plan", {role: bits})
            _require(
                group == role or part in PARTS,
                f"{group!r} in a bit plan is no part of a role; use {role!r}, '{role}.attn' or '{role}.mlp'",
            )
            _require(bits in WIDTHS, f"{bits!r} bits for {group} are not supported; use one of {WIDTHS}")
        _require(
            SCHEMES.get(self.scheme4) == 4,
            f"scheme {self.scheme4!r} is not 4-bit; use one of {tuple(k for k, v in SCHEMES.items() if v == 4)}",
        )

    @classmethod
    def preset(cls, name: str) -> Bits:
        """The named plan: all4 all8 all16 v8t4 v16t4 v4t8 (vX = vision bits, tY = text bits), or one of `vqlora bits`.

        name: of a preset, or of a file that ends in .json.
        """
        if name.endswith(".json"):
            _require(
                Path(name).is_file(), f"{name}: no such file; `vqlora bits BASE --data D --budget MIB --file {name}`"
            )
            return cls(plan=json.loads(Path(name).read_text())["plan"])
        _require(name in PRESETS, f"bit plan {name!r} is unknown; use one of {tuple(PRESETS)}, or FILE.json")
        return cls(plan=PRESETS[name])

    def of(self, role: str, part: str | None = None) -> int:
        """Bits of the linear layers of a role, or of a part of it; 16 where the plan is silent."""
        return self.plan.get(f"{role}.{part}", self.plan.get(role, 16))


@dataclass(frozen=True, kw_only=True)
class Frames:
    """How many frames of a clip the model sees, which, and how large (pixels, square).

    fps: frames a second of the sampler 'fps' (None = 2), no other has it.
    """

    budget: int = 8
    sampler: str = "uniform"
    size: int = 112
    fps: float | None = None

    def __post_init__(self) -> None:
        _require(self.budget >= 1, f"frame budget {self.budget} must be >= 1")
        _require(self.sampler in SAMPLERS, f"sampler {self.sampler!r} is unknown; use one of {tuple(SAMPLERS)}")
        _require(self.size >= 28, f"frame size {self.size} must be >= 28 pixels")
        _require(self.fps is None or self.fps > 0, f"fps {self.fps} must be > 0")
        _require(self.fps is None or self.sampler == "fps", f"the sampler {self.sampler!r} has no fps; use 'fps'")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Optimisation: AdamW, linear warm-up, then cosine to zero. Clips seen = steps x batch_size.

    optimizer: None = AdamW with fp32 moments; 'adamw8bit' keeps them in 8 bits (arXiv:2110.02861), 'paged_adamw8bit'
    also lets a GPU move them to the host when it is full. checkpointing: True keeps only each block's input for the
    backward pass and computes the rest again; None, as False, keeps everything.
    """

    steps: int
    batch_size: int = 8
    learning_rate: float = 1e-3
    warmup_share: float = 0.1
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    evaluations: int = 1  # validations during training, evenly spaced; the last one is after the last step
    optimizer: str | None = None
    checkpointing: bool | None = None

    def __post_init__(self) -> None:
        _require(self.steps >= 0, f"steps {self.steps} must be >= 0")
        _require(self.batch_size >= 1, f"batch size {self.batch_size} must be >= 1")
        _require(self.learning_rate > 0, f"learning rate {self.learning_rate} must be > 0")
        _require(0 <= self.warmup_share <= 1, f"warm-up share {self.warmup_share} must be in [0, 1]")
        _require(self.clip_norm > 0, f"clip norm {self.clip_norm} must be > 0")
        _require(self.evaluations >= 1, f"evaluations {self.evaluations} must be >= 1")
        _require(
            self.optimizer in (None, *OPTIMIZERS),
            f"optimizer {self.optimizer!r} is unknown; use one of {OPTIMIZERS}, or None for AdamW with fp32 moments",
        )

    @property
    def clips_seen(self) -> int:
        return self.steps * self.batch_size


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One fine-tune. Two recipes with one fingerprint are the same experiment.

    base: 'embedded:videollama', 'embedded:flamingo', 'random:FAMILY-SIZE', a hub id or a path.
    data: 'shapes:small', 'msrvtt:PATH', ...; several with weights as 'a:P=0.7,b:P=0.3'.
    max_skipped_share: clips that fail to decode are skipped and counted; past this share the trial fails.
    start: digest of the adapter whose weights training goes on from; None = the method's own initial weights.
    """

    base: str
    data: str
    method: Method
    bits: Bits
    schedule: Schedule
    frames: Frames = field(default_factory=Frames)
    task: str = "caption"
    language: str = "en"
    max_new_tokens: int = 64
    max_skipped_share: float = 0.05
    seed: int = 0
    start: str | None = None

    def __post_init__(self) -> None:
        _require(bool(self.base), "base is empty; name an embedded base, a hub id or a path")
        _require(bool(self.data), "data is empty; name a set such as 'shapes:small' or 'msrvtt:PATH'")
        _require(self.task in TASKS, f"task {self.task!r} is unknown; use one of {TASKS}")
        _require(self.max_new_tokens >= 1, f"max_new_tokens {self.max_new_tokens} must be >= 1")
        _require(0 <= self.max_skipped_share <= 1, f"max_skipped_share {self.max_skipped_share} must be in [0, 1]")
        _require(self.seed >= 0, f"seed {self.seed} must be >= 0")
        if isinstance(self.method, ZeroShot) and self.method.probe:
            low = sorted(role for role, bits in self.bits.plan.items() if bits != 16)
            _require(not low, f"a probe quantises weights itself, so {low} must stay at 16 bits")
        _require(
            self.frames.sampler != "query" or self.task not in WITHOUT_QUESTION,
            f"the sampler 'query' asks which frames fit a question; {self.task!r} has none, use another sampler",
        )
        if isinstance(self.method, FullFineTune):
            low = [role for role in self.method.roles if self.bits.of(role) != 16]
            _require(not low, f"full fine-tuning of {low} needs 16 bits there; quantised weights have no gradient")

    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON, first 16 hex digits."""
        canonical = json.dumps(to_json(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def to_json(value: Any) -> Any:
    """Dataclasses, mappings and tuples as plain JSON values; a method carries its `kind`, None is left out."""
    if is_dataclass(value) and not isinstance(value, type):
        given = {f.name: getattr(value, f.name) for f in fields(value)}
        plain = {name: to_json(item) for name, item in given.items() if item is not None}
        return {"kind": value.kind, **plain} if isinstance(value, Method) else plain
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in sorted(cast("Mapping[str, Any]", value).items())}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in cast("Sequence[Any]", value)]
    return value


def recipe_from_json(plain: Mapping[str, Any]) -> Recipe:
    """The inverse of `to_json` for a Recipe; unknown fields and methods, and values of other types, are refused."""
    named = plain.get("method")
    method: dict[str, Any] = {**cast("Mapping[str, Any]", named)} if isinstance(named, Mapping) else {}
    kind = method.pop("kind", None)
    _require(isinstance(kind, str) and kind in METHODS, f"method {kind!r} is unknown; use one of {tuple(METHODS)}")
    made = build(METHODS[str(kind)], method, f"method {kind}")
    return build(Recipe, {**plain, "method": made}, "recipe")
