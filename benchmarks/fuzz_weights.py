"""Hostile weights: adapters and bases of others, their headers, settings and tokenizers changed. None of it runs."""

from __future__ import annotations

import json
import random
import shutil
import struct
from pathlib import Path
from typing import Any

import torch
from fuzz_files import Canary
from fuzz_mutate import FIELDS, TEXTS, changed_bytes, changed_json, json_bytes

from vqlora.adapters import attach
from vqlora.models.load import load
from vqlora.recipe import Bits, Lora

BASE, BITS = "random:videollama3-tiny", Bits.preset("all16")
CODE = "import pathlib\npathlib.Path({!r}).mkdir()\n"


def _header_changed(rng: random.Random, raw: bytes) -> bytes:
    """A safetensors file whose header says something else of the same data."""
    size = int.from_bytes(raw[:8], "little")
    plain: Any = json.loads(raw[8 : 8 + size])
    kind = rng.randrange(5)
    names = [name for name in plain if name != "__metadata__"]
    if kind == 0:
        plain = changed_json(rng, plain)
    elif kind == 1:
        plain[rng.choice(names)]["shape"] = rng.choice(([2**31, 2**31], [0], [], [-1], [2**63], [1]))
    elif kind == 2:
        plain[rng.choice(names)]["dtype"] = rng.choice(("F64", "BOOL", "I8", "F8_E4M3", "PICKLE", ""))
    elif kind == 3:
        plain[rng.choice(names)]["data_offsets"] = rng.choice(([0, 2**40], [-1, 1], [4, 0], [0, 0], [0]))
    else:
        plain[rng.choice(TEXTS)] = plain.pop(rng.choice(names))
    header = json_bytes(rng, plain)
    said = rng.choice(FIELDS) if rng.random() < 0.1 else len(header)
    return struct.pack("<Q", said) + header + raw[8 + size :]


class Adapters:
    """An adapter's file, loaded onto its base."""

    name = "adapters"

    def __init__(self, scratch: Path) -> None:
        self.canary = scratch / "canary"
        self.adapted = attach(load(BASE, BITS, "cpu"), Lora(rank={"text": 2}), seed=0)
        self.whole = self.adapted.to_bytes()

    def one(self, rng: random.Random) -> str:
        """Only a file with every tensor in its shape is taken."""
        kind = rng.randrange(10)
        if kind == 0:
            self.canary.with_name("p").unlink(missing_ok=True)
            torch.save(Canary(self.canary), self.canary.with_name("p"))
            content = self.canary.with_name("p").read_bytes()
        else:
            content = _header_changed(rng, self.whole) if kind < 7 else changed_bytes(rng, self.whole)
        before = {name: tuple(value.shape) for name, value in self.adapted.state().items()}
        try:
            self.adapted.load_bytes(content)
        finally:
            assert not self.canary.exists(), "ran code"
            assert {name: tuple(value.shape) for name, value in self.adapted.state().items()} == before
        return "accepted"


class Bases:
    """A base's folder with one file changed, or with code and pickles beside its weights."""

    name = "bases"

    def __init__(self, scratch: Path) -> None:
        self.folder, self.canary = scratch / "base", scratch / "canary"
        loaded = load(BASE, BITS, "cpu")
        loaded.model.save_pretrained(self.folder)
        loaded.processor.save_pretrained(self.folder)
        self.files = {file.name: file.read_bytes() for file in self.folder.iterdir()}

    def one(self, rng: random.Random) -> str:
        """Loads it, weights and processor."""
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        for name, raw in self.files.items():
            (self.folder / name).write_bytes(raw)
        name = rng.choice(sorted(self.files))
        raw, kind = self.files[name], rng.randrange(12)
        if kind == 0:
            self._plant(rng)
        elif kind == 1:
            (self.folder / name).unlink()
        elif name.endswith(".safetensors"):
            (self.folder / name).write_bytes(_header_changed(rng, raw) if kind < 8 else changed_bytes(rng, raw))
        elif name.endswith(".json") and kind < 10:
            (self.folder / name).write_bytes(json_bytes(rng, changed_json(rng, json.loads(raw))))
        else:
            (self.folder / name).write_bytes(changed_bytes(rng, raw))
        try:
            load(str(self.folder), BITS, "cpu")
        finally:
            assert not self.canary.exists(), "ran code"
        return "accepted"

    def _plant(self, rng: random.Random) -> None:
        """Code that transformers would run if it were trusted, and a pickle that torch.load would."""
        (self.folder / "evil.py").write_text(CODE.format(str(self.canary)))
        torch.save(Canary(self.canary), self.folder / "pytorch_model.bin")
        for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
            if name in self.files:
                plain = json.loads(self.files[name])
                evil = {f"Auto{kind}": "evil.A" for kind in ("Config", "Model", "Processor", "Tokenizer")}
                (self.folder / name).write_text(json.dumps({**plain, "auto_map": evil}))
        if rng.random() < 0.5:
            for file in self.folder.glob("*.safetensors"):
                file.unlink()
