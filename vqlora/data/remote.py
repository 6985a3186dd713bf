"""Data sets in a bucket: annotations come at once, a clip when it is wanted, once per node, into a bounded cache.

`s3://` and `gs://` as `vqlora.storage` opens them. A fetched folder holds every small file of the bucket's folder; its
videos then have addresses (`vqlora.data.videos`). VQLORA_CLIP_CACHE_GIB bounds the clips
kept; the least recently used go first. Whole files only: each is written aside and renamed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from uuid import uuid4

from vqlora.data.videos import SUFFIXES, remember
from vqlora.storage import SCHEMES, Place, open_place

DEFAULT_CACHE_GIB = 100.0
MAX_ANNOTATION_GIB = 8.0  # HowTo100M's captions are the largest of the sets here


def is_remote(text: str) -> bool:
    """Whether a path is an address that this file fetches from."""
    return text.partition("://")[0] in SCHEMES and "://" in text


def fetch_annotations(url: str, cache: Path) -> Path:
    """A local folder with the annotations below `url`, fetched anew where they changed; its videos are remembered.

    A single file is fetched with those beside it, and its own path is returned. ValueError for a place that cannot be
    read or holds nothing.
    """
    address, mark, options = url.partition("?")
    base, _, name = address.rstrip("/").rpartition("/")
    is_file = bool(PurePosixPath(name).suffix) and not address.endswith("/")
    base = base if is_file else address.rstrip("/")
    place = open_place(f"{base}{mark}{options}")
    listed = _listed(place)
    if not listed:
        raise ValueError(f"{base}: holds nothing that can be read; check the address and the credentials")
    folder = cache / "remote" / _digest(base)
    with _locked(folder.with_suffix(".lock")):
        videos = {name: f"{base}/{name}{mark}{options}" for name in listed if name.lower().endswith(SUFFIXES)}
        for file, (size, changed) in listed.items():
            if file not in videos and size <= MAX_ANNOTATION_GIB * 2**30:
                _fetch(place, file, folder / file, size, changed)
    remember(folder, videos)
    return folder / name if is_file else folder


@contextmanager
def local_clip(path: str, cache: Path) -> Iterator[str]:
    """The clip's path on this node for as long as it is read; fetched first if it is an address and not here yet.

    OSError where it cannot be fetched.
    """
    if not is_remote(path):
        yield path
        return
    address, mark, options = path.partition("?")
    folder, _, name = address.rpartition("/")
    local = cache / "clips" / _digest(address) / name
    with _locked(local.parent.with_suffix(".lock"), shared=local.is_file()):
        if not local.is_file():
            try:
                content = open_place(f"{folder}{mark}{options}").read(name)
            except ValueError as error:
                raise OSError(str(error)) from error
            if content is None:
                raise FileNotFoundError(f"{path}: no such object in the bucket")
            _write(local, content)
            _drop_oldest(cache / "clips", keep=local)
        os.utime(local, ns=(time.time_ns(), local.stat().st_mtime_ns))  # used now, changed when it was fetched
        yield str(local)


def _fetch(place: Place, name: str, local: Path, size: int, changed: int) -> None:
    with suppress(OSError):
        state = local.stat()
        if state.st_size == size and state.st_mtime_ns >= changed:
            return
    content = place.read(name)
    if content is None or len(content) != size:
        raise ValueError(f"{place.url}/{name}: changed while it was fetched; try again")
    _write(local, content)


def _listed(place: Place) -> dict[str, tuple[int, int]]:
    """Size in bytes and time of change in ns of every file below a place, by its name there."""
    from pyarrow.fs import FileSelector, FileType

    try:
        found = place.filesystem.get_file_info(FileSelector(place.path, recursive=True, allow_not_found=True))
    except OSError as error:
        raise ValueError(f"{place.url}: cannot be read: {str(error).splitlines()[0][:300]}") from error
    files = {info.path[len(place.path) :].lstrip("/"): info for info in found if info.type is FileType.File}
    leading_out = [name for name in files if ".." in name.split("/")]  # a bucket's keys may be any text
    if leading_out:
        raise ValueError(f"{place.url}: holds {leading_out[0]!r}, which as a file would lie elsewhere; remove it there")
    return {name: (info.size, info.mtime_ns or 0) for name, info in files.items()}


def _drop_oldest(folder: Path, keep: Path) -> None:
    """Removes clips, the least recently used first, until they fit; those being read are left alone."""
    limit = float(os.environ.get("VQLORA_CLIP_CACHE_GIB") or DEFAULT_CACHE_GIB) * 2**30
    kept = []
    for path in folder.glob("*/*"):
        with suppress(OSError):
            kept.append((path.stat().st_atime_ns, path.stat().st_size, path))
    total = sum(size for _, size, _ in kept)
    for _, size, path in sorted(kept):
        if total <= limit:
            return
        if path != keep and _try_remove(path):
            total -= size


def _try_remove(path: Path) -> bool:
    with open(path.parent.with_suffix(".lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False  # somebody reads it
        path.unlink(missing_ok=True)
        return True


@contextmanager
def _locked(file: Path, *, shared: bool = False) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{uuid4().hex}.part")
    try:
        part.write_bytes(content)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
