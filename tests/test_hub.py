"""A base on a hub: its shards' headers are read and judged before any weight is fetched; one that fits loads."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from vqlora.contracts import save_base

BASE, COMMIT = "random:llava-onevision-tiny", "0" * 40
LOADS = """
from vqlora.models.load import load
from vqlora.recipe import Bits
try:
    print(load("owner/name", Bits.preset("all4"), "cpu").found["text"]["quantised"])
except ValueError as error:
    print(error)
"""


class Hub(BaseHTTPRequestHandler):
    """As much of huggingface.co as its client asks for: a listing, and files whole or in part. `asked`: what was."""

    protocol_version = "HTTP/1.1"
    folder: Path
    asked: list[tuple[str, str, str]]

    def do_GET(self) -> None:
        name = self.path.split("?")[0].rpartition("/")[2]
        self.asked.append((self.command, name, self.headers.get("Range", "")))
        if self.path.startswith("/api/models/owner/name"):
            files = sorted(self.folder.iterdir())
            tree = [{"type": "file", "path": file.name, "size": file.stat().st_size, "oid": COMMIT} for file in files]
            about = {"id": "owner/name", "sha": COMMIT, "siblings": [{"rfilename": file.name} for file in files]}
            return self.send(json.dumps(tree if "/tree/" in self.path else about).encode())
        if not (self.folder / name).is_file():
            return self.send(b"", status=404, extra={"X-Error-Code": "EntryNotFound"})
        content = (self.folder / name).read_bytes()
        return self.send(content, extra={"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT})

    do_HEAD = do_GET

    def send(self, content: bytes, *, status: int = 200, extra: dict[str, str] | None = None) -> None:
        asked = self.headers.get("Range")
        whole = len(content)
        if asked and status == 200:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            content, status = content[int(first) : int(last or whole) + 1], 206
            self.send_response(status)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(content) - 1}/{whole}")
        else:
            self.send_response(status)
        for key, value in (extra or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


def loaded_from(folder: Path, cache: Path) -> tuple[str, list[tuple[str, str, str]]]:
    """What loading it as a hub id prints, and the requests that the hub got."""
    asked: list[tuple[str, str, str]] = []
    handler: Any = type("Serving", (Hub,), {"folder": folder, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        settings = {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(cache),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", LOADS], capture_output=True, text=True, check=False, env={**os.environ, **settings}
        )
        server.shutdown()
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), asked


@pytest.mark.slow
@pytest.mark.parametrize("fits", [True, False])
def test_a_hub_s_shards_are_judged_by_their_headers(fits: bool, tmp_path: Path) -> None:
    folder = tmp_path / "repo"
    save_base(BASE, str(folder))
    if not fits:
        tensors = safetensors.torch.load_file(folder / "model.safetensors")
        tensors["model.stranger.weight"] = tensors.pop(next(name for name in tensors if "linear_1.weight" in name))
        safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    shown, asked = loaded_from(folder, tmp_path / "cache")
    whole = [one for one in asked if one[0] == "GET" and one[1] == "model.safetensors" and not one[2]]
    if fits:
        assert shown.endswith("{'nf4': 14}") and whole
    else:
        assert "the checkpoint in owner/name lacks model.multi_modal_projector.linear_1.weight" in shown
        assert not whole, "weights were fetched before the names were judged"
