"""A study as a job on a real Ray head with token authentication: submitted, refused, stopped."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from test_outside import save_my_base, save_my_data

from vqlora.record import Status
from vqlora.store import find_study

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
RAYS_OWN = r"IDLE|\w+Agent|TrainStateActor|_AutoscalingCoordinatorActor"  # one a cluster, kept for the next job
BIN = Path(sys.executable).parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True, kw_only=True)
class Head:
    """A Ray head of this test alone. address: of its dashboard and job server."""

    process: psutil.Process
    address: str
    environment: dict[str, str]

    def command(self, *words: str, token: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in self.environment.items() if name != "RAY_AUTH_MODE"}
        environment |= {"RAY_AUTH_MODE": "token"} if token else {}
        return subprocess.run(
            [str(BIN / words[0]), *words[1:]], env=environment, cwd=ROOT, capture_output=True, text=True, check=False,
            timeout=400,
        )  # fmt: skip

    def workers(self) -> list[str]:
        """Command lines of what runs on behalf of jobs: their drivers, and Ray workers that are not Ray's own."""
        lines: list[str] = []
        for process in self.process.children(recursive=True):
            try:
                line = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if re.search(rf"^ray::(?!{RAYS_OWN})|small_study\.py", line):
                lines.append(line.strip())
        return lines


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    home = tmp_path_factory.mktemp("home")
    folder = Path("/tmp") / f"vq{os.getpid()}"  # short: a socket's path may have 107 characters
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    cache = os.environ.get("VQLORA_CACHE") or str(Path.home() / ".cache" / "vqlora")
    environment |= {
        "HOME": str(home),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "VQLORA_CACHE": cache,
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_JOB_STOP_SIGNAL": "SIGINT",
        "RAY_JOB_STOP_WAIT_TIME_S": "30",
    }
    subprocess.run([str(BIN / "ray"), "get-auth-token", "--generate"], env=environment, check=True, capture_output=True)
    port = free_port()
    start = [str(BIN / "ray"), "start", "--head", "--block", "--num-cpus=2", "--include-dashboard=true",
             f"--port={free_port()}", f"--dashboard-port={port}", f"--dashboard-agent-listen-port={free_port()}",
             f"--ray-client-server-port={free_port()}", f"--temp-dir={folder}"]  # fmt: skip
    process = subprocess.Popen(start, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    started = Head(process=psutil.Process(process.pid), address=f"http://127.0.0.1:{port}", environment=environment)
    try:
        until(lambda: started.command("ray", "job", "list", "--address", started.address).returncode == 0, 120)
        yield started
    finally:
        tree = started.process.children(recursive=True)
        for one in (started.process, *tree):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()
        psutil.wait_procs(tree, timeout=10)
        shutil.rmtree(folder, ignore_errors=True)


def until(holds: Callable[[], bool], seconds: float, found: Callable[[], object] = str) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s; found {found()}"
        time.sleep(0.5)


def test_a_client_without_the_mode_is_refused_and_doctor_says_which_line_to_set(head: Head) -> None:
    refused = head.command("ray", "job", "list", "--address", head.address, token=False)
    assert refused.returncode != 0 and "oken authentication is enabled" in refused.stderr
    doctor = head.command("vqlora", "doctor", "--cluster", head.address, token=False)
    assert doctor.returncode == 1
    assert "401" in doctor.stdout and "-> export RAY_AUTH_MODE=token" in doctor.stdout
    followed = head.command("vqlora", "doctor", "--cluster", head.address, token=True)
    assert followed.returncode == 0 and "answers (200)" in followed.stdout


def test_a_submitted_study_leaves_its_records_and_its_status(head: Head, tmp_path: Path) -> None:
    job = ["python", "tests/small_study.py", "--storage", str(tmp_path), "--steps", "2"]
    done = head.command("ray", "job", "submit", "--address", head.address, "--working-dir", ".", "--", *job)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "2/2 done" in done.stdout and "report: " in done.stdout
    records = find_study(str(tmp_path / "small")).read().records
    assert [record.status for record in records] == [Status.DONE] * 2
    assert all(record.provenance.commit is None for record in records), "the job's copy of the tree has no .git"
    assert list(tmp_path.rglob("report.html"))
    until(lambda: not head.workers(), 30, head.workers)


def test_a_submitted_study_carries_its_own_parts_into_record_and_report(head: Head, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    base, data = save_my_base(tmp_path / "base"), save_my_data(tmp_path / "data")
    job = ["python", "tests/outside_study.py", "--storage", str(tmp_path / "runs"), "--base", base, "--data", data]
    done = head.command("ray", "job", "submit", "--address", head.address, "--working-dir", ".", "--", *job)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (record,) = find_study(str(tmp_path / "runs" / "outside")).read().records
    assert record.status is Status.DONE and record.metrics["test"]["brevity"] > 0
    parts = (("method", "kind"), ("bits", "scheme4"), ("frames", "sampler"))
    assert [record.recipe[part][field] for part, field in parts] == ["biases", "levels", "late"]
    assert record.model["text"]["quantised"] == {"levels": record.model["text"]["linear_layers"]}
    page = next(tmp_path.rglob("report.html")).read_text()
    assert all(name in page for name in ("brevity", "biases", "levels", "late"))


def test_a_submitted_study_with_bad_input_fails_with_its_line(head: Head, tmp_path: Path) -> None:
    job = ["python", "tests/small_study.py", "--storage", str(tmp_path), "--base", "random:nope"]
    done = head.command("ray", "job", "submit", "--address", head.address, "--working-dir", ".", "--", *job)
    assert done.returncode != 0
    assert "small: random base 'nope' is unknown" in done.stdout + done.stderr


def test_a_stopped_job_leaves_no_orphans_and_can_be_taken_up_again(head: Head, tmp_path: Path) -> None:
    name = f"small-{os.getpid()}"
    job = ["python", "tests/small_study.py", "--storage", str(tmp_path), "--steps", "200"]
    submit = ["ray", "job", "submit", "--address", head.address, "--submission-id", name, "--no-wait"]
    assert head.command(*submit, "--working-dir", ".", "--", *job).returncode == 0
    until(lambda: any(path.stat().st_size for path in tmp_path.rglob("state-*.bin")), 240)
    assert head.workers()
    assert head.command("ray", "job", "stop", "--address", head.address, name).returncode == 0
    until(lambda: not head.workers(), 60, head.workers)
    assert not list(tmp_path.rglob("record.json")), "a trial that was interrupted is not finished"
    assert "STOPPED" in head.command("ray", "job", "status", "--address", head.address, name).stdout.upper()
