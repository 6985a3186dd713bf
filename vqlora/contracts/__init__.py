"""Contracts of what plugs into vqlora, for the project's own tests and for those of a user's parts.

from vqlora.contracts import check_family, examine
"""

from __future__ import annotations

from vqlora.contracts.combination import CASES, PLANS, Case, Found, examine, pairs, refusal, save_base
from vqlora.contracts.family import check_family
from vqlora.contracts.footage import Footage, footage
from vqlora.contracts.plugs import check_data, check_sampler, check_score

__all__ = [
    "CASES",
    "PLANS",
    "Case",
    "Footage",
    "Found",
    "check_data",
    "check_family",
    "check_sampler",
    "check_score",
    "examine",
    "footage",
    "pairs",
    "refusal",
    "save_base",
]
