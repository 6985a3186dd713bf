"""The video files of a data set's folder, by name without suffix, wherever below the folder they lie.

A folder fetched from a bucket (`vqlora.data.remote`) holds the annotations; the bucket's videos have addresses instead
of paths. Annotations and links come from others, so neither leads out of the folder unless VQLORA_VIDEO_ROOTS says so:
further folders and addresses that they may lead to, between commas.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".flv", ".3gp", ".ts", ".wmv")
ROOTS = "VQLORA_VIDEO_ROOTS"
FETCHED = ("s3://", "gs://")  # other addresses are files that are not there
_addresses: dict[Path, Mapping[str, str]] = {}  # of folders that this process fetched: {name below one: address}


class VideoFiles:
    """Paths of videos by stem. Hidden files and folders are passed over; ValueError for a link that leads out."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths: dict[str, list[str]] = {}
        for file, path in sorted(_below(folder)):
            name, suffix = os.path.splitext(file)
            if suffix.lower() in SUFFIXES:
                self._paths.setdefault(name, []).append(path)

    def path(self, *stems: str, expected: str) -> str:
        """The file of the first stem that has one, else where `expected` would lie.

        ValueError where two files have the name, or the latter leads out of the folder.
        """
        for stem in stems:
            found = self._paths.get(stem, [])
            if len(found) > 1:
                raise ValueError(f"{self.folder}: two videos are called {stem!r}: {found[0]} and {found[1]}; keep one")
            if found:
                return found[0]
        return inside(self.folder, os.path.join(self.folder, expected))  # made of an id, which may be any text

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


def remember(folder: Path, addresses: Mapping[str, str]) -> None:
    """Says where the videos of a fetched folder are. Kept in memory: a list among the files might be anybody's."""
    _addresses[folder] = addresses


def located(folder: Path, name: str) -> str:
    """The path of a file that a set names from its folder, or its address where the folder came from a bucket.

    ValueError where it is neither below the folder nor below one of VQLORA_VIDEO_ROOTS.
    """
    address = _addresses.get(folder, {}).get(os.path.normpath(name))
    return address or inside(folder, os.path.join(folder, os.path.expanduser(name)))


def inside(folder: Path, path: str) -> str:
    """The path or address itself. ValueError where it, all links followed, leads out of the folder and the roots."""
    roots = [root.strip() for root in os.environ.get(ROOTS, "").split(",") if root.strip()]
    if "://" in path:
        may_be = not path.startswith(FETCHED) or any(_is_in_bucket(path, root) for root in roots)
    else:
        real = "" if "\0" in path else os.path.realpath(path)
        may_be = any(_is_below(real, root) for root in (str(folder), *roots))
    if not may_be:
        raise ValueError(f"{path!r} leads out of {str(folder)!r}; if that is meant, name its folder in {ROOTS}")
    return path


def file_name(path: str) -> str:
    """The last part of a path or an address, without an address's options."""
    return (path.partition("?")[0] if "://" in path else path).rpartition("/")[2]


def _is_below(real: str, root: str) -> bool:
    home = os.path.realpath(root)
    return real == home or real.startswith(os.path.join(home, ""))


def _is_in_bucket(address: str, root: str) -> bool:
    """With the root's own options: others could send what signs a request to another server."""
    (place, _, options), (home, _, own) = address.partition("?"), root.partition("?")
    return place.startswith(f"{home.rstrip('/')}/") and options == own


def _below(folder: Path) -> list[tuple[str, str]]:
    """File names and paths, or addresses. Links are followed, each folder is entered once."""
    if folder in _addresses:
        return [(name.rpartition("/")[2], address) for name, address in _addresses[folder].items()]
    found: list[tuple[str, str]] = []
    entered: set[tuple[int, int]] = set()
    waiting = [str(folder)]
    while waiting:
        place = waiting.pop()
        with suppress(OSError):  # a folder that may not be read holds nothing for us
            state = os.stat(place)
            if (state.st_dev, state.st_ino) in entered:
                continue
            entered.add((state.st_dev, state.st_ino))
            for entry in sorted(os.scandir(place), key=lambda one: one.name, reverse=True):
                is_video = entry.name.lower().endswith(SUFFIXES) and not entry.is_dir()
                if entry.name.startswith(".") or not (is_video or entry.is_dir()):
                    continue
                if entry.is_symlink():  # checked before it is followed: it may lead to the whole disk
                    inside(folder, entry.path)
                if is_video:
                    found.append((entry.name, entry.path))
                else:
                    waiting.append(entry.path)
    return found
