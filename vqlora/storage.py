"""A place that holds files: a local or network folder, `s3://bucket/prefix` or `gs://bucket/prefix`.

Nothing here relies on rename, append or locks, which object stores lack and network disks bend: whoever reads checks a
digest instead (`vqlora.store`). Standard library and pyarrow.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

SCHEMES = ("s3", "gs")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder and all below it. `path` is relative to `filesystem`; names in methods are relative to `path`."""

    url: str
    path: str
    filesystem: Any
    is_local: bool

    def inside(self, name: str) -> Place:
        """The folder `name` in this one; it need not exist."""
        address, mark, options = self.url.partition("?")
        return Place(
            url=f"{address.rstrip('/')}/{name}{mark}{options}",
            path=f"{self.path.rstrip('/')}/{name}",
            filesystem=self.filesystem,
            is_local=self.is_local,
        )

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is none."""
        from pyarrow.fs import FileType

        path = f"{self.path}/{name}"
        if self.filesystem.get_file_info(path).type is not FileType.File:
            return None
        # by default pyarrow would unpack a .gz by its name
        with self.filesystem.open_input_stream(path, compression=None) as stream:
            return stream.read()

    def write(self, name: str, content: bytes) -> None:
        """Writes a file; on a local disk it is on the disk, not only in memory, when this returns."""
        path = f"{self.path}/{name}"
        if self.is_local:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            return
        with self.filesystem.open_output_stream(path, compression=None) as stream:
            stream.write(content)

    def replace(self, name: str, content: bytes) -> None:
        """Writes a file so that a reader, also after a crash, sees the old content or the new one, never a part."""
        if not self.is_local:  # object stores show a file when it is whole
            return self.write(name, content)
        draft = f".{name}-{uuid.uuid4().hex}"
        self.write(draft, content)
        os.replace(f"{self.path}/{draft}", f"{self.path}/{name}")

    def remove_folder(self, name: str) -> None:
        """Removes a folder and all in it where that is allowed; in some buckets it is not, and it only wastes space."""
        with suppress(OSError):
            self.filesystem.delete_dir(f"{self.path}/{name}")

    def folders(self) -> list[str]:
        """Names of the folders directly inside, sorted."""
        return [name for name, is_folder in self._entries() if is_folder]

    def files(self) -> list[str]:
        """Names of the files directly inside, sorted."""
        return [name for name, is_folder in self._entries() if not is_folder]

    def check_writable(self) -> None:
        """ValueError unless a file can be written and read back here."""
        name, content = ".vqlora-probe", uuid.uuid4().hex.encode()
        try:
            self.write(name, content)
            if self.read(name) != content:
                raise OSError("what was written did not read back")
            if self.is_local:  # in a bucket it stays: the right to delete is often not given, and not needed
                os.remove(f"{self.path}/{name}")
        except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
            reason = str(error).splitlines()[0][:300]
            raise ValueError(
                f"storage {self.url!r} cannot be written ({reason}); give --storage a folder or bucket that can"
            ) from error

    def _entries(self) -> list[tuple[str, bool]]:
        from pyarrow.fs import FileSelector, FileType

        found = self.filesystem.get_file_info(FileSelector(self.path, allow_not_found=True))
        return sorted((info.base_name, info.type is FileType.Directory) for info in found)


def open_place(url: str) -> Place:
    """The place a storage argument names. ValueError for a scheme nobody reads or an address that is malformed."""
    from pyarrow.fs import FileSystem, LocalFileSystem

    scheme, found, _ = url.partition("://")
    if not found:
        if not url:
            raise ValueError("storage is empty; give a folder, s3://bucket/prefix or gs://bucket/prefix")
        if "\0" in url:
            raise ValueError(f"storage {url!r} is no name of a folder; it holds a zero byte")
        path = os.path.abspath(os.path.expanduser(url))
        return Place(url=path, path=path, filesystem=LocalFileSystem(), is_local=True)
    if scheme not in SCHEMES:
        raise ValueError(
            f"storage {url!r} has the scheme {scheme!r}; use a folder, s3://bucket/prefix or gs://bucket/prefix"
        )
    if "@" in url.partition("?")[0]:
        raise ValueError(
            f"storage {scheme}://... carries a secret, which would end in logs; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or GOOGLE_APPLICATION_CREDENTIALS, instead"
        )
    # S3-compatible servers, rclone's and older MinIO among them, refuse the SDK's newer chunked checksums with 411
    os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    try:
        filesystem, path = FileSystem.from_uri(url)
    except (OSError, ValueError) as error:
        raise ValueError(f"storage {url!r} cannot be opened: {str(error).splitlines()[0]}") from error
    return Place(url=url, path=path.rstrip("/"), filesystem=filesystem, is_local=False)
