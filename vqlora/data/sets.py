"""Data sets by name: 'shapes:small', 'msrvtt:FOLDER', 'lsmdc:s3://bucket/lsmdc', and mixtures 'a:P=0.7,b:P=0.3'.

A new set is a reader (folder or file -> Splits) in a file of its own and a row in READERS. 'twin:NAME-tiny' is the
embedded data written in the official form of that set (`layouts`), to be read by that set's reader.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from vqlora.data.activitynet import open_activitynet, open_activitynet_dense, open_activitynet_retrieval
from vqlora.data.activitynet_qa import open_activitynet_qa
from vqlora.data.ego4d import open_ego4d, open_ego4d_nlq
from vqlora.data.example import Example
from vqlora.data.frames_folder import open_frames
from vqlora.data.howto100m import open_howto100m
from vqlora.data.llava import open_llava
from vqlora.data.lsmdc import open_lsmdc
from vqlora.data.messages import open_messages
from vqlora.data.msrvtt import open_msrvtt, open_msrvtt_1ka
from vqlora.data.msrvtt_qa import open_msrvtt_qa
from vqlora.data.msvd import open_msvd, open_msvd_retrieval
from vqlora.data.msvd_qa import open_msvd_qa
from vqlora.data.music_avqa import open_music_avqa
from vqlora.data.nextqa import open_nextqa, open_nextqa_open
from vqlora.data.remote import fetch_annotations, is_remote
from vqlora.data.shapes import PRESETS, VERSION, draw_preset
from vqlora.data.sharegpt import open_sharegpt
from vqlora.data.splits import NAMES, Coverage, Splits
from vqlora.data.table import open_table
from vqlora.data.vatex import open_vatex, open_vatex_retrieval, open_vatex_zh

__all__ = ["SETS", "Splits", "default_cache", "open_data"]

MIXTURE_SEED = 0
GENERATORS = ("shapes*.py", "prompts.py")  # what the embedded data follow from
LOG = logging.getLogger(__name__)


def default_cache() -> Path:
    """Where clips and frames are kept: VQLORA_CACHE, else ~/.cache/vqlora."""
    return Path(os.environ.get("VQLORA_CACHE") or Path.home() / ".cache" / "vqlora")


def open_data(spec: str, cache: Path | None = None) -> Splits:
    """The splits of a set or a mixture. ValueError, naming the part and the way out, before anything is written.

    A mixture's train split is as long as its parts together and holds each in its share, drawn by a fixed seed:
    repeated where the share asks for more than the part has. Its val and test are those of all parts, whole.
    """
    cache = cache or default_cache()
    parts = _parse(spec)
    # Sets on disk first: a wrong path is then found before the embedded clips are written.
    opened = {
        text: SETS[kind](rest, cache)
        for text, kind, rest, _ in sorted(parts, key=lambda part: part[1] in ("shapes", "twin"))
    }
    if len(parts) == 1:
        return opened[spec]
    return _mix([opened[text] for text, *_ in parts], [weight for *_, weight in parts])


def _parse(spec: str) -> list[tuple[str, str, str, float]]:
    """(text, kind, rest, weight) of each part; weights add up to 1."""
    texts, weights = [spec], [1.0]
    if "," in spec:
        pairs = [part.strip().rpartition("=") for part in spec.split(",")]
        texts, weights = [text for text, _, _ in pairs], [_weight(spec, text, weight) for text, _, weight in pairs]
    parts = []
    for text, weight in zip(texts, weights, strict=True):
        kind, _, rest = text.partition(":")
        if kind not in SETS:
            raise ValueError(
                f"data set {kind!r} in {spec!r} is unknown; known: {', '.join(sorted(SETS))}. "
                "A new one is a reader in vqlora/data and a row in vqlora.data.sets.READERS"
            )
        parts.append((text, kind, rest, weight / sum(weights)))
    if len(set(texts)) < len(texts):
        raise ValueError(f"mixture {spec!r} names a set twice; give each set once, with one weight")
    return parts


def _weight(spec: str, text: str, weight: str) -> float:
    try:
        value = float(weight) if text else math.nan
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ValueError(
            f"mixture {spec!r}: every part needs a weight > 0, as in 'shapes:small=0.7,msrvtt:/data/msrvtt=0.3'"
        )
    return value


def _mix(parts: Sequence[Splits], shares: Sequence[float]) -> Splits:
    labels = [
        part.name if [p.name for p in parts].count(part.name) == 1 else f"{part.name}#{n}"
        for n, part in enumerate(parts)
    ]
    named = [_with_prefix(part, label) for part, label in zip(parts, labels, strict=True)]
    total = sum(len(part.train) for part in parts)
    rng = np.random.default_rng(MIXTURE_SEED)
    train: list[Example] = []
    for part, share in zip(named, shares, strict=True):
        order = rng.permutation(len(part.train))
        train += [part.train[order[place % len(order)]] for place in range(max(1, round(share * total)))]
    weights = [f"{label}={share:.6g}" for label, share in zip(labels, shares, strict=True)]
    digest = hashlib.sha256("\n".join([*weights, *(part.digest for part in parts)]).encode()).hexdigest()[:16]
    return Splits(
        name=",".join(weights),
        train=tuple(train[place] for place in rng.permutation(len(train))),
        val=tuple(example for part in named for example in part.val),
        test=tuple(example for part in named for example in part.test),
        coverage={split: _sum_coverage([part.coverage[split] for part in parts]) for split in NAMES},
        digest=digest,
        validation="; ".join(f"{label}: {part.validation}" for label, part in zip(labels, parts, strict=True)),
        dirt={
            f"{label}: {reason}": n
            for label, part in zip(labels, parts, strict=True)
            for reason, n in part.dirt.items()
        },
    )


def _with_prefix(part: Splits, label: str) -> Splits:
    """Ids made unique across the parts of a mixture."""
    renamed = {
        split: tuple(replace(example, id=f"{label}/{example.id}") for example in getattr(part, split))
        for split in NAMES
    }
    return replace(part, **renamed)


def _sum_coverage(parts: Sequence[Coverage]) -> Coverage:
    return Coverage(listed=sum(part.listed for part in parts), present=sum(part.present for part in parts))


def _open_shapes(preset: str, cache: Path) -> Splits:
    """The embedded data: written once into the cache, then read like any MSR-VTT folder."""
    if preset not in PRESETS:
        raise ValueError(
            f"shapes preset {preset!r} is unknown; use one of {tuple(f'shapes:{name}' for name in PRESETS)}"
        )

    def write(folder: Path) -> None:
        from vqlora.data.shapes_write import write_shapes  # lazily: it imports torch

        write_shapes(preset, folder)

    folder = _written(f"shapes-{preset}", cache, write, *GENERATORS)
    return open_msrvtt(folder, name=f"shapes:{preset}", official=PRESETS[preset])


def _open_twin(text: str, cache: Path) -> Splits:
    """The embedded clips in another set's form, read by that set's reader."""
    name, _, preset = text.rpartition("-")
    if name not in READERS or preset not in PRESETS:
        raise ValueError(
            f"twin {text!r} is unknown; give a set and a size, as in 'twin:lsmdc-tiny'; sets: "
            f"{', '.join(sorted(READERS))}; sizes: {', '.join(PRESETS)}"
        )
    from vqlora.data.layouts import LAYOUTS, main_file  # lazily: it imports torch

    layout = LAYOUTS[name]
    kept = f"{layout.__name__.removeprefix('write_')}-{preset}"
    folder = _written(kept, cache, lambda part: layout(part, draw_preset(preset)), *GENERATORS, "layouts/*.py")
    return replace(READERS[name](main_file(name, folder)), name=f"twin:{text}")


def _written(name: str, cache: Path, write: Callable[[Path], None], *sources: str) -> Path:
    """The folder of a generated set, written once whoever asks; `sources` are what generates it."""
    folder = cache / "data" / f"{name}-{VERSION}-{_generator_digest(*sources)}"
    if not folder.is_dir():
        try:
            _write_once(folder, write)
        except OSError as error:
            raise ValueError(
                f"cache {cache}: {error.strerror or error}; set VQLORA_CACHE to a folder with space to write"
            ) from error
    return folder


def _write_once(folder: Path, write: Callable[[Path], None]) -> None:
    """Writes aside and renames, so a reader sees all clips or none. The lock spares a second process the work."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return
        LOG.info("writing the clips of %s once", folder)
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
        try:
            write(part)
            part.chmod(0o755)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _generator_digest(*patterns: str) -> str:
    """Of the generator's source: clips of another generator are never taken for this one's."""
    files = [file for pattern in patterns for file in sorted(Path(__file__).parent.glob(pattern))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


def _place(kind: str, text: str, cache: Path) -> Path:
    if not text:
        raise ValueError(f"the set needs a folder, as in '{kind}:/data/{kind}'")
    return fetch_annotations(text, cache) if is_remote(text) else Path(os.path.expanduser(text))


READERS: dict[str, Callable[[Path], Splits]] = {
    "msrvtt": open_msrvtt,
    "msrvtt-1ka": open_msrvtt_1ka,
    "msrvtt-1ka-7k": partial(open_msrvtt_1ka, train="7k"),
    "msrvtt-qa": open_msrvtt_qa,
    "activitynet": open_activitynet,
    "activitynet-dense": open_activitynet_dense,
    "activitynet-retrieval": open_activitynet_retrieval,
    "activitynet-qa": open_activitynet_qa,
    "vatex": open_vatex,
    "vatex-zh": open_vatex_zh,
    "vatex-retrieval": open_vatex_retrieval,
    "msvd": open_msvd,
    "msvd-retrieval": open_msvd_retrieval,
    "msvd-qa": open_msvd_qa,
    "lsmdc": open_lsmdc,
    "nextqa": open_nextqa,
    "nextqa-open": open_nextqa_open,
    "music-avqa": open_music_avqa,
    "ego4d": open_ego4d,
    "ego4d-nlq": open_ego4d_nlq,
    "howto100m": open_howto100m,
    "llava": open_llava,
    "messages": open_messages,
    "sharegpt": open_sharegpt,
    "frames": open_frames,
    "table": open_table,
}


def _reader(kind: str) -> Callable[[str, Path], Splits]:
    def read(rest: str, cache: Path) -> Splits:
        try:
            return READERS[kind](_place(kind, rest, cache))
        except OSError as error:  # a name that is too long, a folder that may not be read
            raise ValueError(f"{kind}:{rest}: {error.strerror or error}") from error

    return read


SETS: dict[str, Callable[[str, Path], Splits]] = {
    "shapes": _open_shapes,
    "twin": _open_twin,
    **{kind: _reader(kind) for kind in READERS},
}
