"""What a cluster offers a study: which device a trial runs on, how many there are, and where light processes sit."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import PlacementGroupID
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from vqlora.options import Runtime

DRIVER_SHARE = 0.01  # of a CPU: drivers must not hold what their workers wait for
SAFE_NODE = "study_driver"  # a custom resource of nodes that stay: see cluster.yaml
CONTROLLER_RETRIES = 2  # of a Train run whose workers could not be started; Ray's default is without end
BOOTSTRAP = "~/ray_bootstrap_config.yaml"
WORKER_CPU = 0.9  # leaves room for the drivers' shares where every core has a worker


@dataclass(frozen=True, kw_only=True)
class Devices:
    """per_worker: resources of one Ray Train worker; count: how many such workers fit at once."""

    per_worker: dict[str, float]
    count: int
    is_gpu: bool

    def label(self, executor: str) -> str:
        """The executor as records name it, with the share of a GPU where workers get less than one."""
        share = self.per_worker.get("GPU", 1.0)
        return executor if share >= 1 else f"{executor}, {share:g} of a GPU"


def find_devices(runtime: Runtime) -> Devices:
    """One worker per GPU where the cluster has or can get any, else one per core.

    ValueError if the cluster cannot hold one trial, even with all nodes that an autoscaler may add.
    """
    total, offered = ray.cluster_resources(), _offered()
    gpus = runtime.gpus_per_worker if runtime.gpus_per_worker is not None else float(offered.get("GPU", 0) > 0)
    cpus = runtime.cpus_per_worker if runtime.cpus_per_worker is not None else WORKER_CPU
    per_worker = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}

    def fitting(resources: Mapping[str, float]) -> int:
        return int(min(resources.get(name, 0.0) / need for name, need in per_worker.items() if need))

    if fitting(offered) < runtime.workers:
        raise ValueError(
            f"{runtime.workers} worker(s) of {per_worker} do not fit this cluster, which has "
            f"CPU {total.get('CPU', 0):g}, GPU {total.get('GPU', 0):g}; ask for less, or start more nodes"
        )
    if runtime.memory_cap_gib is not None and not gpus:
        raise ValueError(f"a cap of {runtime.memory_cap_gib} GiB is for GPUs, and this cluster has none; leave it out")
    # --concurrency may ask an autoscaler for more than is there; without it a study takes what it finds
    count = fitting(total) if fitting(total) >= runtime.workers else runtime.workers
    wanted = min((runtime.concurrency or 0) * runtime.workers, fitting(offered))
    return Devices(per_worker=per_worker, count=max(count, wanted), is_gpu=bool(gpus))


def limit_starts(seconds: float) -> None:
    """Of Train runs that this process starts: how long they wait for their workers in all, every retry included."""
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(seconds / (CONTROLLER_RETRIES + 1))


def driver_resources() -> dict[str, float]:
    """Of a process that only watches a trial: on a safe node where the cluster names some."""
    if ray.cluster_resources().get(SAFE_NODE):
        return {"cpu": 0, SAFE_NODE: 1}
    return {"cpu": DRIVER_SHARE}


@contextmanager
def groups_taken_back() -> Iterator[None]:
    """Removes the placement groups that this job asks for inside and still has at the end.

    Ray keeps those of a study that ended starved, or of a Train run whose controller was killed, until the job ends.
    """
    before = _groups()
    try:
        yield
    finally:
        for name in _groups() - before:
            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(name))))


def _groups() -> set[str]:
    """Ids of this job's placement groups; they end in that of the job."""
    job = ray.get_runtime_context().get_job_id()
    table = placement_group_table()
    return {name for name, group in table.items() if name.endswith(job) and group["state"] != "REMOVED"}


def _offered() -> dict[str, float]:
    """The most that the cluster has or an autoscaler may add, by resource.

    Ray 2.60's own autoscaler never tells the cluster what it may add, so the file that `ray up` leaves on the head,
    where drivers run, says it.
    """
    from ray._private.state import state  # no public name in 2.60

    total = ray.cluster_resources()
    later: Counter[str] = Counter(state.get_max_resources_from_cluster_config() or {})
    file = Path(BOOTSTRAP).expanduser()
    config: dict[str, Any] = yaml.safe_load(file.read_text()) if file.is_file() else {"available_node_types": {}}
    for node in config["available_node_types"].values():
        count = min(node.get("max_workers", config["max_workers"]), config["max_workers"])
        for name, amount in (node.get("resources") or {}).items():
            later[name] += int(amount) * count
    return {name: max(total.get(name, 0.0), float(later[name])) for name in {*total, *later}}
