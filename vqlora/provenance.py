"""With what a trial ran: commit, versions, device. No host names and no paths: records are published."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from vqlora.memory_cap import memory_cap_gib
from vqlora.record import Provenance

PACKAGES = (
    "vqlora", "torch", "transformers", "peft", "bitsandbytes", "ray", "optuna", "numpy", "decord", "av", "safetensors",
)  # fmt: skip
COMMIT_VARIABLE = "VQLORA_COMMIT"  # 'HASH' or 'HASH-dirty', where a job's copy of the tree has no .git


def provenance(
    device: str,
    *,
    data_digest: str | None = None,
    base_digest: str | None = None,
    decoder: str | None = None,
    executor: str | None = None,
) -> Provenance:
    """What is known here; None where it is not."""
    commit, dirty = source_state()
    return Provenance(
        commit=commit,
        dirty=dirty,
        versions=versions(),
        device=device_name(device),
        platform=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        data_digest=data_digest,
        base_digest=base_digest,
        decoder=decoder,
        executor=executor,
        memory_cap_gib=memory_cap_gib(device),
    )


@cache
def source_state() -> tuple[str | None, bool | None]:
    """(commit, whether the tree differs from it) of the source that runs; (None, None) outside a repository."""
    given = os.environ.get(COMMIT_VARIABLE)
    if given:
        return given.removesuffix("-dirty"), given.endswith("-dirty")
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():  # else git would find a repository that merely surrounds an installed copy
        return None, None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit, bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


@cache
def versions() -> dict[str, str]:
    """Versions of the packages that may change a result, and of CUDA where torch has it."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    return found


def device_name(device: str) -> str:
    """The GPU's name, or the CPU's with the threads used: 'CPU, Intel Xeon ..., 1 thread'."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {_cpu_model()}, {threads} thread{'s' if threads > 1 else ''}"


@cache
def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True, timeout=20
    ).stdout.strip()
