"""What a trial costs and how each number is measured; bytes of weights are in `models.bits`, estimates in `planner`.

Everything is measured on the truly quantised base and on batches whose vision states are computed afresh, so warm
caches never flatter a number.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vqlora.flops import FlopCounter
from vqlora.models.bits import model_bytes, storage_bytes
from vqlora.parts import local_part

GIB = 2**30
LATENCY_CLIPS = 8
PROBE_STEPS = 4  # the first is counted (FLOPs, on a CPU memory), the others are timed
HOW_ON_CPU = (
    "counted from tensors: weights, gradients, optimizer state and saved activations of one step; with checkpointing "
    "the peak of live tensors in place of gradients and activations"
)
HOW_ON_GPU = "peak of the CUDA allocator, without what other bases of the process hold"


# ---- memory on a CPU --------------------------------------------------------------------------------------------


@dataclass(eq=False)
class SavedActivations:
    """Bytes of the distinct storages that autograd keeps for backward, without the weights themselves."""

    weights: frozenset[int]
    storages: dict[int, int] = field(default_factory=dict)

    def add(self, tensor: Tensor) -> Tensor:
        # A tensor on the meta device has no address; it keeps its storage alive, so the object names it.
        storage = tensor.untyped_storage()
        key = storage._cdata if tensor.is_meta else storage.data_ptr()
        if key not in self.weights:
            self.storages[key] = storage.nbytes()
        return tensor.detach()  # an operator's saved output would hold itself in a cycle

    @property
    def bytes(self) -> int:
        return sum(self.storages.values())


@contextmanager
def saved_activations(model: nn.Module) -> Iterator[SavedActivations]:
    """Counts what is saved for backward by what runs inside."""
    weights = (local_part(tensor).untyped_storage() for tensor in (*model.parameters(), *model.buffers()))
    counter = SavedActivations(frozenset(s._cdata if s.device.type == "meta" else s.data_ptr() for s in weights))
    with torch.autograd.graph.saved_tensors_hooks(counter.add, lambda tensor: tensor):
        yield counter


class LivePeak(TorchDispatchMode):
    """Peak bytes of the tensors that operators made inside and that were alive at once; weights are not among them.

    tolerance: by what share the peak may be too low; looking for the dead at every new peak takes most of the time.
    """

    def __init__(self, tolerance: float = 0.0) -> None:
        super().__init__()
        self.peak, self.tolerance = 0, tolerance
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}
        self._total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        known = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in known:
                self._born(leaf)
        return out

    def _born(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self._live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._total += storage.nbytes()
        if self._total > self.peak * (1 + self.tolerance):  # the dead are counted out only for a new peak
            self._live = {key: entry for key, entry in self._live.items() if not entry[0].expired()}
            self._total = sum(size for _, size in self._live.values())
            self.peak = max(self.peak, self._total)


# ---- probes -----------------------------------------------------------------------------------------------------


def is_out_of_memory(error: BaseException) -> bool:
    """Of a GPU or of the host; torch's CPU allocator raises a plain RuntimeError."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator: " in str(error)


def held_by_others(model: nn.Module, device: torch.device) -> int:
    """Bytes that this process holds on a GPU beside the model, such as other bases; 0 on a CPU."""
    return torch.cuda.memory_allocated(device) - model_bytes(model) if device.type == "cuda" else 0


def optimizer_bytes(optimizer: torch.optim.Optimizer | None) -> int:
    """Of what an optimizer keeps of its parameters; AdamW's step counts, a number each, are left out."""
    kept = [] if optimizer is None else [*optimizer.state.values()]
    return storage_bytes(
        value for state in kept for value in state.values() if isinstance(value, Tensor) and value.ndim
    )


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(eq=False)
class StepProbe:
    """Cost of a training step, from the first PROBE_STEPS steps of a run. Use `with probe.step():` around each.

    recomputes: with checkpointing what is saved at once is less than what is saved in all, so live tensors are counted.
    """

    model: nn.Module
    device: torch.device
    held_by_others: int = 0
    optimizer: torch.optim.Optimizer | None = None
    recomputes: bool = False
    seconds: list[float] = field(default_factory=list)
    flops: float | None = None
    peak_bytes: int | None = None
    reserved_bytes: int | None = None
    driver_bytes: int | None = None
    seen: int = 0

    @property
    def is_active(self) -> bool:
        return self.seen < PROBE_STEPS

    @contextmanager
    def step(self) -> Iterator[None]:
        """Around one step, backward and optimizer included; no effect on its result."""
        if not self.is_active:
            yield
            return
        self.seen += 1
        if self.seen == 1:
            with self._counting():
                yield
        else:
            synchronise(self.device)
            start = time.perf_counter()
            yield
            synchronise(self.device)
            self.seconds.append(time.perf_counter() - start)
        if self.device.type == "cuda":
            free, installed = torch.cuda.mem_get_info(self.device)
            self.peak_bytes = torch.cuda.max_memory_allocated(self.device) - self.held_by_others
            # torch gives nothing back to the driver by itself, so what it holds now is what it held at most
            self.reserved_bytes, self.driver_bytes = torch.cuda.max_memory_reserved(self.device), installed - free

    @contextmanager
    def _counting(self) -> Iterator[None]:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        live = LivePeak() if self.recomputes else nullcontext()
        with saved_activations(self.model) as saved, live, FlopCounter() as flops:
            yield
        self.flops = float(flops.total)
        gradients = model_bytes(self.model, trainable=True)  # each has its weight's size
        step = live.peak if isinstance(live, LivePeak) else gradients + saved.bytes
        self.peak_bytes = model_bytes(self.model) + optimizer_bytes(self.optimizer) + step

    def costs(self, steps: int) -> dict[str, Any]:
        """Fields of `record.Cost` for a training of `steps` steps; None where the run was too short to tell."""
        step = statistics.median(self.seconds) if self.seconds else None
        return {
            "step_seconds": step,
            "train_seconds": None if step is None else step * steps,
            "train_peak_gib": _gib(self.peak_bytes),
            "train_reserved_gib": _gib(self.reserved_bytes),
            "train_process_gib": _gib(self.driver_bytes),
            "train_flops": None if self.flops is None else self.flops * steps,
        }


def _gib(count: int | None) -> float | None:
    return None if count is None else count / GIB


def measure_inference(
    answer: Callable[[int], object], clips: int, model: nn.Module, device: torch.device, held_by_others: int = 0
) -> dict[str, Any]:
    """Fields of `record.Cost`: `answer(i)` takes clip i from its decoded frames to the last token, at batch size 1."""
    if clips == 0:
        return {}
    live = LivePeak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        with FlopCounter() as flops:
            answer(0)
        peak = torch.cuda.max_memory_allocated(device) - held_by_others
    else:
        with live, FlopCounter() as flops:
            answer(0)
        peak = model_bytes(model) + live.peak
    seconds = []
    for clip in range(min(clips, LATENCY_CLIPS)):
        synchronise(device)
        start = time.perf_counter()
        answer(clip)
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    return {
        "infer_peak_gib": peak / GIB,
        "infer_flops": float(flops.total),
        "latency_ms": 1e3 * statistics.median(seconds),
        "latency_p90_ms": 1e3 * percentile(seconds, 0.9),
    }


def percentile(values: list[float], share: float) -> float:
    """Linear interpolation between the ordered values, as numpy's default."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def how(device: torch.device, fields: Mapping[str, Any]) -> dict[str, str]:
    """How each measured field was measured."""
    is_gpu = device.type == "cuda"
    texts = {
        "train_seconds": "steps x step_seconds, without decoding and evaluation",
        "step_seconds": f"median of {PROBE_STEPS - 1} steps after the first, vision tower included, frames decoded",
        "train_peak_gib": HOW_ON_GPU if is_gpu else HOW_ON_CPU,
        "train_reserved_gib": "peak that torch's allocator reserved, other bases of the process included",
        "train_process_gib": "what the driver counts on the GPU after the measured steps, context and others included",
        "infer_peak_gib": HOW_ON_GPU if is_gpu else "counted from tensors: weights and the peak of live activations",
        "latency_ms": f"median of {LATENCY_CLIPS} clips of val at batch size 1, frames decoded, to the last token",
        "latency_p90_ms": f"90th percentile of {LATENCY_CLIPS} clips of val at batch size 1",
        "train_flops": "steps x FLOPs counted in one step; dequantisation counts nothing",
        "infer_flops": "counted on one clip of val, to the last token",
        "trainable_params": "counted",
        "adapter_bytes": "trained parameters in fp32 as a safetensors file",
        "base_bytes": "weights and quantisation constants as stored on the device",
        "device_seconds": "wall seconds of the trial x devices",
        "selection_seconds": "signals, features and choice of all clips' frames, when they were first made",
    }
    return {name: texts[name] for name, value in fields.items() if value is not None and name in texts}
