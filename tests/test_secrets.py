"""Who may come in, and what goes out: servers on the loopback address behind a token, secrets in no file."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SECRETS = {
    "HF_TOKEN": "hf_PLANTEDplantedPLANTED",
    "AWS_ACCESS_KEY_ID": "AKIAPLANTEDPLANTED",
    "AWS_SECRET_ACCESS_KEY": "planted/secret/PLANTED+planted",
    "WANDB_API_KEY": "planted0123456789planted",
}
# A study on a Ray of its own; what listens, and what an unknown client is told, is printed as the last line.
STUDY = """
import json, sys, urllib.error, urllib.request
import psutil, ray
from vqlora.launch import run
from vqlora.options import Runtime
from vqlora.tuning import ray_connection
from small_study import small_study

def status(url):
    try:
        return urllib.request.urlopen(url, timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code

with ray_connection(Runtime()):
    ended = run(small_study(steps=2), ["--storage", sys.argv[1], "--seeds", "1"], Runtime())
    url = "http://" + ray._private.worker.global_worker.node.webui_url
    answers = {path: status(url + path) for path in ("/api/version", "/api/jobs/", "/nodes?view=summary", "/logs")}
    session = ray._private.worker.global_worker.node.get_session_dir_path()
    open_ports = []
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        try:
            found = [one.laddr for one in process.net_connections(kind="tcp") if one.status == psutil.CONN_LISTEN]
        except psutil.Error:
            continue
        open_ports += [(process.name(), place.ip, place.port) for place in found]
print(json.dumps({"ended": ended, "answers": answers, "url": url, "ports": open_ports, "session": session}))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """A whole study with secrets in its environment and in a .env of its working directory; what it said and left."""
    home = tmp_path_factory.mktemp("study")
    (home / ".env").write_text("".join(f"{name}={value}\n" for name, value in SECRETS.items()))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {**kept, **SECRETS, "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    environment["RAY_raylet_start_wait_time_s"] = "120"  # on a machine that does much else
    environment |= {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, "-W", "ignore", "-c", STUDY, str(home / "runs")]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["ended"] == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return {**last, "home": home, "said": done.stdout + done.stderr}


@pytest.mark.slow
def test_no_secret_is_in_records_reports_or_what_a_study_prints(told: dict[str, object]) -> None:
    home = Path(str(told["home"]))
    files = [path for path in (home / "runs").rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"record.json", "study.json", "report.html", "examples.jsonl.gz", "README.md"} <= names
    assert not secrets_in(str(told["said"]).encode())
    for path in files:
        assert not secrets_in(path.read_bytes()), path


@pytest.mark.slow
def test_no_secret_is_in_the_logs_of_the_cluster(told: dict[str, object]) -> None:
    logs = [path for path in Path(str(told["session"])).rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in logs)
    for path in logs:
        assert not secrets_in(path.read_bytes()), path


@pytest.mark.slow
def test_the_dashboard_and_the_job_server_listen_on_loopback_and_ask_for_a_token(told: dict[str, object]) -> None:
    assert str(told["url"]).startswith("http://127.0.0.1:")
    assert told["answers"] == dict.fromkeys(("/api/version", "/api/jobs/", "/nodes?view=summary", "/logs"), 401)
    ports = told["ports"]
    assert isinstance(ports, list) and ports


def test_what_a_job_takes_along_holds_no_hidden_file_and_no_key(tmp_path: Path) -> None:
    from ray._private.runtime_env.packaging import create_package

    tree = tmp_path / "tree"
    for name in (".rayignore", ".gitignore"):
        (tree / "studies").mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes((ROOT / name).read_bytes())
    (tree / "studies" / "rank_bits.py").write_text("print()\n")
    hidden = (".env", ".env.local", "studies/.env", ".netrc", ".aws/credentials", "studies/.ssh/id")
    for name in (*hidden, "a.pem", "studies/b.key"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("\n".join(SECRETS.values()))
    create_package(str(tree), tmp_path / "package.zip", include_gitignore=True)
    with zipfile.ZipFile(tmp_path / "package.zip") as package:
        assert "studies/rank_bits.py" in package.namelist()
        assert not [name for name in package.namelist() if secrets_in(package.read(name))]


def secrets_in(content: bytes) -> list[str]:
    """Names of the planted secrets in a file's bytes, unpacked if it is packed."""
    plain = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    return [name for name, value in SECRETS.items() if value.encode() in plain]
