"""Ways to adapt a base, as a recipe names them: frozen and self-checking. What they do to a model: `vqlora.adapters`.

A field that is None stands as it was before the field existed, so earlier recipes keep their fingerprints. Standard
library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

ROLES = ("text", "vision", "cross_modal", "audio")
UPDATES = ("stochastic", "kahan")
VARIANTS = ("dora",)
INITS = ("pissa", "eva", "loftq")
PLACES = ("attention", "mlp")
DEPTHS = ("0", "1", "2")  # thirds of a role's blocks
SCORES = ("motion", "entropy", "keyframe")
MODES = ("rank", "gate")
CONTROLS = ("constant", "shuffled", "still", "random")
MIXERS = ("time", "frame", "shuffled")


def require(condition: bool, message: str) -> None:
    """ValueError with the message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def require_roles(name: str, mapping: Mapping[str, Any]) -> None:
    """ValueError if a mapping by role names another one."""
    unknown = sorted(set(mapping) - set(ROLES))
    require(not unknown, f"{name} names the role {unknown[0]!r}; use one of {ROLES}" if unknown else "")


def _require_choice(name: str, value: str | None, known: tuple[str, ...]) -> None:
    require(value is None or value in known, f"{name} {value!r} is unknown; use one of {known}, or None")


def _require_sizes(name: str, sizes: Mapping[str, int]) -> None:
    """{role: whole number >= 0}, one of them above 0."""
    require_roles(name, sizes)
    short = name.rpartition(".")[2]
    for role, size in sizes.items():
        require(
            type(size) is int and size >= 0,
            f"{short} {size!r} for {role} is not a whole number >= 0; 0 leaves the role without adapters",
        )
    require(any(sizes.values()), f"{short} is 0 in every role of {dict(sizes)}; give one a {short}, or use ZeroShot")


def _require_groups(groups: Mapping[str, int]) -> None:
    """{'role.part.depth': whole number >= 0}, one of them above 0."""
    for name, rank in groups.items():
        role, part, depth = (*name.split("."), "", "")[:3]
        require(
            role in ROLES and part in PLACES and depth in DEPTHS and name.count(".") == 2,
            f"group {name!r} is no role.part.depth of {ROLES}, {PLACES} and {DEPTHS}, such as 'text.mlp.0'",
        )
        require(type(rank) is int and rank >= 0, f"rank {rank!r} of the group {name} is not a whole number >= 0")
    require(any(groups.values()), f"rank is 0 in every group of {dict(groups)}; give one a rank, or use ZeroShot")


@dataclass(frozen=True, kw_only=True)
class Method:
    """How a base is adapted; subclasses are the known methods.

    kind: their names in records. by_role: the field that says in which roles.
    """

    kind: ClassVar[str] = ""
    by_role: ClassVar[str] = "roles"

    @property
    def adapted_roles(self) -> tuple[str, ...]:
        """The roles it trains something in."""
        return ()

    @property
    def changes_base(self) -> bool:
        """Whether it overwrites the base's own weights, so that no other trial can go on with them."""
        return False


@dataclass(frozen=True, kw_only=True)
class ZeroShot(Method):
    """The base as it is: nothing is trained.

    probe: training clips from which `vqlora.probe` measures what predicts other trials; needs 16 bits everywhere.
    """

    kind: ClassVar[str] = "zero_shot"
    probe: int | None = None

    def __post_init__(self) -> None:
        require(self.probe is None or self.probe >= 2, f"probe of {self.probe} clips; give at least 2, or None")


@dataclass(frozen=True, kw_only=True)
class FullFineTune(Method):
    """All parameters of the named roles are trained; needs 16 bits there. Of cross_modal alone: projector-only.

    update: None keeps fp32 weights; the others train bf16 weights on a GPU and on a CPU alike, so that a 7B base fits
    one 80 GB GPU: 'stochastic' rounds each update up or down by chance (arXiv:2010.06192), 'kahan' carries what was
    rounded off in a bf16 compensation.
    """

    kind: ClassVar[str] = "full"
    roles: tuple[str, ...] = ("text", "cross_modal")
    update: str | None = None

    def __post_init__(self) -> None:
        require(bool(self.roles), "full fine-tuning of no role trains nothing; name one, or use ZeroShot")
        require_roles("FullFineTune.roles", dict.fromkeys(self.roles))
        _require_choice("update", self.update, UPDATES)

    @property
    def adapted_roles(self) -> tuple[str, ...]:
        return self.roles

    @property
    def changes_base(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class Lora(Method):
    """Low-rank adapters, y = W x + s B A x (arXiv:2106.09685), rank per role.

    rank: {role: rank}; 0 or absent means no adapter there.
    alpha: the numerator of s; with `rslora` s = alpha / sqrt(rank) (arXiv:2312.03732), else alpha / rank.
    groups: {'text.attention.0': rank} instead of `rank`, as `vqlora allocate` gives it: role, part, third of the depth.
    variant: 'dora' trains magnitude and direction apart (arXiv:2402.09353).
    init: 'pissa' from the principal components of W (arXiv:2404.02948), 'eva' from those of the layer's inputs on
    training clips, ranks as given (arXiv:2410.07170), 'loftq' from those of what quantisation lost, once
    (arXiv:2310.08659). rate_ratio: B's learning rate over A's, LoRA+ (arXiv:2402.12354).
    """

    kind: ClassVar[str] = "lora"
    by_role: ClassVar[str] = "rank"
    rank: Mapping[str, int] = field(default_factory=dict[str, int])
    alpha: float = 16.0
    rslora: bool = True
    dropout: float = 0.0
    groups: Mapping[str, int] | None = None
    variant: str | None = None
    init: str | None = None
    rate_ratio: float | None = None

    def __post_init__(self) -> None:
        require(not (self.rank and self.groups), "rank and groups both say how large adapters are; give one of them")
        if self.groups is None:
            _require_sizes("Lora.rank", self.rank)
        else:
            _require_groups(self.groups)
        require(self.alpha > 0, f"alpha {self.alpha} must be > 0")
        require(0 <= self.dropout < 1, f"dropout {self.dropout} must be in [0, 1)")
        _require_choice("variant", self.variant, VARIANTS)
        _require_choice("init", self.init, INITS)
        require(self.rate_ratio is None or self.rate_ratio > 0, f"rate_ratio {self.rate_ratio} must be > 0")
        require(
            not (self.variant and self.init in ("pissa", "loftq")),
            f"init {self.init!r} starts with B A not zero, which {self.variant!r} has no magnitude for: use one",
        )

    @property
    def adapted_roles(self) -> tuple[str, ...]:
        sizes = self.rank if self.groups is None else self.groups
        return tuple(dict.fromkeys(name.partition(".")[0] for name, rank in sizes.items() if rank))

    @property
    def changes_base(self) -> bool:
        return self.init == "pissa"

    @property
    def is_plain(self) -> bool:
        """Whether it is A and B at their usual start and rate, which trials can share their steps with."""
        return not (self.dropout or self.variant or self.init or self.rate_ratio)


@dataclass(frozen=True, kw_only=True)
class Prefix(Method):
    """Prefix tuning (arXiv:2101.00190): `tokens` trained keys and values before every self-attention of the text.

    They start as keys and values of a training clip. The tokens of the text keep the positions that they have without
    a prefix, so rotary and multi-axis positions (M-RoPE) need no change.
    """

    kind: ClassVar[str] = "prefix"
    tokens: int = 16

    def __post_init__(self) -> None:
        require(type(self.tokens) is int and self.tokens >= 1, f"prefix tokens {self.tokens!r} must be >= 1")

    @property
    def adapted_roles(self) -> tuple[str, ...]:
        return ("text",)


@dataclass(frozen=True, kw_only=True)
class Bottleneck(Method):
    """Adapters in series (arXiv:1902.00751): y + Up(gelu(Down(LayerNorm(y)))), `width` per role; Up = 0 at the start.

    places: after the 'mlp' of every block (arXiv:2005.00247), or after 'attention' too.
    """

    kind: ClassVar[str] = "bottleneck"
    by_role: ClassVar[str] = "width"
    width: Mapping[str, int]
    places: tuple[str, ...] = ("mlp",)

    def __post_init__(self) -> None:
        _require_sizes("Bottleneck.width", self.width)
        unknown = [place for place in self.places if place not in PLACES]
        require(bool(self.places) and not unknown, f"places {self.places} must be some of {PLACES}")

    @property
    def adapted_roles(self) -> tuple[str, ...]:
        return tuple(role for role, width in self.width.items() if width)


@dataclass(frozen=True, kw_only=True)
class Ia3(Method):
    """One trained factor for every key, value and inner feed-forward activation of the roles (arXiv:2205.05638)."""

    kind: ClassVar[str] = "ia3"
    roles: tuple[str, ...] = ("text",)

    def __post_init__(self) -> None:
        require(bool(self.roles), "IA3 on no role trains nothing; name one, or use ZeroShot")
        require_roles("Ia3.roles", dict.fromkeys(self.roles))

    @property
    def adapted_roles(self) -> tuple[str, ...]:
        return self.roles


@dataclass(frozen=True, kw_only=True)
class TemporalLora(Method):
    """LoRA that follows what happens in a token's frame: y = W x + s B diag(m) A x, `alpha` and `rslora` as in Lora.

    rank: {role: greatest rank R}; all 0 leaves the mixer alone. mode: 'rank', m is the first k of R with
    k / R = low + (1 - low) sigmoid(softplus(a) (score - b)), a and b trained per role; 'gate', one factor per frame.
    score: {'motion', 'entropy' or 'keyframe': weight}, weights of 1 in sum. text: k / R of tokens that are in no frame.
    budget: mean k / R of frames, from which the loss grows. control: instead of the frame's own score 'shuffled'
    scores of the clip's other frames, 'still' 0.5 everywhere, 'random' numbers; or 'constant' k / R = budget.
    mixer: attention over 'time' after the projector, of `width`; controls: each 'frame' alone, frames 'shuffled'.
    memory: neighbouring frames that are alike are merged until so many are left.
    A mask saves no arithmetic: A x is computed at full rank.
    """

    kind: ClassVar[str] = "temporal_lora"
    by_role: ClassVar[str] = "rank"
    rank: Mapping[str, int]
    alpha: float = 16.0
    rslora: bool = True
    mode: str = "rank"
    score: Mapping[str, float] = field(default_factory=lambda: {"motion": 1.0})
    low: float = 0.25
    text: float = 0.5
    budget: float = 0.5
    control: str | None = None
    mixer: str | None = None
    width: int | None = None
    memory: int | None = None

    def __post_init__(self) -> None:
        require_roles("TemporalLora.rank", self.rank)
        if self.mixer is None or any(self.rank.values()):
            _require_sizes("TemporalLora.rank", self.rank)
        require(self.alpha > 0, f"alpha {self.alpha} must be > 0")
        require(self.mode in MODES, f"mode {self.mode!r} is unknown; use one of {MODES}")
        unknown = sorted(set(self.score) - set(SCORES))
        require(not unknown, f"score {unknown[0]!r} is unknown; use some of {SCORES}" if unknown else "")
        weights = self.score.values()
        is_share = abs(sum(weights) - 1) < 1e-6 and min(weights) >= 0
        require(is_share, f"weights {dict(self.score)} must be >= 0, 1 in sum")
        for name in ("low", "text", "budget"):
            share = getattr(self, name)
            require(0 < share <= 1, f"{name} {share} is a share of the rank and must be in (0, 1]")
        _require_choice("control", self.control, CONTROLS)
        _require_choice("mixer", self.mixer, MIXERS)
        require(self.width is None or self.width >= 4, f"mixer width {self.width} must be >= 4")
        require(self.memory is None or self.memory >= 1, f"memory {self.memory} must keep at least one frame")
        require(
            not (self.memory and self.rank.get("vision")),
            "memory merges states of a frozen tower; leave the role vision out of rank, or memory away",
        )

    @property
    def adapted_roles(self) -> tuple[str, ...]:
        roles = tuple(role for role, rank in self.rank.items() if rank)
        return roles if self.mixer is None or "cross_modal" in roles else (*roles, "cross_modal")


METHODS: dict[str, type[Method]] = {
    method.kind: method for method in (ZeroShot, FullFineTune, Lora, Prefix, Bottleneck, Ia3, TemporalLora)
}
