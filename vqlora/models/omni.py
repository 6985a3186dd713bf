"""Qwen2.5-Omni's thinker (arXiv:2503.20215): video and its sound in one text, every two seconds of each in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vqlora.models.rotary import TimedRotary


@dataclass(frozen=True, kw_only=True, eq=False)
class Omni(TimedRotary):
    """Positions in time follow the clock, 25 a second."""

    def rate(self, model_config: Any) -> float:
        return model_config.position_id_per_seconds
