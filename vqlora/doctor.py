"""`vqlora doctor`: what each machine has and lacks (`node`), and whether a cluster lets this client in."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

from vqlora.node import Finding, examine_node

TIMEOUT_SECONDS = 10.0
NODE_TIMEOUT_SECONDS = 600.0  # for a node to import everything and open a data set


def examine(
    cluster: str | None = None,
    storage: str | None = None,
    *,
    data: str | None = None,
    base: str | None = None,
    nodes: bool = False,
) -> list[Finding]:
    """This machine or, with `nodes`, each one of the Ray cluster that this machine belongs to. Takes no device."""
    findings = examine_nodes(data, base, storage) if nodes else examine_node(data, base, storage)
    if cluster is not None:
        findings.append(check_cluster(cluster))
    return findings


def examine_nodes(data: str | None, base: str | None, storage: str | None) -> list[Finding]:
    """Findings of every living node, its address before each; one that does not answer is a finding."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    try:
        ray.init(address="auto", ignore_reinit_error=True, log_to_driver=False)
    except (ConnectionError, RuntimeError) as error:
        raise ValueError(
            f"no Ray cluster on this machine ({error}); run `vqlora doctor --nodes` on a node of it"
        ) from error
    look: Any = ray.remote(num_cpus=0)(examine_node)
    findings = []
    for node in ray.nodes():
        name = node["NodeManagerAddress"]
        if not node["Alive"]:
            findings.append(Finding(state="wrong", what=f"node {name} is not alive", mend="ray status"))
            continue
        strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        try:
            answer = look.options(scheduling_strategy=strategy).remote(data, base, storage)
            found = ray.get(answer, timeout=NODE_TIMEOUT_SECONDS)
        except RayError as error:
            found = [Finding(state="wrong", what=f"does not answer: {str(error).splitlines()[0]}", mend="ray status")]
        findings += [replace(one, what=f"{name}: {one.what}") for one in found]
    return findings


def check_cluster(address: str) -> Finding:
    """Whether the job server at `address` answers this client; with the line to set where it asks for a token."""
    url = address.rstrip("/") if "://" in address else f"http://{address.rstrip('/')}"
    client = "RAY_AUTH_MODE=token is set here" if _uses_token() else "RAY_AUTH_MODE=token is not set here"
    try:
        request = urllib.request.Request(f"{url}/api/version", headers=_headers())
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return Finding(state="ok", what=f"cluster {url} answers ({answer.status}); {client}")
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return _refused(url, error.code, client)
        return Finding(
            state="wrong", what=f"cluster {url} answers {error.code}", mend="is this a Ray dashboard's address?"
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return Finding(
            state="wrong",
            what=f"cluster {url} cannot be reached ({reason})",
            mend="start it with `ray start --head`, or forward its port with `ray dashboard cluster.yaml`",
        )


def _refused(url: str, code: int, client: str) -> Finding:
    what = f"cluster {url} answers {code}: it asks for a token; {client}"
    if not _uses_token():
        return Finding(state="wrong", what=what, mend="export RAY_AUTH_MODE=token")
    return Finding(
        state="wrong",
        what=f"{what}, but the token is not this cluster's",
        mend="copy the cluster's ~/.ray/auth_token to this machine, or export RAY_AUTH_TOKEN",
    )


def _uses_token() -> bool:
    return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"


def _headers() -> dict[str, str]:
    """What Ray's own command would send: the token, if this client's mode is 'token'."""
    if not _uses_token():
        return {}
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not token and path.is_file():
        token = path.read_text().strip()
    return {"Authorization": f"Bearer {token}"} if token else {}
