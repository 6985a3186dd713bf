"""Clips, frames and captions of two configurations on the page."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest
from known_truth import Maker, Truth

from analysis import evidence as committed
from analysis import gallery, layout, table
from analysis.joined import join
from analysis.report import report_of
from analysis.results import results
from vqlora.strips import MOST_CLIPS, MOST_FRAMES, shown_clips, shown_frames, strip_name

JPEG = b"\xff\xd8\xff" + 40 * b"strip"


@pytest.fixture(scope="module")
def study():
    """Each configuration says its own name; rank 2 saw other frames than the rest; one strip is there."""
    records, examples = Maker(Truth(clips=20)).study(seeds=(0,), bases=(16,))
    said = {}
    for record in records:
        indices = [0, 5] if record.point["rank"] == 2 else [0, 5, 9]
        own = {"frame_indices": indices, "frame_times_seconds": [index / 8 for index in indices]}
        said[record.trial] = [{**row, **own, "caption": f"by {record.trial}"} for row in examples[record.trial]]
    strips = {strip_name("9b1c", "video0", [0, 5, 9]): JPEG}
    return table.collect(records, said, asked=table.Asked(), gallery=strips)


def test_clips_are_evenly_spaced_and_frames_of_a_long_strip_thinned():
    assert shown_clips(f"v{number:03}" for number in range(60)) == [f"v{number:03}" for number in range(0, 60, 5)]
    assert shown_clips(["b", "a", "b"]) == ["a", "b"]
    assert shown_frames(3) == [0, 1, 2]
    assert len(shown_frames(50)) == MOST_FRAMES and shown_frames(50)[0] == 0


def test_the_best_on_validation_stands_beside_the_base_as_it_is(study):
    found = results(study)
    shown = gallery.data(study, found)
    best = max(found.configs, key=lambda one: one.values["val.cider"])
    assert len(shown["clips"]) == MOST_CLIPS
    names = [one["name"] for one in shown["configs"]]
    assert best.name in names[:7] and names[shown["other"]] == "bits 16, rank 0"
    for config in shown["configs"]:
        bits, rank = (word.split()[1] for word in config["name"].split(", "))
        assert all(one["caption"] == f"by r{rank}-b{bits}-s0" for one in config["said"])


def test_frames_are_those_that_the_trial_saw_and_missing_ones_are_counted(study):
    shown = gallery.data(study, results(study))
    assert [base64.b64decode(strip) for strip in shown["strips"].values()] == [JPEG]
    assert shown["missing"] == 2 * MOST_CLIPS - 1  # two sets of frames were seen
    seen = {one["name"]: one["said"][0] for one in shown["configs"]}
    assert seen["bits 4, rank 2"]["strip"] != seen["bits 4, rank 4"]["strip"] in shown["strips"]
    assert seen["bits 4, rank 2"]["seconds"] == [0.0, 0.62]
    assert "23 strips of frames were not at hand" in layout.html(report_of(study))


def test_strips_are_committed_read_again_and_joined(study, tmp_path):
    path = committed.write(study, tmp_path)[0]
    (tmp_path / "rank_bits.gallery" / "evil.jpg").write_bytes(b"<svg onload=alert(1)>")
    again = table.read(str(path))
    assert dict(again.gallery) == dict(study.gallery)
    assert dict(join([again, replace(again, study="other")]).gallery) == dict(study.gallery)


def test_long_captions_are_cut_and_equal_references_shown_once(study):
    first = study.records[0].trial
    rows = [{**row, "caption": 999 * "x", "references": ["a b", "a b", "c"]} for row in study.examples[first]]
    long = replace(study, examples={**study.examples, first: rows})
    text = json.dumps(gallery.data(long, results(long)))
    assert "x" * gallery.MOST_SIGNS in text and "x" * (gallery.MOST_SIGNS + 1) not in text
    one = replace(study, records=study.records[:1], examples={first: rows})
    assert gallery.data(one, results(one))["clips"][0]["references"] == ["a b", "c"]


def test_a_study_without_captions_has_no_gallery(study):
    bare = replace(study, examples={})
    assert gallery.html(bare, results(bare), again="x") == ""
