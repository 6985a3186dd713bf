"""From a study to its trials: every point and seed as an `Asked`, by Ray Tune's own variant generator.

Expanding needs neither torch nor a running Ray. Running an Asked is `vqlora.trial`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vqlora.recipe import Recipe, recipe_from_json, to_json
from vqlora.study import Study

SCALARS = (str, int, float, bool, type(None))
SAMPLING_SEED = 0  # of tune.choice and its like without a searcher: a study launched again asks the same trials


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One trial as asked: a point of a study at one seed. Two with one fingerprint are the same experiment."""

    study: str
    version: str
    trial: str
    point: Mapping[str, Any]
    seed: int
    recipe: Recipe
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """Plain values, to send to another process."""
        return {**vars(self), "point": dict(self.point), "recipe": to_json(self.recipe)}


def asked_from_json(plain: Mapping[str, Any]) -> Asked:
    """The inverse of `Asked.to_json`."""
    return Asked(**{**plain, "recipe": recipe_from_json(plain["recipe"])})


def ask(study: Study, point: Mapping[str, Any], seed: int) -> Asked:
    """One point of a study at one seed. ValueError if an axis holds no scalar or the recipe refuses the point."""
    odd = [axis for axis, value in point.items() if not isinstance(value, SCALARS)]
    if odd:
        raise ValueError(f"study {study.name}: axis {odd[0]!r} holds {point[odd[0]]!r}; axes hold scalars")
    try:
        recipe = study.recipe(**point, base=study.base, data=study.data, steps=study.steps, seed=seed)
        recipe = with_settings(recipe, study.settings)
    except ValueError as error:
        raise ValueError(f"study {study.name} at {dict(point)}: {error}") from error
    fingerprint = recipe.fingerprint()
    return Asked(
        study=study.name,
        version=study.version,
        trial=trial_name(point, seed, fingerprint),
        point=dict(point),
        seed=seed,
        recipe=recipe,
        fingerprint=fingerprint,
    )


def ask_points(study: Study, points: Iterable[Mapping[str, Any]]) -> list[Asked]:
    """Each point at each seed; equal experiments once."""
    asked = [ask(study, point, seed) for point in points for seed in range(study.seeds)]
    return list({one.fingerprint: one for one in reversed(asked)}.values())[::-1]


def expand(study: Study) -> list[Asked]:
    """All trials that can be listed before the start: the space, unless a searcher explores it, and the extra points.

    ValueError for a space without any trial.
    """
    points = [] if study.searcher else sample_points(study, study.samples)
    if not points and not study.searcher:
        raise ValueError(f"study {study.name}: the space {dict(study.space)} holds no trial; give every axis a value")
    return ask_points(study, _narrowed(study, [*points, *study.points]))


def with_settings(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with fields set by path, such as {'frames.size': 448}. ValueError for a field it does not have."""
    plain = to_json(recipe)
    for path, value in settings.items():
        *above, name = path.split(".")
        inside = plain
        for part in above:
            inside = inside.get(part) if isinstance(inside, dict) else None
        if not isinstance(inside, dict) or name not in inside:
            known = [key if not isinstance(item, dict) else f"{key}.{'|'.join(item)}" for key, item in plain.items()]
            raise ValueError(f"the recipe has no field {path!r} to set; it has {', '.join(known)}")
        inside[name] = value
    return recipe_from_json(plain) if settings else recipe


def _narrowed(study: Study, points: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those that `study.only` names. ValueError for an axis that is none, and where nothing is left."""
    known = {axis for point in points for axis in point}
    unknown = sorted(set(study.only) - (known or set(study.space)))
    if unknown:
        raise ValueError(f"study {study.name}: --only names {unknown[0]!r}; its axes are {', '.join(sorted(known))}")
    kept = [p for p in points if all(str(p.get(axis)) in values for axis, values in study.only.items())]
    if not kept and points:
        raise ValueError(
            f"study {study.name}: no listed point has {dict(study.only)}; see --dry-run for those there are"
        )
    return kept


def axes(study: Study, asked: Sequence[Asked]) -> dict[str, list[Any]]:
    """{axis: its values in order of appearance}."""
    names = dict.fromkeys([*study.space, *(axis for one in asked for axis in one.point)])
    return {name: list(dict.fromkeys(one.point[name] for one in asked if name in one.point)) for name in names}


def trial_name(point: Mapping[str, Any], seed: int, fingerprint: str) -> str:
    """A folder name that can be read: 'rank4-bits8-s0-1f3a9c2e'."""
    words = [re.sub(r"[^A-Za-z0-9.]+", ".", f"{axis}{_short(value)}").strip(".") for axis, value in point.items()]
    return "-".join(["-".join(words)[:80].strip("-."), f"s{seed}", fingerprint[:8]])


def sample_points(study: Study, samples: int = 1) -> list[dict[str, Any]]:
    """Points of the space: each grid point `samples` times, with `tune.choice` and its like drawn by a fixed seed."""
    import numpy as np
    from ray.tune.search.variant_generator import generate_variants

    state, space = np.random.default_rng(SAMPLING_SEED), dict(study.space)
    return [dict(point) for _ in range(samples) for _, point in generate_variants(space, random_state=state)]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
