"""`vqlora evaluate ADAPTER --data D`: what a kept adapter scores on a split, also of data it has never seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vqlora.recall import Found
from vqlora.restore import check_base, restored, score


def evaluate_adapter(
    found: Found, *, device: str, data: str | None = None, split: str = "test", base: str | None = None
) -> Mapping[str, float]:
    """Prints and gives the scores; the record's own stand beside them where data and split are those of the record.

    ValueError before a device is taken for an adapter that is not there, another base or unreadable data.
    """
    from vqlora.warm import Warm

    recipe = replace(found.recipe, data=data or found.recipe.data)
    check_base(found, base or recipe.base)
    opened = Warm().data(recipe, device)
    adapted = restored(found, device=device, base=base)
    metrics = score(found, adapted, opened, split).metrics
    is_own = opened.digest == found.record.provenance.data_digest
    own = found.record.metrics.get(split, {}) if is_own else {}
    print_scores(f"{found.record.trial} on {split} of {recipe.data}", {"here": metrics, "recorded": own})
    return metrics


def print_scores(title: str, columns: Mapping[str, Mapping[str, float]]) -> None:
    """A line a score; columns without any are left out."""
    shown = {name: values for name, values in columns.items() if values}
    names = sorted({name for values in shown.values() for name in values})
    width = max(len(name) for name in names)
    print(f"{title}\n{'score':{width}}" + "".join(f"  {name:>14}" for name in shown))
    for name in names:
        print(f"{name:{width}}" + "".join(f"  {_shown(values.get(name)):>14}" for values in shown.values()))


def _shown(value: float | None) -> str:
    return "absent" if value is None else f"{value:.6g}"
