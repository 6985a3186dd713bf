"""Qwen2.5-Omni's thinker (arXiv:2503.20215), which answers in text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vqlora.models.rotary import TimedRotary


@dataclass(frozen=True, kw_only=True, eq=False)
class Omni(TimedRotary):
    """Positions in time follow the clock, 25 a second. Sound is not passed on so far, only frames."""

    def rate(self, model_config: Any) -> float:
        return model_config.position_id_per_seconds
