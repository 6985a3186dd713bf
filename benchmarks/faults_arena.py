"""A Ray cluster of several raylets that may be killed in whole or in part, and nothing else on the machine with it.

Everything runs in a PID namespace of its own where the system allows one (root, util-linux), so that one SIGKILL ends
all at once. Elsewhere orphans come back to this process, which stops them all before it kills them. Victims are found
among this process's own descendants only.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
INIT = "import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\nwhile True: signal.pause()"
NAMESPACE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc")
SAFE_DRIVERS = 16  # units of the resource that holds drivers on the head, see cluster.yaml
NODES, NODE_CPUS = 2, 1
NODE_TITLE = rf"/raylet/raylet .*static_resource_list=\S*CPU,{NODE_CPUS}"  # the head has CPU,0
NODE_TRIES = 3
START_SECONDS = 180
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


class Arena:
    """One head without a CPU for training, and nodes of one CPU each. `start()` again after `end()` or `kill_all()`."""

    def __init__(self, **variables: str) -> None:
        """variables: of the environment of all its processes."""
        ctypes.CDLL(None).prctl(SUBREAPER, 1)
        self.folder = Path(tempfile.mkdtemp(prefix="vqf", dir="/tmp"))  # short: a socket's path has 107 characters
        self.address, self._token, self._variables = "", secrets.token_hex(32), variables
        self._init: subprocess.Popen[bytes] | None = None
        self._enter: list[str] = []
        self.started: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        """Of every process in it: this cluster and no other, and this tree's code."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return kept | {
            "RAY_TMPDIR": str(self.folder),
            "RAY_ADDRESS": self.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self._token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_raylet_start_wait_time_s": str(START_SECONDS),
            "RAY_health_check_timeout_ms": "60000",  # a busy machine kills no node: that is this file's to do
            "RAY_worker_niceness": "0",  # 15 by default, which starves workers on a machine that does other things too
            "PYTHONPATH": str(ROOT),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            **self._variables,
        }

    def start(self) -> None:
        """A new cluster, ready for a study."""
        self.start_head()
        self.fill()
        until(lambda: self.cpus()[1] >= NODES * NODE_CPUS, START_SECONDS, "the nodes did not join")

    def start_head(self, *options: str) -> None:
        """A new cluster without a node that trains. options: of `ray start`."""
        self._open_namespace()
        self.address = self.address or f"127.0.0.1:{free_port()}"
        resources = json.dumps({"study_driver": SAFE_DRIVERS})
        port = self.address.rpartition(":")[2]
        self._ray("--head", f"--port={port}", "--num-cpus=0", f"--resources={resources}", "--include-dashboard=true",
                  f"--dashboard-port={free_port()}", f"--ray-client-server-port={free_port()}",
                  f"--temp-dir={self.folder}", *options)  # fmt: skip
        self._watch()

    def fill(self) -> None:
        """Brings raylets until there are NODES, as an autoscaler would; one by one: two may choose the same socket."""
        failed = 0
        while len(self.processes(NODE_TITLE)) < NODES:
            try:
                self._ray(f"--address={self.address}", f"--num-cpus={NODE_CPUS}")
            except RuntimeError:  # a starting node gives up where the machine is busy; an autoscaler tries again too
                failed += 1
                if failed == NODE_TRIES:
                    raise

    def run(self, command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Starts a process in the arena; its output is appended to `log`."""
        with log.open("ab") as file:
            process = subprocess.Popen(
                [*self._enter, *command], env=self.environment, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
            )
        self.started.append(process)
        return process

    def processes(self, title: str = "") -> list[psutil.Process]:
        """Living processes of the arena whose command line matches."""
        found: list[psutil.Process] = []
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE and re.search(title, " ".join(process.cmdline())):
                    found.append(process)
        return found

    def cpus(self) -> tuple[float, float, float]:
        """(CPUs free, CPUs there are, when that was so)."""
        try:
            last = json.loads((self.folder / "cpus.json").read_text())
        except (OSError, ValueError):
            return 0.0, 0.0, 0.0
        return last["free"], last["total"], last["time"]

    @property
    def is_alive(self) -> bool:
        """Whether it was started and its head still answers."""
        port = self.address.rpartition(":")[2]
        return self._init is not None and bool(port) and listens(int(port))

    def kill_one(self, title: str, chance: random.Random) -> psutil.Process | None:
        """SIGKILL to one process that matches; None where there is none."""
        found = sorted(self.processes(title), key=lambda process: process.pid)
        if not found:
            return None
        victim = chance.choice(found)
        with suppress(psutil.NoSuchProcess):
            victim.kill()
        return victim

    def kill_all(self) -> None:
        """Everything at once, as when the power fails."""
        if self._init is not None and self._enter:
            for process in psutil.Process(self._init.pid).children():
                process.kill()
        else:
            tree = self.processes()
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for process in tree:
                    with suppress(psutil.NoSuchProcess):
                        process.send_signal(number)
        self._collect()

    def end(self) -> None:
        """Nothing of it stays."""
        self.kill_all()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _open_namespace(self) -> None:
        for entry in self.folder.glob("*"):
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink()
        self._init = subprocess.Popen([*NAMESPACE, sys.executable, "-c", INIT], stderr=subprocess.DEVNULL)
        time.sleep(1)
        inner = psutil.Process(self._init.pid).children() if self._init.poll() is None else []
        self._enter = ["nsenter", f"--target={inner[0].pid}", f"--wd={ROOT}", "--pid", "--mount", "--"] if inner else []

    def _ray(self, *options: str) -> None:
        """Runs `ray start` and waits until it says that it has. RuntimeError with its output if it ends."""
        log = self.folder / f"ray-{len(self.started)}.log"
        shared = ["--block", "--node-ip-address=127.0.0.1", "--object-store-memory=80000000",
                  f"--dashboard-agent-listen-port={free_port()}"]  # fmt: skip
        process = self.run([str(BIN / "ray"), "start", *options, *shared], log)
        end = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in log.read_text():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"no node of Ray could be started: {log.read_text()[-1500:]}")
            time.sleep(0.1)

    def _watch(self) -> None:
        watcher = str(ROOT / "benchmarks" / "faults_watch.py")
        self.run([sys.executable, watcher, self.address, str(self.folder / "cpus.json")], self.folder / "watch.log")

    def _collect(self) -> None:
        """Waits for what was killed. An `nsenter` that was a victim leaves us its child, and until we wait for that
        one too its namespace does not end."""
        own = [*self.started, *([self._init] if self._init else [])]
        known = {one.pid for one in own}  # Popen waits for these itself

        def is_over() -> bool:
            ended = all(one.poll() is not None for one in own)
            for child in psutil.Process().children():
                with suppress(psutil.Error, ChildProcessError):
                    if child.pid not in known and child.status() == psutil.STATUS_ZOMBIE:
                        os.waitpid(child.pid, os.WNOHANG)
            return ended

        until(is_over, START_SECONDS, "what was killed does not end")
        self.started, self._init, self.address = [], None, ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(holds: object, seconds: float, what: str) -> float:
    """Waits until `holds()`; the seconds it took. TimeoutError with `what` after `seconds`."""
    assert callable(holds)
    start = time.monotonic()
    while not holds():
        if time.monotonic() - start > seconds:
            raise TimeoutError(f"{what} within {seconds:.0f} s")
        time.sleep(0.1)
    return time.monotonic() - start
