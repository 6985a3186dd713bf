"""Vision states of clips under one frozen tower: in memory, and on disk for the other workers and the next study.

A file is named by everything its content depends on: the base's digest, the tower's bits, the processor, versions and
device, and the digest of the clip's frames. It is written whole or not at all, and one that does not read back as the
clip's states is made again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from vqlora.models.bits import bits_by_role
from vqlora.models.load import Loaded
from vqlora.provenance import device_name, versions
from vqlora.video.cache import write_whole

FORMAT = 1  # of the files; a change of it leaves old ones unread
KEPT_BYTES = 2 * 2**30  # in host memory; later clips are read from disk or computed each time
FREE_SHARE = 0.1  # of the disk that files of states leave free
PACKAGES = ("vqlora", "torch", "transformers", "bitsandbytes", "cuda")


def states_folder(cache: Path, loaded: Loaded) -> Path:
    """Where the states of this base, as it stands on its device, are kept."""
    known = versions()
    scheme = (loaded.bits.scheme4, loaded.bits.double_quant)
    depends_on = [
        FORMAT,
        loaded.digest,
        _vision_bits(loaded),
        scheme,
        str(loaded.dtype),
        device_name(str(loaded.device)),
        {name: known.get(name) for name in PACKAGES},
    ]
    return cache / "states" / hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()


def _vision_bits(loaded: Loaded) -> object:
    """What the plan says of the tower: one number, or with it those of the parts that it sets apart."""
    parts = {group: bits for group, bits in loaded.bits.plan.items() if group.startswith("vision.")}
    whole = bits_by_role(loaded.bits, loaded.model_type)["vision"]
    return [whole, parts] if parts else whole


@dataclass(eq=False)
class StateMemory:
    """States [frames, tokens, width] by the digest of a clip's frames; `folder` None keeps them in memory alone."""

    folder: Path | None = None
    states: dict[str, Tensor] = field(default_factory=dict)
    bytes: int = 0

    def get(self, digest: str) -> Tensor | None:
        """The states of the frames of this digest, on the host; None if they must be computed."""
        kept = self.states.get(digest)
        if kept is None and (kept := self._read(digest)) is not None:
            self._remember(digest, kept)
        return kept

    def keep(self, digest: str, state: Tensor) -> None:
        """Remembers states, if they are not yet remembered, as far as memory and disk allow."""
        if digest in self.states:
            return
        state = state.detach().cpu().contiguous()
        self._remember(digest, state)
        if self.folder is not None and self._read(digest) is None:
            self._write(self.folder, digest, state)

    def _remember(self, digest: str, state: Tensor) -> None:
        if self.bytes + state.nbytes <= KEPT_BYTES:
            self.states[digest] = state
            self.bytes += state.nbytes

    def _read(self, digest: str) -> Tensor | None:
        if self.folder is None:
            return None
        try:
            return load_file(self._file(self.folder, digest))["states"]
        except (OSError, SafetensorError, KeyError):
            return None

    def _write(self, folder: Path, digest: str, state: Tensor) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            disk = shutil.disk_usage(folder)
            if disk.free - state.nbytes > FREE_SHARE * disk.total:
                data = save({"states": state})
                write_whole(self._file(folder, digest), lambda file: file.write(data))
        except OSError as error:  # states can be computed again; a trial does not fail for want of room
            warnings.warn(f"vision states are not kept in {folder}: {error.strerror}", stacklevel=2)

    @staticmethod
    def _file(folder: Path, digest: str) -> Path:
        return folder / digest[:2] / f"{digest}.safetensors"
