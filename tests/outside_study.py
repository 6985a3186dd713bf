"""A user's study file that brings its own family, quantiser, method, sampler, data set, score and law.

Nothing of `vqlora` is touched: each part is a few lines here, and `mine` adds them. One test submits it as a job.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ray import tune
from torch import nn
from transformers import AutoConfig, LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

from analysis.laws import written
from vqlora import extend
from vqlora.adapters import Adapted
from vqlora.data.example import Clip, Example
from vqlora.data.splits import Splits, make_splits
from vqlora.launch import launch
from vqlora.models.families import FAMILIES
from vqlora.models.load import Loaded
from vqlora.models.roles import parameters_by_role
from vqlora.recipe import Bits, Frames, Method, Recipe, Schedule
from vqlora.study import Objective, Study
from vqlora.video.sight import Sight

# ---- a family: a known one under a model type of its own -----------------------------------------------------------


class MyConfig(LlavaOnevisionConfig):
    model_type = "my_llava"


class MyLlava(LlavaOnevisionForConditionalGeneration):
    config_class = MyConfig


def add_my_family() -> None:
    AutoConfig.register("my_llava", MyConfig)
    known = FAMILIES["llava_onevision"]
    extend.add_family(replace(known, name="mine", model_type="my_llava", model_class=MyLlava))


# ---- a quantiser: 15 levels a row, kept as the values they stand for -----------------------------------------------


def levels(dense: nn.Linear, device: torch.device) -> nn.Linear:
    weight = dense.weight.data.to(device)
    scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / 7
    with torch.device("meta"):
        layer = nn.Linear(dense.in_features, dense.out_features, bias=dense.bias is not None)
    layer.weight = nn.Parameter((weight / scale).round() * scale)
    layer.bias = None if dense.bias is None else nn.Parameter(dense.bias.data.to(device))
    return layer


# ---- a method: only the biases of some roles are trained (arXiv:2106.10199) ----------------------------------------


@dataclass(frozen=True, kw_only=True)
class Biases(Method):
    kind: ClassVar[str] = "biases"
    roles: tuple[str, ...] = ("text",)

    @property
    def adapted_roles(self) -> tuple[str, ...]:
        return self.roles

    @property
    def changes_base(self) -> bool:
        return True


def attach_biases(loaded: Loaded, method: Biases, **_: Any) -> Adapted:
    names = parameters_by_role(loaded.model, loaded.model_type)
    chosen = [name for role in method.roles for name in names[role] if name.endswith(".bias")]
    trained = {name: loaded.model.get_parameter(name).requires_grad_(True) for name in chosen}
    return Adapted(loaded=loaded, method=method, parameters=trained)


# ---- a sampler, a data set, a score, a law -------------------------------------------------------------------------


def late(frames: Frames, sight: Sight) -> Sequence[int]:
    """The last frames of a clip."""
    return range(sight.info.frames - frames.budget, sight.info.frames)


def read_lines(folder: str, cache: Path) -> Splits:
    """clips.txt: split, file and caption in each line, between tabs."""
    examples: dict[str, list[Example]] = {"train": [], "val": [], "test": []}
    for number, line in enumerate((Path(folder) / "clips.txt").read_text().splitlines()):
        split, file, caption = line.split("\t")
        clip = Clip(path=str(Path(folder) / file))
        examples[split].append(Example(id=f"{number}", clips=(clip,), references={"en": (caption,)}))
    return make_splits("lines", examples)


def brevity(caption: str, references: Sequence[str]) -> float:
    """Words of the caption over those of the nearest reference, at most 1."""
    words = len(caption.split())
    nearest = min((len(reference.split()) for reference in references), key=lambda count: abs(count - words))
    return min(1.0, words / max(1, nearest))


def falling(shape: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.exp(-shape[..., 0, None] * x[:, 0])[..., None]


my_law = written("falling", falling, factors=["rank"], coefficients=["A"], exponents={"rate": (0.01, 2.0)})


def mine() -> None:
    add_my_family()
    extend.add_quantiser("levels", levels)
    extend.add_method(Biases, attach_biases)
    extend.add_sampler("late", late)
    extend.add_data("lines", read_lines)
    extend.add_score("brevity", brevity)


# ---- the study -----------------------------------------------------------------------------------------------------


def recipe(*, budget: int, base: str, data: str, steps: int, seed: int) -> Recipe:
    return Recipe(
        base=base,
        data=data,
        method=Biases(),
        bits=Bits(plan={"text": 4}, scheme4="levels"),
        frames=Frames(budget=budget, sampler="late", size=56),
        schedule=Schedule(steps=steps, batch_size=2, learning_rate=1e-2),
        max_new_tokens=4,
        seed=seed,
    )


study = Study(
    name="outside",
    version="1",
    question="Does what a user brings travel?",
    space={"budget": tune.grid_search([2])},
    recipe=recipe,
    objectives=(Objective(metric="val.brevity", direction="max"),),
    base=os.environ.get("MY_BASE", "a folder"),
    data="lines:.",
    steps=2,
    extend=mine,
)

if __name__ == "__main__":
    launch(study)
