"""Clips of the test split: frames and captions of two configurations, chosen on the page, and the references.

Here is only what `assets/gallery.js` shows; captions and references are untrusted and enter the page as text nodes.
Frames are strips that lie beside the records (`vqlora gallery`); a report never opens a clip.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from analysis import page
from analysis.configs import finished, label
from analysis.results import Results
from analysis.table import Evidence, config_name
from analysis.tables import ordered
from vqlora.record import Record
from vqlora.strips import MOST_BYTES, shown_clips, shown_frames, strip_name

MOST_CONFIGS = 60  # whose captions the page holds: the frontier first, then by validation
MOST_SIGNS = 400  # of a caption or reference

CONTROLS = """
<section id="gallery" hidden><h2>Clips and captions</h2>
<p class="soft">{note}</p>
<div class="controls" role="group" aria-label="two configurations">
<label>Left <select id="ga-left"></select></label><label>Right <select id="ga-right"></select></label></div>
<div id="ga-clips"></div></section>
"""


def html(evidence: Evidence, found: Results, *, again: str) -> str:
    """The section and its data; '' without captions. again: the command that adds missing frames."""
    shown = data(evidence, found)
    if not shown["clips"]:
        return ""
    missing = shown.pop("missing")
    note = f"{len(shown['clips'])} clips of the test split, evenly spaced by id, whatever their scores."
    if missing:
        note += f" {missing} strips of frames were not at hand when this page was made; {again} adds them."
    text = json.dumps(shown, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return CONTROLS.format(note=page.plain(note)) + page.packed("gallery-data", text)


def data(evidence: Evidence, found: Results) -> dict[str, Any]:
    """clips: id and references; configs: name and, a clip each, caption, score and its frames; strips by name."""
    trials = {
        (config_name(record.point, evidence.axes), record.provenance.device): record
        for record in reversed(finished(evidence))
        if record.trial in evidence.examples
    }
    configs = [found.configs[row] for row in ordered(found)]
    known = [(one, trials[one.name, one.device]) for one in configs if (one.name, one.device) in trials][:MOST_CONFIGS]
    rows = [_rows(evidence, record) for _, record in known]
    ids = shown_clips(set.intersection(*map(set, rows)) if rows else ())
    if not ids:
        return {"clips": [], "missing": 0}
    wanted = dict.fromkeys(
        _name(record, own[clip]) for clip in ids for (_, record), own in zip(known, rows, strict=True)
    )
    strips, room = {}, MOST_BYTES
    for name in wanted:
        content = evidence.gallery.get(name, b"")
        if content and len(content) <= room:
            strips[name], room = base64.b64encode(content).decode(), room - len(content)
    return {
        "clips": [
            {"id": clip, "references": [*dict.fromkeys(map(_cut, rows[0][clip].get("references", ())))]} for clip in ids
        ],
        "configs": [
            {
                "name": config.name + (f" on {config.device}" if len(found.fronts) > 1 else ""),
                "said": [_said(record, own[clip], found.metric) for clip in ids],
            }
            for (config, record), own in zip(known, rows, strict=True)
        ],
        "strips": strips,
        "metric": label(found.metric),
        "other": _other(known, found),
        "missing": len(wanted) - len(strips),
    }


def _rows(evidence: Evidence, record: Record) -> dict[str, Any]:
    return {row["id"]: row for row in evidence.examples[record.trial] if row["split"] == "test" and "caption" in row}


def _said(record: Record, row: Any, metric: str) -> dict[str, Any]:
    score = row["scores"].get(metric)
    places = shown_frames(len(row.get("frame_times_seconds") or ()))
    return {
        "caption": _cut(row["caption"]),
        "score": None if score is None else float(f"{score:.4g}"),
        "strip": _name(record, row),
        "seconds": [round(float(row["frame_times_seconds"][place]), 2) for place in places],
    }


def _name(record: Record, row: Any) -> str:
    return strip_name(record.provenance.data_digest, row["id"], row.get("frame_indices") or ())


def _other(known: list[Any], found: Results) -> int:
    """What the best is first shown beside: the base as it is, or else the worst on validation."""
    plain = [place for place, (config, _) in enumerate(known) if config.method == "zero_shot"]
    return plain[0] if plain else len(known) - 1


def _cut(text: Any) -> str:
    words = str(text)
    return words if len(words) <= MOST_SIGNS else words[:MOST_SIGNS] + "…"
