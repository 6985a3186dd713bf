"""A record found again: itself, its study's other records, and what has changed since it was written.

Used by the tools that start from a record (`rerun`, `train`, `caption`). Imports torch only when asked for changes.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vqlora.recipe import Recipe, recipe_from_json
from vqlora.record import Record, Status, record_from_json
from vqlora.storage import Place, open_place
from vqlora.store import RECORD


@dataclass(frozen=True, kw_only=True)
class Found:
    """A record; the records of its study, itself among them; and its folder, None for a line of committed records."""

    record: Record
    study: tuple[Record, ...]
    folder: Place | None

    @property
    def recipe(self) -> Recipe:
        """What the trial was asked. ValueError where this version has other fields."""
        return recipe_from_json(self.record.recipe)


@dataclass(frozen=True, kw_only=True)
class Span:
    """Where another seed's score is expected: 95 % prediction interval; basis says of how many trials."""

    low: float
    high: float
    basis: str


def find_record(where: str) -> Found:
    """The record at PLACE/record.json, in a trial's or an adapter's folder, or at FILE.jsonl#TRIAL.

    TRIAL: its name or fingerprint, or the start of either. ValueError where there is none, or it is not valid here.
    """
    if ".jsonl" in where:
        file, _, wanted = where.partition("#")
        return _in_file(Path(os.path.expanduser(file)), wanted)
    folder = where.removesuffix("/").removesuffix(RECORD).removesuffix("/") or "."
    place = open_place(folder)
    content = place.read(RECORD)
    if content is None:
        raise ValueError(f"{where!r} holds no {RECORD}; give a trial's folder, its record.json, or FILE.jsonl#TRIAL")
    record = _parse(content.decode(errors="replace"), f"{place.url}/{RECORD}")
    return Found(record=record, study=_neighbours(place, record), folder=place)


def changed_versions(record: Record, *, device: str) -> list[str]:
    """What runs here and is not what the record ran with: device, packages, commit; 'torch 2.11.0, here 2.14.1'."""
    from vqlora.provenance import provenance

    here, there = provenance(device), record.provenance
    rows = [("device", there.device, here.device), ("platform", there.platform, here.platform)]
    names = sorted({*there.versions, *here.versions})
    rows += [(name, there.versions.get(name), here.versions.get(name)) for name in names]
    rows += [("commit", _commit(there.commit, there.dirty), _commit(here.commit, here.dirty))]
    return [f"{name} {old or 'absent'}, here {new or 'absent'}" for name, old, new in rows if old != new]


def changed_content(record: Record, *, base: str, data: str) -> list[str]:
    """Whether base, annotations and clips are those of the record: a line for each that is not. Reads whole files."""
    from vqlora.data.sets import default_cache, open_data
    from vqlora.models.load import digest_of
    from vqlora.video.frames import clips_digest

    there, splits = record.provenance, open_data(data)
    rows: list[tuple[str, str, str | None, Callable[[str], str]]] = [
        ("base", base, there.base_digest, digest_of),
        ("data", data, there.data_digest, lambda _: splits.digest),
    ]
    if there.clips_digest is not None:  # an older record keeps none
        examples = (*splits.train, *splits.val, *splits.test)
        rows.append(("clips", data, there.clips_digest, lambda _: clips_digest(default_cache(), examples)))
    found: list[str] = []
    for name, place, old, digest in rows:
        if old is None:
            found.append(f"the record keeps no digest of its {name}")
        elif (new := digest(place)) != old:
            found.append(f"{name} {place!r} has the digest {new[:16]}, the record's was {old[:16]}")
    return found


def seed_span(record: Record, study: Sequence[Record], split: str, metric: str) -> Span | None:
    """Of the record's point; the spread over seeds is pooled over all points of its device. None without two seeds.

    mean +- t s sqrt(1 + 1/n): a prediction interval for one more draw (e.g. Hahn and Meeker, 1991, section 4.3).
    """
    from scipy import stats

    groups: dict[str, list[float]] = {}
    for one in study:
        score = one.metrics.get(split, {}).get(metric)
        trained = (one.recipe.get("method") or {}).get("kind") != "zero_shot"
        if (
            one.status is Status.DONE
            and one.provenance.device == record.provenance.device
            and trained
            and score is not None
        ):
            groups.setdefault(_point(one), []).append(score)
    freedom = sum(len(scores) - 1 for scores in groups.values())
    own = groups.get(_point(record), [])
    if not freedom or not own:
        return None
    means = {point: sum(scores) / len(scores) for point, scores in groups.items()}
    squares = sum((score - means[point]) ** 2 for point, scores in groups.items() for score in scores)
    half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(squares / freedom * (1 + 1 / len(own)))
    mean = means[_point(record)]
    basis = f"{len(own)} seed(s) of this point, spread pooled over {freedom + len(groups)} trials"
    return Span(low=mean - half, high=mean + half, basis=basis)


def _in_file(file: Path, wanted: str) -> Found:
    if not file.is_file():
        raise ValueError(f"records file {str(file)!r} does not exist; give FILE.jsonl#TRIAL")
    lines = file.read_text().splitlines()
    records = [_parse(line, f"{file}, line {number}") for number, line in enumerate(lines, 1)]
    exact = [one for one in records if wanted in (one.trial, one.fingerprint)]
    chosen = exact or [one for one in records if wanted and (one.trial + " ").startswith(wanted)]
    chosen = chosen or [one for one in records if wanted and one.fingerprint.startswith(wanted)]
    if len(chosen) != 1:
        names = ", ".join(one.trial for one in (chosen or records)[:4])
        raise ValueError(
            f"{str(file)!r} holds {len(chosen) or 'no'} trials called {wanted!r}; say which as FILE.jsonl#TRIAL, "
            f"such as {names}"
        )
    return Found(record=chosen[0], study=tuple(records), folder=None)


def _neighbours(place: Place, record: Record) -> tuple[Record, ...]:
    above = open_place(place.url.rstrip("/").rsplit("/", 1)[0])
    found = [record]
    for name in above.folders():
        content = above.inside(name).read(RECORD)
        try:
            one = record if content is None else record_from_json(content.decode(errors="replace"))
        except (ValueError, TypeError, KeyError):
            continue  # its own study names it as broken
        if (one.study, one.version) == (record.study, record.version) and one.trial != record.trial:
            found.append(one)
    return tuple(found)


def _parse(text: str, where: str) -> Record:
    try:
        return record_from_json(text)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{where}: {error}") from error


def _point(record: Record) -> str:
    return json.dumps(dict(record.point), sort_keys=True)


def _commit(commit: str | None, dirty: bool | None) -> str:
    return f"{commit or 'unknown'}{' with changes' if dirty else ''}"


def adapter_weights(found: Found) -> bytes:
    """The adapter's file of a record in a storage or in an adapter's own folder. ValueError where it was not kept."""
    from vqlora.adapters.export import FULL_WEIGHTS, WEIGHTS

    folder, record = found.folder, found.record
    if folder is None:
        raise ValueError(
            f"trial {record.trial} is a line of committed records, without its adapter; give the trial's folder in its "
            "storage, or train it anew"
        )
    places = [folder] if record.adapter is None else [folder, folder.inside(record.adapter)]
    for place in places:
        for name in (WEIGHTS, FULL_WEIGHTS):
            content = place.read(name)
            if content is not None:
                return content
    raise ValueError(
        f"{folder.url} holds no adapter: the study gave it up, as --keep says, or trained nothing; train it anew"
    )
