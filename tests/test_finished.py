"""A trial whose process dies after its record was written, and before anyone heard of it, is not run again."""

from __future__ import annotations

from pathlib import Path

from kept import keep_trial
from trials import recipe

from vqlora.asked import Asked
from vqlora.searchers import StudySearch
from vqlora.store import study_store


def test_a_record_counts_if_it_is_newer_than_what_the_launch_found(tmp_path: Path) -> None:
    folder, _ = keep_trial(tmp_path, recipe())
    trial = study_store(str(tmp_path), "kept", "1").trial(folder.name)
    record = trial.record()
    assert record
    assert trial.newer_record(None) == record
    assert trial.newer_record(record.attempt) is None and trial.newer_record(record.attempt - 1) == record


def test_a_search_hands_out_which_record_does_not_count() -> None:
    wanted = recipe()
    known = {"study": "s", "version": "1", "point": {"rank": 4}, "seed": 0}
    asked = [Asked(**known, trial=name, recipe=wanted, fingerprint=name) for name in ("new", "failed")]
    search = StudySearch(listed=asked, answered={}, stale={"failed": 2})
    assert [search.suggest(name)["stale"] for name in ("a", "b")] == [None, 2]
