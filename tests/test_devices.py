"""What a cluster's devices leave for the processes that watch them."""

from __future__ import annotations

import subprocess
import sys

# A cluster of its own, in a process of its own: this one may hold another. Ray takes our word for the GPUs.
FULL = """
import ray
from ray.util.placement_group import placement_group
from vqlora.devices import driver_resources, find_devices
from vqlora.options import Runtime

ray.init(num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
devices = find_devices(Runtime(gpus_per_worker=1.0))
assert devices.count == 2 and devices.is_gpu, devices
ray.get(placement_group([devices.per_worker] * devices.count).ready(), timeout=30)

@ray.remote(num_cpus=driver_resources()["cpu"])
def trial():
    return "started"

print(ray.get([trial.remote() for _ in range(4)], timeout=30))
"""


def test_trials_start_where_there_are_as_many_gpus_as_cpus() -> None:
    """Workers once took a whole CPU each beside their GPU, and no trial of the study could start."""
    found = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, timeout=180)
    assert found.returncode == 0, found.stderr[-2000:]
    assert found.stdout.count("started") == 4
