"""Sharded checkpoints: straight to 4 bit without a copy in memory, and refused by name where they don't fit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from trials import BASES, recipe

from vqlora.finetune import check_recipe
from vqlora.models.checkpoint import INDEX, open_checkpoint
from vqlora.models.load import load, meta_model, model_type_of
from vqlora.recipe import Bits

WIDE = """
import sys, torch
from transformers import VideoLlama3ForConditionalGeneration
from vqlora.models.skeletons import skeleton
model, processor = skeleton("videollama3-tiny")
config = model.config
config.text_config.update({"hidden_size": 1024, "intermediate_size": 4096})
config.text_config.update({"num_hidden_layers": 16, "layer_types": 16 * ["full_attention"]})
torch.set_default_dtype(torch.bfloat16)
VideoLlama3ForConditionalGeneration(config).save_pretrained(sys.argv[1], max_shard_size="64MB")
processor.save_pretrained(sys.argv[1])
"""
# The peak of the process's memory while it loads, over what it held before (Linux: clear_refs 5 resets the peak).
LOADS = """
import sys
from pathlib import Path
from vqlora.models.load import load
from vqlora.recipe import Bits
import bitsandbytes, transformers.models.video_llama_3
load("random:videollama3-tiny", Bits.preset("all4"), "cpu")
def now(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])
Path("/proc/self/clear_refs").write_text("5")
before = now("VmRSS")
loaded = load(sys.argv[1], Bits.preset(sys.argv[2]), "cpu")
print(now("VmHWM") - before, sum(role["bytes"] for role in loaded.found.values()))
"""


def python(code: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Video-LLaMA of 270 million parameters in bf16 shards."""
    folder = tmp_path_factory.mktemp("wide")
    python(WIDE, str(folder))
    return folder


@pytest.mark.slow
def test_a_sharded_checkpoint_loads_to_4_bit_without_a_copy_of_it_in_memory(wide: Path) -> None:
    shards = list(wide.glob("*.safetensors"))
    stored = sum(file.stat().st_size for file in shards)
    assert len(shards) >= 4 and stored > 500e6
    peak, base_bytes = map(int, python(LOADS, str(wide), "all4").split())
    largest = 4096 * 1024 * 4  # one layer as fp32, as the CPU's dtype has it
    assert base_bytes < 0.4 * stored
    shard = max(file.stat().st_size for file in shards)
    assert peak < base_bytes + shard + 6 * largest, "one shard mapped and a few layers, beyond what stays"
    assert peak < 0.7 * stored


def shards(folder: Path) -> dict[str, Any]:
    """A tiny base saved in shards; gives its index."""
    loaded = load(BASES[0], Bits.preset("all16"), "cpu")
    loaded.model.save_pretrained(folder, max_shard_size="100KB")
    loaded.processor.save_pretrained(folder)
    return json.loads((folder / INDEX).read_text())["weight_map"]


def test_every_shard_is_read_and_the_weights_are_those_saved(tmp_path: Path) -> None:
    index = shards(tmp_path)
    assert len(set(index.values())) > 1 and set(open_checkpoint(tmp_path).file_of) == set(index)
    first, again = (load(base, Bits.preset("all4"), "cpu").model.state_dict() for base in (BASES[0], str(tmp_path)))
    assert all(torch.equal(value, again[name]) for name, value in first.items() if isinstance(value, torch.Tensor))


def without_a_layer(folder: Path, index: dict[str, str]) -> None:
    name = "model.projector.readout.0.weight"
    change(folder, index[name], lambda tensors: tensors.pop(name))


def with_another_name(folder: Path, index: dict[str, str]) -> None:
    name = "lm_head.weight"
    change(folder, index[name], lambda tensors: tensors.update({"head.weight": tensors[name] + 0}))


def with_another_shape(folder: Path, index: dict[str, str]) -> None:
    name = "model.language_model.norm.weight"
    change(folder, index[name], lambda tensors: tensors.update({name: torch.zeros(65)}))


def without_a_shard(folder: Path, index: dict[str, str]) -> None:
    (folder / index["lm_head.weight"]).unlink()


def cut_short(folder: Path, index: dict[str, str]) -> None:
    file = folder / index["lm_head.weight"]
    file.write_bytes(file.read_bytes()[:-100])


def change(folder: Path, shard: str, edit: Any) -> None:
    tensors = safetensors.torch.load_file(folder / shard)
    edit(tensors)
    safetensors.torch.save_file(tensors, folder / shard, {"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (without_a_layer, r"lacks model\.projector\.readout\.0\.weight for its VideoLlama3ForConditionalGeneration"),
        (with_another_name, r"has unknown head\.weight"),
        (with_another_shape, r"other shapes of model\.language_model\.norm\.weight \[65\], which should be \[64\]"),
        (without_a_shard, r"model-0000\d-of-0000\d\.safetensors is missing, 1 of \d shards"),
        (cut_short, r"model-0000\d-of-0000\d\.safetensors does not read"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name_before_a_device_is_taken(
    damage: Any, expected: str, tmp_path: Path
) -> None:
    damage(tmp_path, shards(tmp_path))
    with pytest.raises(ValueError, match=expected) as caught:
        check_recipe(recipe(str(tmp_path)))
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_family_is_refused(tmp_path: Path) -> None:
    shards(tmp_path)
    other = load(BASES[1], Bits.preset("all16"), "cpu")
    other.model.config.save_pretrained(tmp_path)
    assert model_type_of(str(tmp_path)) == "idefics" and meta_model(str(tmp_path))
    with pytest.raises(ValueError, match=r"lacks model\.embed_tokens\.weight, .* and .* more for its Idefics"):
        check_recipe(recipe(str(tmp_path)))


HUB = """
import sys
from vqlora.models.load import model_type_of
try:
    model_type_of("owner/name")
except ValueError as error:
    print(error)
"""


class Refusing(BaseHTTPRequestHandler):
    """A hub that refuses everything, as huggingface.co does: the reason stands in a header."""

    reason = ""

    def do_GET(self) -> None:
        self.send_response(403 if self.reason == "GatedRepo" else 401)
        self.send_header("X-Error-Code", self.reason)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("GatedRepo", r"is gated on the hub: accept its terms at http://\S+/owner/name .* set HF_TOKEN"),
        ("RepoNotFound", r"no such model, .* set HF_TOKEN"),
        ("", r"could not be fetched from the hub.*`hf download .* HF_HOME"),
    ],
)
def test_what_the_hub_refuses_says_what_to_set(reason: str, expected: str, tmp_path: Path) -> None:
    handler = type("Handler", (Refusing,), {"reason": reason})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port if reason else 9  # nobody listens there
        settings = {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", HUB], capture_output=True, text=True, check=False, env={**os.environ, **settings}
        )
        server.shutdown()
    assert re.search(expected, done.stdout), done.stdout + done.stderr
    assert done.stdout.count("\n") == 1


def test_an_offline_hub_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"HF_HUB_OFFLINE is set, .* unset it, or `hf download owner/name"):
        model_type_of("owner/name")
