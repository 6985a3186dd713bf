"""A checkpoint: which safetensors shard holds which tensor, whether that is what a model needs, and its tensors one at
a time, so that a base larger than the host's memory can be loaded.

What a checkpoint holds is read from headers alone, of a folder's shards or of a hub's, before any weight is. Names may
be those that transformers renames while loading.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from vqlora.annotations import read_json

INDEX = "model.safetensors.index.json"
SHOWN = 3  # names in a message


@dataclass(frozen=True, kw_only=True)
class Headers:
    """What a checkpoint holds. where: as the user named it. file_of: tensor -> shard. shape_of: tensor -> shape."""

    where: str
    file_of: Mapping[str, str]
    shape_of: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Checkpoint(Headers):
    """One in a folder, whose tensors can be read."""

    folder: Path

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
    listed = read_json(index).at("weight_map").entries() if index.is_file() else ()
    wanted = {file.text() for _, file in listed}
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
    return Checkpoint(where=str(folder), folder=folder, file_of=file_of, shape_of=shape_of)


def hub_headers(base: str) -> Headers:
    """What a model on the hub holds: its shards' headers, kilobytes of them, and no weights. The hub's errors pass."""
    from huggingface_hub import HfApi

    files = HfApi().get_safetensors_metadata(base).files_metadata
    shape_of = {name: tuple(info.shape) for file in files.values() for name, info in file.tensors.items()}
    file_of = {name: shard for shard, file in files.items() for name in file.tensors}
    return Headers(where=base, file_of=file_of, shape_of=shape_of)


def sources(model: Any, checkpoint: Headers) -> dict[str, str]:
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
    stored = _by_name_here(model, checkpoint, shapes)
    found = {
        name: stored[held[0]]
        for names in groups.values()
        for name in names
        if (held := [one for one in (name, *names) if one in stored])
    }
    kind = type(model).__name__
    buffers = {name.rpartition(".")[2] for name, _ in model.named_buffers()}
    others = [re.compile(pattern) for pattern in getattr(model, "_keys_to_ignore_on_load_unexpected", None) or ()]
    unknown = [
        old
        for new, old in stored.items()
        if new not in shapes and new.rpartition(".")[2] not in buffers and not any(one.search(old) for one in others)
    ]
    _refuse(checkpoint.where, kind, "lacks", (name for name in shapes if name not in found))
    _refuse(checkpoint.where, kind, "has unknown", unknown)
    wrong = (
        f"{name} {list(checkpoint.shape_of[held])}, which should be {list(shapes[name])},"
        for name, held in found.items()
        if checkpoint.shape_of[held] != shapes[name]
    )
    _refuse(checkpoint.where, kind, "has other shapes of", wrong)
    return found


def _by_name_here(model: Any, checkpoint: Headers, shapes: dict[str, tuple[int, ...]]) -> dict[str, str]:
    """{name at run time: name in the checkpoint}, by transformers' own table of renamings for this class."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    changes = get_model_conversion_mapping(model)
    renamings = [one for one in changes if isinstance(one, WeightRenaming)]
    converters = [one for one in changes if isinstance(one, WeightConverter)]
    out: dict[str, str] = {}
    for old in checkpoint.file_of:
        new, converted = rename_source_key(old, renamings, converters, model.base_model_prefix, shapes)
        if converted is not None and old not in shapes:
            _refuse(checkpoint.where, type(model).__name__, "stores in another layout", [old])
        out[new] = old
    return out


def return_freed_memory() -> None:
    """Gives freed host memory back to the system, where the C library is glibc; elsewhere nothing.

    Quantised weights are allocated between freed dense ones and would pin them: 940 MB instead of 220 MB at the peak
    for a checkpoint of 540 MB.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _refuse(where: str, model: str, what: str, names: Iterable[str]) -> None:
    listed = list(names)
    if listed:
        more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
        raise ValueError(
            f"the checkpoint in {where} {what} {', '.join(listed[:SHOWN])}{more} for its {model}; "
            "it is of another architecture or was saved by another version: save it with save_pretrained of that class"
        )
