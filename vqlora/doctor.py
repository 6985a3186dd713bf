"""`vqlora doctor`: what is installed, what devices there are, and whether a cluster lets this client in."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

PACKAGES = ("ray", "torch", "transformers", "peft", "bitsandbytes", "optuna", "decord", "av", "plotly", "pyarrow")
TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the examination. mend: what to type or set, where something is wrong."""

    state: Literal["ok", "wrong", "note"]
    what: str
    mend: str = ""


def examine(cluster: str | None = None, storage: str | None = None) -> list[Finding]:
    """This machine, and the cluster and storage if named. Takes no device."""
    findings = [_python(), *map(_package, PACKAGES), _devices(), _cache()]
    if storage is not None:
        findings.append(_storage(storage))
    if cluster is not None:
        findings.append(check_cluster(cluster))
    return findings


def check_cluster(address: str) -> Finding:
    """Whether the job server at `address` answers this client; with the line to set where it asks for a token."""
    url = address.rstrip("/") if "://" in address else f"http://{address.rstrip('/')}"
    client = "RAY_AUTH_MODE=token is set here" if _uses_token() else "RAY_AUTH_MODE=token is not set here"
    try:
        request = urllib.request.Request(f"{url}/api/version", headers=_headers())
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return Finding(state="ok", what=f"cluster {url} answers ({answer.status}); {client}")
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return _refused(url, error.code, client)
        return Finding(
            state="wrong", what=f"cluster {url} answers {error.code}", mend="is this a Ray dashboard's address?"
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Finding(
            state="wrong",
            what=f"cluster {url} cannot be reached ({reason})",
            mend="start it with `ray start --head`, or forward its port with `ray dashboard cluster.yaml`",
        )


def _refused(url: str, code: int, client: str) -> Finding:
    what = f"cluster {url} answers {code}: it asks for a token; {client}"
    if not _uses_token():
        return Finding(state="wrong", what=what, mend="export RAY_AUTH_MODE=token")
    return Finding(
        state="wrong",
        what=f"{what}, but the token is not this cluster's",
        mend="copy the cluster's ~/.ray/auth_token to this machine, or export RAY_AUTH_TOKEN",
    )


def _uses_token() -> bool:
    return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"


def _headers() -> dict[str, str]:
    """What Ray's own command would send: the token, if this client's mode is 'token'."""
    if not _uses_token():
        return {}
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not token and path.is_file():
        token = path.read_text().strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


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


def _devices() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding(state="note", what=f"no GPU; {os.cpu_count()} CPU cores")
    names = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return Finding(state="ok", what=", ".join(f"{one.name} {one.total_memory / 2**30:.0f} GiB" for one in names))


def _cache() -> Finding:
    from vqlora.data.sets import default_cache

    folder = default_cache()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if os.access(existing, os.W_OK):
        return Finding(state="ok", what=f"cache {folder}")
    return Finding(state="wrong", what=f"cache {folder} cannot be written", mend="export VQLORA_CACHE=FOLDER")


def _storage(storage: str) -> Finding:
    from vqlora.storage import open_place

    try:
        open_place(storage).check_writable()
    except ValueError as error:
        return Finding(state="wrong", what=str(error), mend="see the message")
    return Finding(state="ok", what=f"storage {storage} can be written")
