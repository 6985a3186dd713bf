"""What a study says of a node that lacks what the one it was launched on has."""

from __future__ import annotations

import platform
from pathlib import Path

from trials import WARM, recipe

from vqlora.asked import Asked
from vqlora.further import Terminal
from vqlora.record import Status
from vqlora.store import study_store
from vqlora.trial import run_trial


def test_a_trial_on_a_node_without_the_data_fails_with_the_folder_and_the_node(tmp_path: Path) -> None:
    elsewhere = tmp_path / "mounted-on-the-head-only"
    wanted = recipe(data=f"msrvtt:{elsewhere}")
    known = {"study": "nodes", "version": "1", "trial": "a", "point": {"rank": 4}, "seed": 0}
    asked = Asked(**known, recipe=wanted, fingerprint=wanted.fingerprint())
    store = study_store(str(tmp_path), "nodes", "1")
    record = run_trial(asked, store, device="cpu", executor="alone", channel=Terminal(steps=4), warm=WARM)
    assert record.status is Status.FAILED and record.error
    assert str(elsewhere) in record.error and f"on node {platform.node()}" in record.error
    assert not store.read().answers(), "it is tried again when the study is launched again"
