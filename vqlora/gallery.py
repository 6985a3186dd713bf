"""`vqlora gallery STUDY`: small strips of the frames that a study's trials saw, for its report.

A report is made of records alone; so the frames have to lie beside them, and only where the clips are can they be cut.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vqlora.clip_rows import clip_rows
from vqlora.data.example import Example
from vqlora.data.sets import default_cache, open_data
from vqlora.recipe import recipe_from_json
from vqlora.record import Record, Status, record_from_json
from vqlora.storage import Place, open_place
from vqlora.store import StudyStore, find_study
from vqlora.strips import GALLERY, MOST_BYTES, shown_clips, shown_frames, strip_name
from vqlora.video.decode import DecodeError
from vqlora.video.frames import FrameStore

SIDE, QUALITY = 96, 75
Trial = tuple[Record, Sequence[Mapping[str, Any]]]  # a record and its examples


def write_gallery(where: str) -> tuple[int, list[str]]:
    """Writes the strips that a study at STORAGE/STUDY or NAME.jsonl lacks; (their number, why others are missing)."""
    if not where.endswith(".jsonl"):
        return keep_strips(find_study(where))
    path = Path(where)
    if not path.is_file():
        raise ValueError(f"records file {where!r} does not exist; give NAME.jsonl or STORAGE/STUDY")
    folder = path.with_suffix(".gallery")
    return _write(open_place(str(folder.absolute())), _committed(path))


def keep_strips(store: StudyStore) -> tuple[int, list[str]]:
    """The same for a study in a storage."""
    return _write(store.place.inside(GALLERY), _stored(store))


def _write(place: Place, trials: Iterator[Trial]) -> tuple[int, list[str]]:
    known, reasons = set(place.files()), dict[str, None]()
    splits: dict[str, Any] = {}
    written, room = 0, MOST_BYTES - sum(len(place.read(name) or b"") for name in known)
    for record, examples in trials:
        rows = {row["id"]: row for row in examples if row["split"] == "test"}
        chosen = [rows[clip] for clip in shown_clips(rows)] if record.status is Status.DONE else []
        digest, named = record.provenance.data_digest, str(record.recipe.get("data"))
        wanted = [row for row in chosen if strip_name(digest, row["id"], row["frame_indices"]) not in known]
        if not wanted:
            continue
        try:
            if named not in splits:
                splits[named] = open_data(named)
            if splits[named].digest != digest:
                raise ValueError(f"data {named!r} are not those of the records any more")
            clips = {example.id: example for example in splits[named].test}
            for row in wanted:
                name, strip = strip_name(digest, row["id"], row["frame_indices"]), _strip(record, clips[row["id"]], row)
                if len(strip) > room:
                    raise ValueError(f"{MOST_BYTES / 1e6:.1f} MB of frames are enough for one report")
                place.write(name, strip)
                written, room, known = written + 1, room - len(strip), known | {name}
        except (ValueError, DecodeError, KeyError) as error:
            reasons[str(error)] = None
    return written, list(reasons)


def _strip(record: Record, example: Example, row: Mapping[str, Any]) -> bytes:
    """The frames that the trial saw side by side as a JPEG: those of the row, for a sampler may need the base."""
    store = FrameStore(default_cache(), recipe_from_json(record.recipe).frames)
    frames = store.at(example.clips[0], row["frame_indices"])
    shown = (Image.fromarray(np.asarray(frames.frames[place])) for place in shown_frames(len(frames.indices)))
    pictures = [picture.resize((SIDE, SIDE)) for picture in shown]
    strip = Image.new("RGB", (SIDE * len(pictures), SIDE))
    for number, picture in enumerate(pictures):
        strip.paste(picture, (SIDE * number, 0))
    out = io.BytesIO()
    strip.save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()


def _stored(store: StudyStore) -> Iterator[Trial]:
    """Trials whose examples are broken have none; who reads the study names them."""
    for record in store.read().records:
        try:
            yield record, store.trial(record.trial).examples(record)
        except ValueError:
            yield record, []


def _committed(path: Path) -> Iterator[Trial]:
    examples: dict[str, list[dict[str, Any]]] = {}
    for row in clip_rows(path.with_suffix(".examples.jsonl.gz").read_bytes()):
        examples.setdefault(str(row.get("trial")), []).append(row)
    for line in path.read_text().splitlines():
        record = record_from_json(line)
        yield record, examples.get(record.trial, [])
