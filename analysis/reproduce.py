"""How one trial is run again: a shell command made of its record alone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

PROGRAM = (
    "import json, sys; from vqlora.finetune import finetune; from vqlora.recipe import recipe_from_json; "
    "print(finetune(recipe_from_json(json.loads(sys.argv[1])), device=sys.argv[2]).metrics)"
)


def command(recipe: Mapping[str, Any], *, device: str, commit: str | None) -> str:
    """Checks the commit out, then trains and scores the recipe; everything in it is quoted for a shell."""
    kind = "cpu" if device.startswith("CPU") else "cuda"
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"))
    run = shlex.join(["python", "-c", PROGRAM, text, kind])
    return f"git checkout {shlex.quote(commit)} && {run}" if commit else run


def settings(recipe: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A recipe as {dotted name: scalar}, by name: records that were read and records in memory differ in order."""
    found: dict[str, Any] = {}
    for name, value in sorted(recipe.items()):
        if isinstance(value, Mapping):
            found |= settings(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value if isinstance(value, str | int | float | bool | None) else json.dumps(value)
    return found
