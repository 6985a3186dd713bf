"""Writes four times a second how many CPUs of a Ray cluster are free. It asks the GCS and is no driver: it holds none.

Command: python benchmarks/faults_watch.py ADDRESS FILE
"""

from __future__ import annotations

import json
import os
import sys
import time

from ray._private.state import GlobalState  # the public functions need a driver of their own
from ray._raylet import GcsClientOptions  # pyright: ignore[reportAttributeAccessIssue]  # compiled, without types

PAUSE_SECONDS = 0.25


def main(address: str, file: str) -> None:
    state = GlobalState()
    state._initialize_global_state(
        GcsClientOptions.create(address, None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False)
    )
    while True:
        free, total = state.available_resources(), state.cluster_resources()
        row = {"time": time.time(), "free": free.get("CPU", 0.0), "total": total.get("CPU", 0.0)}
        with open(file + ".new", "w") as draft:
            json.dump(row, draft)
        os.replace(file + ".new", file)
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
