"""What one machine has and lacks for a study: driver, kernels, decoders, data, base, disk. Parts of `vqlora doctor`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

PACKAGES = ("ray", "torch", "transformers", "peft", "bitsandbytes", "optuna", "decord", "av", "plotly", "pyarrow")
OPTIONAL = {"torchcodec": "another decoder", "jieba": "Chinese words: pip install 'vqlora[zh]'"}
LEAST_FREE_GIB = 20.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the examination. mend: what to type or set, where something is wrong."""

    state: Literal["ok", "wrong", "note"]
    what: str
    mend: str = ""


def examine_node(data: str | None = None, base: str | None = None, storage: str | None = None) -> list[Finding]:
    """This machine, with a data set, a base and a storage if named. Trains nothing and downloads nothing."""
    findings = [_python(), *map(_package, PACKAGES), *_devices(), _kernels(), _decoders(), _cache(), _disk()]
    if data is not None:
        findings += _checked(lambda: _data(data))
    if base is not None:
        findings += _checked(lambda: _base(base))
    if storage is not None:
        findings += _checked(lambda: _storage(storage))
    return findings


def _checked(look: Callable[[], list[Finding]]) -> list[Finding]:
    """What a look finds; its error names what it looked at."""
    try:
        return look()
    except (ValueError, OSError) as error:
        return [Finding(state="wrong", what=str(error), mend="see the message")]


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info < (3, 13):
        return Finding(state="ok", what=f"Python {found}")
    return Finding(state="wrong", what=f"Python {found}", mend="use Python 3.11 or 3.12")


def _package(name: str) -> Finding:
    try:
        return Finding(state="ok", what=f"{name} {version(name)}")
    except PackageNotFoundError:
        return Finding(state="wrong", what=f"{name} is not installed", mend="pip install -e .")


def _devices() -> list[Finding]:
    import torch

    has_driver = Path("/proc/driver/nvidia/version").is_file() or shutil.which("nvidia-smi") is not None
    if not torch.cuda.is_available():
        if has_driver:
            what = f"a GPU driver is here, and torch {torch.__version__} finds no GPU"
            return [Finding(state="wrong", what=what, mend="run nvidia-smi; install a torch built for this driver")]
        return [Finding(state="note", what=f"no GPU; {os.cpu_count()} CPU cores")]
    names = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    shown = ", ".join(f"{one.name} {one.total_memory / 2**30:.0f} GiB" for one in names)
    return [Finding(state="ok", what=f"{shown}; CUDA {torch.version.cuda}")]


def _kernels() -> Finding:
    """Whether bitsandbytes quantises 4 bits on the device that trials would take."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        weight = torch.linspace(-1, 1, 4096, device=device).reshape(64, 64)
        packed, state = quantize_4bit(weight, quant_type="nf4")
        error = (dequantize_4bit(packed, state) - weight).abs().max().item()
    except (ImportError, RuntimeError, OSError) as error:
        what = f"bitsandbytes' kernels fail on {device}: {error}"
        return Finding(state="wrong", what=what, mend="pip install -U bitsandbytes, for this CUDA")
    return Finding(state="ok", what=f"bitsandbytes quantises on {device}; largest error of nf4 {error:.2f}")


def _decoders() -> Finding:
    """Those that really import: an installed one may lack its libraries."""
    found, broken = [], []
    for name in ("av", "decord", "torchcodec"):
        try:
            __import__(name)
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
        except (ImportError, OSError, RuntimeError) as error:
            if name != "torchcodec" or _is_installed(name):
                broken.append(f"{name} ({str(error).partition(chr(10))[0][:80]})")
    if "av" not in " ".join(found):
        return Finding(state="wrong", what=f"decoders: {', '.join(found) or 'none'}", mend="pip install av")
    note = f"; do not import: {', '.join(broken)}" if broken else ""
    return Finding(state="note" if broken else "ok", what=f"decoders: {', '.join(found)}{note}")


def _is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _cache() -> Finding:
    folder = _cache_folder()
    if os.access(_existing(folder), os.W_OK):
        return Finding(state="ok", what=f"cache {folder}")
    return Finding(state="wrong", what=f"cache {folder} cannot be written", mend="export VQLORA_CACHE=FOLDER")


def _disk() -> Finding:
    folder = _cache_folder()
    free = shutil.disk_usage(_existing(folder)).free / 2**30
    what = f"{free:.0f} GiB free for {folder}"
    if free < LEAST_FREE_GIB:
        return Finding(
            state="note", what=what, mend="frames of a large set take tens of GiB; export VQLORA_CACHE=FOLDER"
        )
    return Finding(state="ok", what=what)


def _cache_folder() -> Path:
    from vqlora.data.sets import default_cache

    return default_cache()


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _data(spec: str) -> list[Finding]:
    """Coverage of each split, against the published size."""
    from vqlora.data.sets import open_data

    splits = open_data(spec)
    found = []
    for split, coverage in splits.coverage.items():
        is_whole = coverage.present == coverage.listed == (coverage.official or coverage.listed)
        found.append(Finding(state="ok" if is_whole else "note", what=f"data {spec}, {split}: {coverage}"))
    dirt = ", ".join(f"{count} {reason}" for reason, count in splits.dirt.items())
    found.append(Finding(state="ok", what=f"data {spec}: digest {splits.digest}, validation {splits.validation}"))
    return found + ([Finding(state="note", what=f"data {spec}: {dirt}")] if dirt else [])


def _base(base: str) -> list[Finding]:
    from vqlora.models.load import check_checkpoint, model_type_of

    model_type = model_type_of(base)
    check_checkpoint(base)
    return [Finding(state="ok", what=f"base {base} is whole: {model_type}")]


def _storage(storage: str) -> list[Finding]:
    from vqlora.storage import open_place

    open_place(storage).check_writable()
    return [Finding(state="ok", what=f"storage {storage} can be written")]
