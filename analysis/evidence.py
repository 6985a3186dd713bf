"""Evidence as it is committed: NAME.jsonl, .examples.jsonl.gz, .study.json, strips in .gallery; `table.read` reads it.

Equal evidence gives equal bytes.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import asdict
from pathlib import Path

from analysis.table import Asked, Evidence
from vqlora.record import record_to_json


def write(evidence: Evidence, folder: Path) -> list[Path]:
    """Writes the files and returns their paths; the examples' and the study's only where there are any."""
    folder.mkdir(parents=True, exist_ok=True)
    records = folder / f"{evidence.study}.jsonl"
    records.write_text("".join(record_to_json(record) + "\n" for record in evidence.records))
    written = [records]
    if evidence.examples:
        written.append(records.with_suffix(".examples.jsonl.gz"))
        rows = [{"trial": trial, **row} for trial, own in sorted(evidence.examples.items()) for row in own]
        lines = "".join(json.dumps(row, sort_keys=True, ensure_ascii=False) + "\n" for row in rows)
        # no name and no time in the header: the bytes depend on the rows only
        written[-1].write_bytes(gzip.compress(lines.encode(), mtime=0))
    if evidence.asked != Asked():
        written.append(records.with_suffix(".study.json"))
        written[-1].write_text(json.dumps(_asked(evidence.asked), indent=1) + "\n")
    for name, content in sorted(evidence.gallery.items()):
        written.append(records.with_suffix(".gallery") / name)
        written[-1].parent.mkdir(exist_ok=True)
        written[-1].write_bytes(content)
    return written


def _asked(asked: Asked) -> dict[str, object]:
    plain = asdict(asked)
    plain["objectives"] = [{"metric": metric, "direction": direction} for metric, direction in asked.objectives]
    plain["trials"] = [{"trial": trial} for trial in asked.trials]
    plain["axes"] = {name: list(values) for name, values in asked.axes.items()}
    return plain
