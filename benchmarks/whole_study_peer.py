"""One trial as a user would write it, a process of its own: the peer of `whole_study.py`.

Start, load at 4 bits, LoRA of rank 16 with gradient checkpointing, steps of batch 1, captions of val and test by
`generate`, eight clips at a time. Frames are decoded already, as on our side.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from methods_peer import model_inputs, qlora
from torch import Tensor

from vqlora.data.example import Example
from vqlora.inputs import precision
from vqlora.models.load import processor_of
from vqlora.recipe import Bits, Frames, Recipe, Schedule, ZeroShot
from vqlora.training import evaluation_steps
from vqlora.warm import Data, Warm

ANSWERED = 8  # clips a batch


def main() -> None:
    given = arguments().parse_args()
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(given.seed)
    recipe = Recipe(
        base=str(given.folder),
        data=given.data,
        method=ZeroShot(),
        bits=Bits.preset("all4"),
        frames=Frames(budget=given.frames, size=given.size),
        schedule=Schedule(steps=given.steps, batch_size=1, evaluations=given.evaluations),
        seed=given.seed,
    )
    data, processor = Warm().data(recipe), processor_of(recipe.base)
    model = qlora(given.folder, device=device, checkpointing=True)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    train, marks = data.splits["train"], evaluation_steps(recipe.schedule)
    for step in range(given.steps):
        model.train()
        with precision(torch.device(device)):
            inputs = _inputs(model, processor, data, recipe, [train[(given.seed + step) % len(train)]], device)
            model(**inputs).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step + 1 in marks:
            captions(model, processor, data, recipe, "val", given.tokens)
    print(captions(model, processor, data, recipe, "test", given.tokens)[0])


@torch.no_grad()
def captions(model: Any, processor: Any, data: Data, recipe: Recipe, split: str, tokens: int) -> list[str]:
    """Greedy captions of a split."""
    model.eval()
    model.gradient_checkpointing_disable()  # with it transformers would generate without a cache
    said, clips, device = [], data.splits[split], str(model.device)
    for start in range(0, len(clips), ANSWERED):
        part = clips[start : start + ANSWERED]
        with precision(torch.device(device)):
            inputs = _inputs(model, processor, data, recipe, part, device, generate=True)
            found = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
        said += processor.batch_decode(found[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    return said


def _inputs(
    model: Any, processor: Any, data: Data, recipe: Recipe, examples: Sequence[Example], device: str,
    *, generate: bool = False,
) -> dict[str, Tensor]:  # fmt: skip
    shown = [data.store.get(example.clips[0]) for example in examples]
    said = [example.conversation("en") for example in examples]
    return model_inputs(processor, model.config, shown, said, recipe.frames.size, device, generate=generate)


def arguments() -> argparse.ArgumentParser:
    """What a trial of the benchmark takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a checkpoint")
    parser.add_argument("--data", default="shapes:tiny")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--evaluations", type=int, default=3, help="of val, 8 clips; with test 32 captions")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    main()
