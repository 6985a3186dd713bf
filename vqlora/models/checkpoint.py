"""A checkpoint on disk: which safetensors shard holds which tensor, whether that is what a model needs, and its tensors
one at a time, so that a base larger than the host's memory can be loaded.

Names must be those of the transformers class at run time; the families here need no renaming.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

INDEX = "model.safetensors.index.json"
SHOWN = 3  # names in a message


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """file_of: tensor name -> shard. shape_of: tensor name -> shape. Both from the shards' headers alone."""

    folder: Path
    file_of: Mapping[str, str]
    shape_of: Mapping[str, tuple[int, ...]]

    def read(self, name: str) -> Tensor:
        """One tensor as it is stored, in memory of its own: the shard is mapped only inside this call."""
        from safetensors import safe_open

        with safe_open(self.folder / self.file_of[name], framework="pt") as shard:
            return shard.get_tensor(name).clone()


def open_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder. ValueError, naming the file, for no shard, a missing or an unreadable one."""
    from safetensors import SafetensorError, safe_open

    files = sorted(file.name for file in folder.glob("*.safetensors"))
    if not files:
        raise ValueError(f"{folder} holds no .safetensors file; a base is saved with save_pretrained")
    index = folder / INDEX
    wanted = set(json.loads(index.read_text())["weight_map"].values()) if index.is_file() else set()
    absent = sorted(wanted - set(files))
    if absent:
        raise ValueError(f"{folder / absent[0]} is missing, {len(absent)} of {len(wanted)} shards; copy the base again")
    file_of: dict[str, str] = {}
    shape_of: dict[str, tuple[int, ...]] = {}
    for file in sorted(wanted) or files:
        try:
            with safe_open(folder / file, framework="pt") as shard:
                names = list(shard.keys())
                shape_of |= {name: tuple(shard.get_slice(name).get_shape()) for name in names}
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{folder / file} does not read ({error}); copy the base again") from error
        file_of |= dict.fromkeys(names, file)
    return Checkpoint(folder=folder, file_of=file_of, shape_of=shape_of)


def sources(model: Any, checkpoint: Checkpoint) -> dict[str, str]:
    """{parameter: the checkpoint's tensor for it}; tied parameters share one.

    ValueError, with names, for tensors that are missing, that the model does not know, or of another shape. The model
    may be on the meta device, so this takes none.
    """
    model.tie_weights()
    groups: dict[int, list[str]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), []).append(name)
        shapes[name] = tuple(parameter.shape)
    found = {
        name: held[0]
        for names in groups.values()
        for name in names
        if (held := [one for one in (name, *names) if one in checkpoint.file_of])
    }
    buffers = {name.rpartition(".")[2] for name, _ in model.named_buffers()}
    unknown = [n for n in checkpoint.file_of if n not in shapes and n.rpartition(".")[2] not in buffers]
    _refuse(checkpoint.folder, type(model).__name__, "lacks", (name for name in shapes if name not in found))
    _refuse(checkpoint.folder, type(model).__name__, "has unknown", unknown)
    wrong = (
        f"{name} {list(checkpoint.shape_of[held])}, which should be {list(shapes[name])},"
        for name, held in found.items()
        if checkpoint.shape_of[held] != shapes[name]
    )
    _refuse(checkpoint.folder, type(model).__name__, "has other shapes of", wrong)
    return found


def return_freed_memory() -> None:
    """Gives freed host memory back to the system, where the C library is glibc; elsewhere nothing.

    Quantised weights are allocated between freed dense ones and would pin them: 940 MB instead of 220 MB at the peak
    for a checkpoint of 540 MB.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _refuse(folder: Path, model: str, what: str, names: Iterable[str]) -> None:
    listed = list(names)
    if listed:
        more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
        raise ValueError(
            f"the checkpoint in {folder} {what} {', '.join(listed[:SHOWN])}{more} for its {model}; "
            "it is of another architecture or was saved by another version: save it with save_pretrained of that class"
        )
