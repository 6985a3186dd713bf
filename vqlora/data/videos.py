"""The video files of a data set's folder, by name without suffix, wherever below the folder they lie.

A folder fetched from a bucket (`vqlora.data.remote`) holds the annotations and a list of the bucket's videos; those
have addresses instead of paths.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".flv", ".3gp", ".ts", ".wmv")
LISTED = ".remote.json"  # {name below the folder: address}


class VideoFiles:
    """Paths of videos by stem. Hidden files and folders are passed over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths: dict[str, list[str]] = {}
        for file, path in sorted(_below(folder)):
            name, suffix = os.path.splitext(file)
            if suffix.lower() in SUFFIXES:
                self._paths.setdefault(name, []).append(path)

    def path(self, *stems: str, expected: str) -> str:
        """The file of the first stem that has one, else where `expected` would lie.

        ValueError where two files have the name.
        """
        for stem in stems:
            found = self._paths.get(stem, [])
            if len(found) > 1:
                raise ValueError(f"{self.folder}: two videos are called {stem!r}: {found[0]} and {found[1]}; keep one")
            if found:
                return found[0]
        return str(self.folder / expected)

    def require_one_of(self, stems: Iterable[str], *, example: str) -> None:
        """ValueError if not even one of these videos is there."""
        wanted = set(stems)
        if not any(stem in self._paths for stem in wanted):
            raise ValueError(
                f"{self.folder}: none of the {len(wanted)} listed videos is there; expected {example} in this folder "
                f"or below, with one of the endings {', '.join(SUFFIXES)}"
            )


def is_present(path: str) -> bool:
    """Whether a clip's file is there; an address stands in a bucket's own list."""
    return "://" in path or os.path.isfile(path) or os.path.isdir(path)


def located(folder: Path, name: str) -> str:
    """The path of a file that a set names from its folder, or its address where the folder came from a bucket."""
    listed = folder / LISTED
    found = _addresses(listed, listed.stat().st_mtime_ns) if listed.is_file() else {}
    return found.get(os.path.normpath(name), str(folder / name))


@lru_cache(maxsize=8)
def _addresses(listed: Path, changed_ns: int) -> dict[str, str]:
    """Addresses by name below the folder; read anew when the list changed."""
    return json.loads(listed.read_bytes())


def file_name(path: str) -> str:
    """The last part of a path or an address, without an address's options."""
    return (path.partition("?")[0] if "://" in path else path).rpartition("/")[2]


def _below(folder: Path) -> list[tuple[str, str]]:
    """File names and paths, or addresses."""
    listed = folder / LISTED
    if listed.is_file():
        addresses = _addresses(listed, listed.stat().st_mtime_ns)
        return [(name.rpartition("/")[2], address) for name, address in addresses.items()]
    found: list[tuple[str, str]] = []
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [(name, os.path.join(place, name)) for name in files if not name.startswith(".")]
    return found
