"""`cluster.yaml` and the files for operators are what Ray, Grafana and this project understand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "vqlora" / "deploy"
# Arguments of EC2's RunInstances that we use; Ray passes node_config on unchecked, a typo would only show in the cloud.
NODE_KEYS = {"InstanceType", "InstanceMarketOptions", "BlockDeviceMappings", "IamInstanceProfile"}


@pytest.fixture(scope="module")
def cluster() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def test_the_cluster_file_validates_against_rays_own_schema(cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(cluster))


def test_node_configurations_hold_known_keys_only(cluster: dict[str, Any]) -> None:
    for name, node in cluster["available_node_types"].items():
        assert set(node["node_config"]) <= NODE_KEYS, name


def test_drivers_sit_on_the_head_and_training_does_not(cluster: dict[str, Any]) -> None:
    from vqlora.devices import SAFE_NODE

    types = cluster["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0, "GPU": 0, SAFE_NODE: 16}
    assert all(types[name]["min_workers"] == 0 for name in ("gpu_spot", "gpu_ondemand"))
    assert types["gpu_spot"]["priority"] > types["gpu_ondemand"]["priority"]


def test_the_cluster_runs_the_ray_of_the_project_with_tokens(cluster: dict[str, Any]) -> None:
    required = re.search(r'"ray\[[a-z,]*\]>=(\d+\.\d+)', (ROOT / "pyproject.toml").read_text())
    assert required and f"ray:{required[1]}." in cluster["docker"]["image"]
    for commands in (cluster["head_start_ray_commands"], cluster["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token" in commands[-1]
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][-1]
    assert any(path.endswith(".ray/auth_token") for path in cluster["file_mounts"])


def test_the_grafana_dashboard_draws_only_metrics_that_exist() -> None:
    from vqlora.monitor import METRICS

    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    named = {name for expression in expressions for name in re.findall(r"ray_(\w+)", expression)}
    assert named == set(METRICS)


def test_the_kuberay_job_runs_a_study_of_this_project_on_shared_storage() -> None:
    job = yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())
    assert job["kind"] == "RayJob" and job["apiVersion"] == "ray.io/v1"
    spec = job["spec"]
    script = re.search(r"studies/\w+\.py", spec["entrypoint"])
    assert script and (ROOT / script[0]).is_file()
    assert "--storage s3://" in spec["entrypoint"]
    cluster = spec["rayClusterSpec"]
    image = cluster["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    assert image.endswith(cluster["rayVersion"])
    assert cluster["authOptions"] == {"mode": "token"}
    assert spec["backoffLimit"] >= 1, "launching again is resuming, so a lost head costs only what was running"
