"""What is known of a clip's file, found out once a machine: its content's digest and what `decode.probe` says.

A local file is known by path, size and time of change, one in a bucket by its address; a folder of pictures by theirs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vqlora.data.remote import is_remote, local_clip
from vqlora.video.cache import key_of, write_whole
from vqlora.video.decode import decoder_versions, probe
from vqlora.video.killable import call
from vqlora.video.pictures import picture_files
from vqlora.video.video_info import DecodeError, VideoInfo

FORMAT = 2  # of the entries; a change of it leaves old ones unread


def seen(cache_dir: Path, path: str) -> tuple[str, VideoInfo]:
    """Digest and probe of a file. DecodeError, naming it and the cause, where it gives no frames."""
    key = key_of([FORMAT, *_state(path), decoder_versions()])
    entry = cache_dir / "seen" / key[:2] / f"{key}.json"
    try:
        plain = json.loads(entry.read_bytes())
        lists = {name: tuple(plain["info"][name]) for name in ("times_seconds", "restarts")}
        return plain["digest"], VideoInfo(**{**plain["info"], **lists})
    except (OSError, ValueError, KeyError, TypeError):
        with local(cache_dir, path) as file:
            digest, info = call(_looked_at, file)
        write_whole(entry, lambda file: file.write(json.dumps({"digest": digest, "info": asdict(info)}).encode()))
        return digest, info


@contextmanager
def local(cache_dir: Path, path: str) -> Iterator[str]:
    """The file on this machine for as long as it is read; one in a bucket is fetched if it is not here."""
    try:
        with local_clip(path, cache_dir) as found:
            yield found
    except OSError as error:
        raise DecodeError(f"{path}: {error.strerror or error}") from error


def _state(path: str) -> list[Any]:
    if is_remote(path):
        return [path]
    try:
        state = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a name that can be none
        raise DecodeError(f"{path}: {getattr(error, 'strerror', error)}") from error
    return [os.path.abspath(path), state.st_size, state.st_mtime_ns]


def _looked_at(path: str) -> tuple[str, VideoInfo]:
    """Both in the worker: a file may have terabytes, most of them holes."""
    info = probe(path)
    return _content_digest(Path(path)), info


def _content_digest(path: Path) -> str:
    """SHA-256 of a file, or of the pictures of a folder."""
    if path.is_dir():
        return key_of([[file.name, _content_digest(file)] for file in picture_files(path)])
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
