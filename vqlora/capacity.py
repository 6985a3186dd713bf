"""Which methods, bits and frames fit a card: plans against its memory, `vqlora plan BASE --device-memory 24GiB`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from vqlora.recipe import Bits, Bottleneck, FullFineTune, Ia3, Lora, Method, Prefix, Recipe, Schedule

CONTEXT_GIB = 1.0  # of a process: the driver's context and the libraries' code
SPARE_SHARE = 0.04  # of a plan, that the allocator loses to fragments or the plan may miss
FRAMES = (4, 8, 16, 32, 64)
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:gib|gb|g)?", re.IGNORECASE)
METHODS: tuple[tuple[str, Method, tuple[str, ...]], ...] = (
    ("lora rank 16", Lora(rank={"text": 16}), ("all4", "all8", "all16")),
    ("dora rank 16", Lora(rank={"text": 16}, variant="dora"), ("all4",)),
    ("prefix 16", Prefix(tokens=16), ("all4",)),
    ("bottleneck 64", Bottleneck(width={"text": 64}), ("all4",)),
    ("ia3", Ia3(), ("all4",)),
    ("projector", FullFineTune(roles=("cross_modal",)), ("all4",)),
    ("full, bf16", FullFineTune(update="stochastic"), ("all16",)),
)


def gib_of(text: str) -> float:
    """'24GiB', '24GB' (cards are named so) or '24' as GiB. ValueError for anything else."""
    found = SIZE.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise ValueError(f"device memory {text!r} is no size; write it as 24GiB")
    return float(found[1])


def fits(planned_gib: float, device_gib: float) -> bool:
    """Whether a planned peak of torch's allocator has room on a card of so many GiB."""
    return planned_gib * (1 + SPARE_SHARE) <= device_gib - CONTEXT_GIB


def print_fitting(recipe: Recipe, device_gib: float, frames: Sequence[int] = FRAMES) -> int:
    """One line a method and bit plan: the planned peak at each number of frames, '-' where it does not fit.

    The recipe gives base, batch size, frame size and checkpointing. How many combinations fit.
    """
    from vqlora.models.load import model_type_of
    from vqlora.models.roles import roles_of_base
    from vqlora.planner import plan

    known = roles_of_base(model_type_of(recipe.base))
    print(f"{recipe.base}: planned peak in GiB on {device_gib:g} GiB, {CONTEXT_GIB:g} of them for the context")
    print(f"{'method':16}{'bits':7}" + "".join(f"{f'{count} frames':>11}" for count in frames))
    fitting = 0
    for name, method, plans in METHODS:
        if not set(method.adapted_roles) <= set(known):
            continue
        for bits in plans:
            cells: list[str] = []
            for count in frames:
                wanted = replace(
                    recipe,
                    method=method,
                    bits=Bits.preset(bits),
                    frames=replace(recipe.frames, budget=count),
                    schedule=_schedule(recipe.schedule, method),
                )
                peak = plan(wanted).peak_gib
                fitting += fits(peak, device_gib)
                cells.append(f"{peak:.1f}" if fits(peak, device_gib) else "-")
            print(f"{name:16}{bits:7}" + "".join(f"{cell:>11}" for cell in cells), flush=True)
    return fitting


def _schedule(schedule: Schedule, method: Method) -> Schedule:
    """Full fine-tuning of a large base keeps its moments in 8 bits."""
    is_whole = isinstance(method, FullFineTune) and method.update is not None
    return replace(schedule, optimizer="paged_adamw8bit") if is_whole else schedule
