"""How do ways of fine-tuning compare on the video-text benchmarks? The main table.

Question      Does QLoRA hold its own against full fine-tuning and LoRA, in captioning and in retrieval, and what does
              it save?
Expectation   LoRA and QLoRA within the interval of full fine-tuning on every set, at a fraction of its memory.
Rows          zero-shot, full fine-tuning, LoRA (16 bits), and on 4 bits QLoRA, prefix tuning, bottleneck adapters.
Columns       MSR-VTT and ActivityNet paragraphs (captioning), VATEX and LSMDC (retrieval).
Cell          BLEU-4 and CIDEr-D, or R@1, R@5, R@10 both ways, on test; memory in training and inference, time, latency
              and FLOPs beside it. `--seeds 3` for a paper.
Cost          24 trials on the embedded twins of the four sets, 256 clips seen in each; an hour on two CPU cores.
Command       ray job submit --working-dir . -- python studies/benchmarks.py
              the real sets: --data msrvtt:/d/msrvtt=1,activitynet:/d/anet=1,vatex-retrieval:/d/vatex=1,lsmdc:/d/lsmdc=1
"""

from ray import tune

from vqlora.launch import launch
from vqlora.recipe import (
    Bits,
    Bottleneck,
    Frames,
    FullFineTune,
    Lora,
    Method,
    Prefix,
    Recipe,
    Schedule,
    ZeroShot,
)
from vqlora.study import Objective, Study

RETRIEVAL = ("vatex-retrieval", "lsmdc")
COLUMNS = ("msrvtt", "activitynet", *RETRIEVAL)
RANK = {"text": 16, "cross_modal": 16}
ROWS: dict[str, tuple[Method, str, float]] = {  # method, bits, learning rate
    "zero_shot": (ZeroShot(), "all16", 1e-3),
    "full": (FullFineTune(), "all16", 3e-4),
    "lora": (Lora(rank=RANK), "all16", 4e-3),
    "qlora": (Lora(rank=RANK), "all4", 4e-3),
    "prefix": (Prefix(tokens=16), "all4", 2e-2),
    "bottleneck": (Bottleneck(width={"text": 64}), "all4", 4e-3),
}


def recipe(*, row: str, column: str, base: str, data: str, steps: int, seed: int) -> Recipe:
    """A row's method on a column's set."""
    method, bits, rate = ROWS[row]
    is_trained = row != "zero_shot"
    return Recipe(
        base=base,
        data=part_of(data, column),
        task="retrieval" if column in RETRIEVAL else "caption",
        method=method,
        bits=Bits.preset(bits),
        frames=Frames(budget=8),
        schedule=Schedule(steps=steps if is_trained else 0, batch_size=8, learning_rate=rate),
        max_new_tokens=96 if column == "activitynet" else 48,
        seed=seed if is_trained else 0,  # without training neither steps nor a seed change anything
    )


def part_of(data: str, column: str) -> str:
    """The set of a column in a list of sets with weights, which stand there for a mixture's sake alone."""
    for part in data.split(","):
        spec = part.rpartition("=")[0] or part
        kind, _, rest = spec.partition(":")
        if column == kind or (kind == "twin" and rest.rpartition("-")[0] == column):
            return spec
    raise ValueError(f"data {data!r} holds no set for the column {column!r}; list {', '.join(COLUMNS)}, each with =1")


study = Study(
    name="benchmarks",
    version="1",
    question="Does QLoRA hold its own against full fine-tuning and LoRA, and what does it save?",
    space={"row": tune.grid_search(list(ROWS)), "column": tune.grid_search(list(COLUMNS))},
    recipe=recipe,
    objectives=(
        Objective(metric="val.loss", direction="min"),
        Objective(metric="cost.train_peak_gib", direction="min"),
        Objective(metric="cost.latency_ms", direction="min"),
    ),
    base="embedded:videollama",
    data=",".join(f"twin:{column}-tiny=1" for column in COLUMNS),
    steps=32,
)

if __name__ == "__main__":
    launch(study)
