"""From the name of a base to a model at its bits on its device.

Names: `embedded:videollama`, `embedded:flamingo` (committed weights), `random:NAME` (see `sizes`), a folder, a hub id.
A base is built layer by layer on its device, from its shards one tensor at a time or by its class's own
initialisation, and each layer is quantised before the next one. So neither host nor device ever holds a 16-bit copy of
what is stored in 4 or 8 bit.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vqlora.annotations import read_json
from vqlora.data.sets import default_cache
from vqlora.models.attention import sound_attention
from vqlora.models.bits import (
    bits_by_role,
    check_built,
    dense_copies,
    layer_bits,
    multiply_dense,
    quantised_layer,
    report,
    settle,
)
from vqlora.models.checkpoint import Checkpoint, hub_headers, open_checkpoint, return_freed_memory, sources
from vqlora.models.families import Family, family_of, family_of_config
from vqlora.models.settings import built, generation_of, processor_in
from vqlora.models.skeletons import EMBEDDED, EMBEDDED_NAMES, RANDOM_BASES, random_model_type, skeleton
from vqlora.recipe import Bits

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
SETTINGS = ["*.json", "*.model", "*.txt", "*.jinja"]  # of a base on the hub: all but its weights
RANDOM_SEED = 0  # the weights of `random:` bases: one base, one digest


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """A base as it stands on its device: frozen, in evaluation mode, linear layers at `bits`.

    dtype: of what is not quantised (bf16 on a GPU, fp32 on a CPU). found: layers per role, see `bits.report`.
    """

    base: str
    model: Any
    processor: Any
    family: Family
    bits: Bits
    digest: str
    device: torch.device
    dtype: torch.dtype
    found: dict[str, dict[str, Any]]

    @property
    def model_type(self) -> str:
        return self.family.model_type

    @cached_property
    def _dense(self) -> dict[nn.Module, Tensor]:
        return dense_copies(self.model) if self.device.type == "cpu" else {}

    def fast(self) -> AbstractContextManager[None]:
        """Around work whose cost is not measured: quantised weights of a small base on a CPU are dequantised once."""
        return multiply_dense(self._dense)


def load(base: str, bits: Bits, device: str) -> Loaded:
    """Builds the base and asserts that exactly the planned layers are quantised. ValueError for an unknown base."""
    sound_attention()
    target = torch.device(device)
    dtype = torch.bfloat16 if target.type == "cuda" else torch.float32
    family = family_of(model_type_of(base))
    bits_by_role(bits, family.model_type)
    check_checkpoint(base)
    model, checkpoint = meta_model(base), None
    if not base.startswith("random:"):
        checkpoint = open_checkpoint(base_path(base))
        settings = generation_of(checkpoint.folder)
        if settings is not None:  # dual encoders generate nothing and have none
            model.generation_config = settings
    wanted = layer_bits(model, family.model_type, bits)
    _materialise(model, family, bits, target, dtype, checkpoint)
    settle(model)
    found = report(model, family.model_type)
    check_built(found, wanted, bits, family.model_type)
    return Loaded(
        base=base,
        model=model,
        processor=processor_of(base),
        family=family,
        bits=bits,
        digest=digest_of(base),
        device=target,
        dtype=dtype,
        found=found,
    )


def base_path(base: str) -> Path:
    """The folder with config.json and safetensors; a hub id is fetched. ValueError with what exists, or what to do."""
    kind, _, name = base.partition(":")
    if kind == "embedded":
        if name not in EMBEDDED_NAMES:
            raise ValueError(f"embedded base {name!r} is unknown; use one of {EMBEDDED_NAMES}")
        return _with_config(EMBEDDED / name)
    path = Path(os.path.expanduser(base))
    if os.path.isdir(path):
        return _with_config(path)
    if HUB_ID.fullmatch(base):
        return _from_hub(base, ["*.safetensors", *SETTINGS])
    raise _unknown(base)


def model_type_of(base: str) -> str:
    """The transformers `model_type` of a base, from its configuration alone. ValueError for an unknown base."""
    if base.startswith("random:"):
        return random_model_type(base.removeprefix("random:"))
    folder = _settings_path(base)
    config = read_json(folder / "config.json").mapping()
    if not isinstance(config.get("model_type"), str):
        raise ValueError(f"{folder / 'config.json'} names no model_type; it is no transformers configuration")
    return family_of_config(config).model_type


def meta_model(base: str) -> Any:
    """The model of a base without weights, on the meta device: shapes and names only. Fetches no weights."""
    if base.startswith("random:"):
        return skeleton(base.removeprefix("random:"))[0]
    with torch.device("meta"):
        return built(_settings_path(base), family_of(model_type_of(base)).build)


def processor_of(base: str) -> Any:
    """The processor (tokenizer, image and video processors) of a base. Fetches no weights."""
    if base.startswith("random:"):
        return skeleton(base.removeprefix("random:"))[1]
    return processor_in(_settings_path(base))


def digest_of(base: str) -> str:
    """SHA-256 over names and contents of a base's safetensors files; of a random base, over its configuration."""
    if base.startswith("random:"):
        config = skeleton(base.removeprefix("random:"))[0].config.to_json_string()
        return hashlib.sha256(f"{RANDOM_SEED} {config}".encode()).hexdigest()
    whole = hashlib.sha256()
    for file in sorted(base_path(base).glob("*.safetensors")):
        whole.update(f"{file.name} {_file_digest(file)}\n".encode())
    return whole.hexdigest()


def check_checkpoint(base: str) -> None:
    """ValueError if the shards of a base are not what its class needs. Reads headers only, a hub id's on the hub."""
    if _is_hub_id(base):
        _check_hub(base)
    elif not base.startswith("random:"):
        sources(meta_model(base), open_checkpoint(base_path(base)))


@cache
def _check_hub(base: str) -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        sources(meta_model(base), open_checkpoint(base_path(base)))
        return
    try:
        headers = hub_headers(base)
    except Exception as error:  # the hub's client raises OSError, its HTTP library's errors and its own
        raise ValueError(f"base {base!r} is no folder here and {_why_not(base, error)}") from error
    sources(meta_model(base), headers)


def _is_hub_id(base: str) -> bool:
    is_local = base.startswith(("embedded:", "random:")) or os.path.isdir(os.path.expanduser(base))
    return not is_local and HUB_ID.fullmatch(base) is not None


def _settings_path(base: str) -> Path:
    """The folder with config.json, processor and tokenizer; of a hub id these are fetched, and no weights."""
    return _from_hub(base, SETTINGS) if _is_hub_id(base) else base_path(base)


@torch.no_grad()
def _materialise(
    model: Any, family: Family, bits: Bits, device: torch.device, dtype: torch.dtype, checkpoint: Checkpoint | None
) -> None:
    """Weights of the checkpoint, or random ones, one module at a time, each quantised before the next one."""
    wanted = layer_bits(model, family.model_type, bits)
    held = {} if checkpoint is None else sources(model, checkpoint)
    owners = {"": model}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(RANDOM_SEED)
        for name in [name for name, _ in model.named_modules()]:  # names: modules would keep all dense weights alive
            module = model.get_submodule(name)
            owner = owners[name] = module if hasattr(module, "_initialize_weights") else owners[name.rpartition(".")[0]]
            module.to_empty(device=device, recurse=False)
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
            if checkpoint is None:
                _randomise(module, owner, family.gates)
            elif list(module.buffers(recurse=False)):  # buffers are in no checkpoint
                owner._initialize_weights(module)
            if checkpoint is not None:
                for leaf, parameter in module.named_parameters(recurse=False):
                    parameter.copy_(checkpoint.read(held[f"{name}.{leaf}" if name else leaf]))
            if wanted.get(name, 16) < 16:
                model.set_submodule(name, quantised_layer(module, wanted[name], bits, device))
                del module
                return_freed_memory()
    model.tie_weights()
    model.requires_grad_(False)


def _randomise(module: nn.Module, owner: Any, gates: tuple[str, ...]) -> None:
    """The class's own initialisation; normal values where it has none (timm's towers); ones where zeros hide frames."""
    for parameter in module.parameters(recurse=False):
        parameter.fill_(torch.nan)
    owner._initialize_weights(module)
    for leaf, parameter in module.named_parameters(recurse=False):
        if parameter.isnan().any():
            parameter.normal_(std=0.02)
        if leaf in gates:
            parameter.fill_(1.0)


def _with_config(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} holds no config.json; a base is a folder written by save_pretrained")
    return folder


def _from_hub(base: str, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(base, allow_patterns=patterns)
    except Exception as error:  # the hub's client raises OSError, its HTTP library's errors and its own
        raise ValueError(f"base {base!r} is no folder here and {_why_not(base, error)}") from error
    return _with_config(Path(folder))


def _why_not(base: str, error: Exception) -> str:
    """Why the hub did not give a base, and what to set or pass."""
    from huggingface_hub import constants, errors

    kinds = [type(one).__name__ for one in (error, error.__cause__, error.__context__) if one is not None]
    if isinstance(error, errors.GatedRepoError) or "GatedRepoError" in kinds:
        return (
            f"is gated on the hub: accept its terms at {constants.ENDPOINT}/{base} with your account, then set "
            "HF_TOKEN to a token of that account (or `hf auth login`)"
        )
    if isinstance(error, errors.RepositoryNotFoundError) or "RepositoryNotFoundError" in kinds:
        return "the hub has no such model, or hides it: check the id, or set HF_TOKEN to a token that may see it"
    way = (
        f"`hf download {base} --local-dir FOLDER` where there is a network, copy FOLDER and pass its path, or set "
        "HF_HOME to a cache that holds it"
    )
    if constants.HF_HUB_OFFLINE:
        return f"HF_HUB_OFFLINE is set, so the hub was not asked, and it is not in its cache: unset it, or {way}"
    return f"could not be fetched from the hub ({kinds[0]}). Without a network: {way}"


def _unknown(base: str) -> ValueError:
    embedded = ", ".join(f"embedded:{name}" for name in EMBEDDED_NAMES)
    return ValueError(
        f"base {base!r} is unknown; use {embedded}, random:NAME with NAME of {RANDOM_BASES}, a folder that "
        "exists, or a hub id such as OWNER/NAME"
    )


def _file_digest(file: Path) -> str:
    """SHA-256 of a file, remembered by path, size and time of change: a 7B base takes half a minute to hash."""
    stat = file.stat()
    key = hashlib.sha256(f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()
    memory = default_cache() / "digests" / key
    if memory.is_file():
        return memory.read_text()
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    memory.parent.mkdir(parents=True, exist_ok=True)
    draft = memory.with_suffix(f".{os.getpid()}")
    draft.write_text(digest)
    draft.replace(memory)
    return digest
