"""The node types of `cluster.yaml` under Ray's own autoscaler, with nodes that are processes of this machine."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from faults_arena import NODE_TITLE, Arena, free_port, until  # noqa: E402  # of a folder that is no package

from vqlora.data.sets import default_cache  # noqa: E402

HEAD = "f" * 51 + "00000"  # the id that the fake provider knows its head by
# By its class: wheels lack the file that its own name asks for.
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
IDLE_MINUTES = 0.5


def fake(cluster: dict[str, Any], address: str) -> dict[str, Any]:
    """The cluster's own types, limits and priorities, with a CPU in place of a cloud's machine."""
    types = {
        name: {**node, "node_config": {}, "resources": {"CPU": 1}}
        for name, node in cluster["available_node_types"].items()
    }
    types["ray.head.default"] = {**types.pop(cluster["head_node_type"]), "resources": {"CPU": 0}, "max_workers": 0}
    return {
        **{name: cluster[name] for name in ("cluster_name", "max_workers", "upscaling_speed")},
        "provider": {"type": "external", "module": PROVIDER, "head_node_id": HEAD, "launch_multiple": True,
                     "gcs_address": address,
                     "disable_node_updaters": True, "disable_launch_config_check": True,
                     "foreground_node_launch": True},
        "auth": {},
        "idle_timeout_minutes": IDLE_MINUTES,
        "available_node_types": types,
        "head_node_type": "ray.head.default",
        **{name: {} for name in ("file_mounts", "head_node", "worker_nodes")},
        **{name: [] for name in ("initialization_commands", "setup_commands", "head_setup_commands", "rsync_exclude",
                                 "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands",
                                 "cluster_synced_files", "rsync_filter")},
    }  # fmt: skip


@pytest.fixture
def scaled(tmp_path: Path) -> Iterator[Arena]:
    """A head alone, and the autoscaler that may bring it nodes."""
    arena = Arena(
        RAY_FAKE_CLUSTER="1", AUTOSCALER_UPDATE_INTERVAL_S="1", RAY_enable_autoscaler_v2="1",
        RAY_CLOUD_INSTANCE_ID=HEAD, RAY_OVERRIDE_NODE_ID_FOR_TESTING=HEAD,
        HOME=str(tmp_path), VQLORA_CACHE=str(default_cache()),
    )  # fmt: skip
    arena.address = f"127.0.0.1:{free_port()}"
    config = tmp_path / "ray_bootstrap_config.yaml"  # at home, as `ray up` leaves it on the head
    config.write_text(json.dumps(fake(yaml.safe_load((ROOT / "cluster.yaml").read_text()), arena.address)))
    try:
        arena.start_head(f"--autoscaling-config={config}")
        yield arena
    finally:
        arena.end()


@pytest.mark.slow
def test_workers_come_for_a_study_one_is_lost_and_none_stays(scaled: Arena, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, str(ROOT / "tests" / "small_study.py"), "--storage", str(tmp_path), "--steps", "200"]
    assert not scaled.processes(NODE_TITLE)
    study = scaled.run([*command, "--concurrency", "1"], log)
    until(lambda: bool(list(tmp_path.rglob("state-*.bin"))), 500, "no worker came and trained")
    until(lambda: scaled.kill_one(NODE_TITLE, random.Random(0)) is not None, 120, "no node to lose")
    assert study.wait(timeout=400) == 0, log.read_text()
    assert "2/2 done" in log.read_text()
    until(lambda: not scaled.processes(NODE_TITLE), 180, "idle workers were not given back")
    logs = " ".join(file.read_text(errors="replace") for file in scaled.folder.glob("session_*/logs/monitor.*"))
    assert "gpu_spot" in logs and "of type gpu_ondemand" not in logs, "the type of the higher priority comes first"
