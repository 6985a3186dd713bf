"""Parts of one's own: a family, a quantiser, a method, a sampler, a data set, a score. One call adds each.

A study names the function that makes the calls, and every process that runs its trials calls it first:

    def mine() -> None:
        extend.add_sampler("first", lambda frames, sight: range(frames.budget))

    study = Study(..., extend=mine)

A part's name stands in recipes and records, its code does not: a study whose part changes gets a new version.
A law needs no call: `analysis.laws.written` makes one. Contract suites: `vqlora.contracts`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqlora.methods import METHODS, Method
from vqlora.recipe import SAMPLERS, SCHEMES

if TYPE_CHECKING:
    import torch
    from torch import nn

    from vqlora.adapters import Adapted
    from vqlora.data.splits import Splits
    from vqlora.models.families import Family
    from vqlora.recipe import Frames
    from vqlora.video.sight import Sight

Extend = Callable[[], None] | None
_called: set[tuple[str, str]] = set()


def once(extend: Extend) -> None:
    """Calls a study's `extend`, in each process the first time only."""
    if extend is not None and (name := (extend.__module__, extend.__qualname__)) not in _called:
        extend()
        _called.add(name)


def add_family(family: Family) -> None:
    """A row of `vqlora.models.families`, after transformers' AutoConfig knows its classes."""
    from vqlora.models.families import register

    register(family)


def add_quantiser(name: str, build: Callable[[nn.Linear, torch.device], nn.Linear]) -> None:
    """A scheme of 4 bits, for `Bits(scheme4=name)`.

    build: gives a dense layer's quantised one on the device; an nn.Linear, so that adapters know it, whose `weight` is
    what it multiplies with. Its memory is what its parameters and buffers take.
    """
    from vqlora.models.quantisers import QUANTISERS

    _add(SCHEMES, "quantiser", name, 4)
    QUANTISERS[name] = build


def add_method(kind: type[Method], attach: Callable[..., Adapted]) -> None:
    """A frozen dataclass under `vqlora.recipe.Method` with a `kind` of its own.

    attach: called as attach(loaded, method, seed=, run=), see `vqlora.adapters.attach`; it leaves trainable exactly the
    parameters that it gives back.
    """
    from vqlora.adapters import OWN

    _add(METHODS, "method", kind.kind, kind)
    OWN[kind] = attach


def add_sampler(name: str, choose: Callable[[Frames, Sight], Sequence[int]]) -> None:
    """For `Frames(sampler=name)`: at most `frames.budget` indices of a clip; missing ones are filled in."""
    from vqlora.video.samplers import SAMPLERS as CHOOSERS

    _add(CHOOSERS, "sampler", name, choose)
    SAMPLERS.append(name)


def add_data(name: str, read: Callable[[str, Path], Splits]) -> None:
    """For `--data NAME:REST`: read(REST, cache folder) gives the splits."""
    from vqlora.data.sets import SETS

    _add(SETS, "data set", name, read)


def add_score(name: str, score: Callable[[str, Sequence[str]], float]) -> None:
    """A score of each caption against its references, in records as `val.NAME` and `test.NAME`, their mean."""
    from vqlora.evaluation import OWN_SCORES

    _add(OWN_SCORES, "score", name, score)


def _add(table: Any, what: str, name: str, part: Any) -> None:
    known: Mapping[str, Any] = table
    if not name or name in known:
        raise ValueError(f"{what} {name!r} is there already, or has no name; give yours another one: {sorted(known)}")
    table[name] = part
