"""Hostile annotations of every reader, and hostile results of other systems for `vqlora score`."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import pickle
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_mutate import changed_bytes, changed_json, changed_text, json_bytes

from vqlora.data.layouts import LAYOUTS, main_file
from vqlora.data.sets import READERS
from vqlora.data.shapes import draw_scenes
from vqlora.metrics.command import score_command

READ = (".json", ".jsonl", ".csv", ".txt", ".npy")
EVENTS = {"v1": {"timestamps": [[0, 1.5], [2, 3]], "sentences": ["a dog runs", "it stops"]}}
VALID: dict[str, tuple[Any, Any]] = {
    "captioning": (
        {"images": [{"id": 1}], "annotations": [{"image_id": 1, "caption": "a dog runs"}]},
        [{"image_id": 1, "caption": "a dog"}],
    ),
    "translation": ({"1": ["a dog runs"]}, {"1": "a dog"}),
    "qa": ({"1": {"answer": 1, "options": ["yes", "no"], "type": "y"}, "2": "red"}, {"1": "B", "2": "red"}),
    "dense": (EVENTS, {"results": {"v1": [{"sentence": "a dog", "timestamp": [0, 2]}]}}),
    "moments": ({"1": [0, 2.5]}, {"1": [[0, 2], [1, 3]]}),
}


class Canary:
    """A pickle of it would make the file, if anybody ran it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.file),)


class Annotations:
    """A data set with one file changed; whatever is read, no clip lies outside the set's folder."""

    name = "annotations"

    def __init__(self, scratch: Path) -> None:
        self.canary = scratch / "canary"
        self.folders: dict[object, Path] = {}
        for layout in dict.fromkeys(LAYOUTS.values()):
            self.folders[layout] = scratch / layout.__name__
            self.folders[layout].mkdir()
            layout(self.folders[layout], draw_scenes({"train": 2, "val": 2, "test": 2}))

    def one(self, rng: random.Random) -> str:
        """'skipped' where the reader counted something it left out."""
        name = rng.choice(sorted(READERS))
        folder = self.folders[LAYOUTS[name]]
        file = rng.choice(sorted(path for path in folder.rglob("*") if path.suffix in READ))
        whole, link = file.read_bytes(), folder / "link"
        try:
            self._change(rng, file, whole)
            if rng.random() < 0.1:
                link.symlink_to(rng.choice((".", "..", "/", "/etc", "link", str(folder))))
            found = READERS[name](main_file(name, folder))
        finally:
            for made in (link, folder / "raw-captions.pkl", folder / "kept.txt"):
                made.unlink(missing_ok=True)
            file.unlink(missing_ok=True)
            file.write_bytes(whole)
            assert not self.canary.exists(), f"{name} ran code of {file.name}"
        examples = (*found.train, *found.val, *found.test)
        for clip in (clip for example in examples for clip in example.clips):
            inside = "://" in clip.path or Path(os.path.realpath(clip.path)).is_relative_to(folder.resolve())
            assert inside and not clip.path.startswith("s3://"), f"{name} reads {clip.path}"
        absent = sum(one.listed - one.present for one in found.coverage.values())
        return "skipped" if found.dirt or absent else "accepted"

    def _change(self, rng: random.Random, file: Path, whole: bytes) -> None:
        if rng.random() < 0.03:
            file.unlink()
            file.symlink_to(rng.choice(("/etc/passwd", "/dev/zero", "/none", file.name, "..")))
        elif file.name == "AllVideoDescriptions.txt" and rng.random() < 0.5:
            file.rename(file.with_name("kept.txt"))
            told = pickle.dumps({"-train_0000_5_15": [["a", "dog"]]})
            pickled = pickle.dumps(Canary(self.canary)) if rng.random() < 0.5 else changed_bytes(rng, told)
            file.with_name("raw-captions.pkl").write_bytes(pickled)
        elif file.suffix == ".json" and rng.random() < 0.8:
            file.write_bytes(json_bytes(rng, changed_json(rng, json.loads(whole))))
        elif file.suffix == ".jsonl" and rng.random() < 0.8:
            lines = whole.splitlines()
            place = rng.randrange(len(lines))
            lines[place] = json_bytes(rng, changed_json(rng, json.loads(lines[place])))
            file.write_bytes(b"\n".join(lines))
        elif file.suffix == ".npy":
            file.write_bytes(changed_bytes(rng, whole))
        else:
            file.write_bytes(changed_text(rng, whole))


class Predictions:
    """References and predictions, one or both changed; scores that come out are finite."""

    name = "predictions"

    def __init__(self, scratch: Path) -> None:
        self.scratch, self.canary = scratch, scratch / "canary"

    def one(self, rng: random.Random) -> str:
        """A refusal is one line on stderr and the exit status 2, which is raised here again as ValueError."""
        words = self._matrix(rng) if rng.random() < 0.2 else self._texts(rng)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = score_command([*words, "--json"])
        assert not self.canary.exists(), "ran code"
        if status:
            line = err.getvalue()
            assert status == 2 and not out.getvalue() and line.count("\n") == 1, line
            raise ValueError(line.strip())
        result = json.loads(out.getvalue().splitlines()[-1])
        assert all(map(math.isfinite, _numbers(result))), result
        return "skipped" if result.get("missing") or result.get("unknown") else "accepted"

    def _texts(self, rng: random.Random) -> list[str]:
        task = rng.choice(sorted(VALID))
        files = []
        for name, plain in zip(("references", "predictions"), VALID[task], strict=True):
            file = self.scratch / f"{name}.json"
            content = json_bytes(rng, changed_json(rng, plain) if rng.random() < 0.7 else plain)
            file.write_bytes(changed_bytes(rng, content) if rng.random() < 0.1 else content)
            files += [f"--{name}", str(file)]
        return ["--task", task, *files, *rng.choice(([], ["--allow-mismatch"]))]

    def _matrix(self, rng: random.Random) -> list[str]:
        file = self.scratch / "similarity.npy"
        matrix = np.eye(3, 4) * rng.choice((1, 1e300, math.nan, math.inf))
        np.save(file, matrix.astype(rng.choice(("f8", "f4", "i2", "c8", "S3"))))
        if rng.random() < 0.2:
            file.write_bytes(np.lib.format.MAGIC_PREFIX + b"\x01\0" + pickle.dumps(Canary(self.canary)))
        elif rng.random() < 0.2:
            np.save(file, np.array([[Canary(self.canary)]]), allow_pickle=True)
        elif rng.random() < 0.8:
            file.write_bytes(changed_bytes(rng, file.read_bytes()))
        words = ["--task", "retrieval", "--similarity", str(file)]
        if rng.random() < 0.5:
            (self.scratch / "queries.json").write_bytes(json_bytes(rng, changed_json(rng, [0, 1, 2])))
            words += ["--query-video", str(self.scratch / "queries.json")]
        return words


def _numbers(result: Any) -> list[float]:
    if isinstance(result, Mapping):
        return [number for value in result.values() for number in _numbers(value)]
    if isinstance(result, list):
        return [number for value in result for number in _numbers(value)]
    return [float(result)] if isinstance(result, int | float) else []
