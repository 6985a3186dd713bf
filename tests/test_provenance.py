"""Provenance: what a record may publish."""

from __future__ import annotations

import getpass
import json
import platform
from dataclasses import asdict
from pathlib import Path

import pytest

from vqlora.provenance import provenance, source_state


def test_it_names_device_versions_and_commit_but_no_host_user_or_path(monkeypatch: pytest.MonkeyPatch) -> None:
    found = provenance("cpu", data_digest="d", base_digest="b", decoder="decord 0.6.0", executor="packed")
    text = json.dumps(asdict(found))
    assert found.device.startswith("CPU, ")
    assert {"torch", "transformers", "peft", "bitsandbytes"} <= set(found.versions)
    assert str(Path.cwd()) not in text
    for private in (platform.node(), f'"{getpass.getuser()}"', str(Path.home()) + "/"):
        assert private not in text


def test_a_copy_of_the_tree_without_git_may_be_told_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    source_state.cache_clear()
    monkeypatch.setenv("VQLORA_COMMIT", "abc123-dirty")
    assert source_state() == ("abc123", True)
    source_state.cache_clear()
    monkeypatch.setenv("VQLORA_COMMIT", "abc123")
    assert source_state() == ("abc123", False)
    source_state.cache_clear()
