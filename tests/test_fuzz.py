"""Any input at all: readers and scorers end in a result or in one line that says what is wrong, never a traceback."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vqlora.data.layouts import LAYOUTS, main_file
from vqlora.data.sets import READERS
from vqlora.data.shapes import draw_scenes
from vqlora.metrics.command import score_command
from vqlora.metrics.qa import chosen_option
from vqlora.metrics.retrieval import score_retrieval

QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
IDS = st.sampled_from(["1", "2", "v_a", ""])
# Nearly right files: the right keys with anything in them.
NEARLY: dict[str, tuple[Any, Any]] = {
    "captioning": (
        st.dictionaries(IDS, st.lists(st.text(max_size=12) | PLAIN, max_size=3), max_size=3),
        st.dictionaries(IDS, st.text(max_size=12) | PLAIN, max_size=3)
        | st.lists(
            st.fixed_dictionaries({"image_id": IDS | PLAIN, "caption": st.text(max_size=9) | PLAIN}), max_size=3
        ),
    ),
    "qa": (
        st.dictionaries(
            IDS,
            PLAIN
            | st.fixed_dictionaries(
                {"answer": PLAIN | st.integers(-2, 4)},
                optional={"type": PLAIN, "options": st.lists(st.text(max_size=3) | PLAIN, max_size=4)},
            ),
            max_size=3,
        ),
        st.dictionaries(IDS, PLAIN | st.integers(-2, 4) | st.text(max_size=4), max_size=3),
    ),
    "dense": (
        st.dictionaries(
            IDS,
            st.fixed_dictionaries(
                {
                    "timestamps": st.lists(
                        st.lists(st.floats() | st.integers(), min_size=2, max_size=2) | PLAIN, max_size=2
                    ),
                    "sentences": st.lists(st.text(max_size=9) | PLAIN, max_size=2),
                }
            ),
            max_size=2,
        ),
        st.fixed_dictionaries(
            {
                "results": st.dictionaries(
                    IDS,
                    st.lists(
                        st.fixed_dictionaries(
                            {
                                "sentence": st.text(max_size=9) | PLAIN,
                                "timestamp": st.lists(st.floats(-9, 99), min_size=2, max_size=2) | PLAIN,
                            }
                        ),
                        max_size=2,
                    ),
                    max_size=2,
                )
            }
        )
        | PLAIN,
    ),
    "moments": (
        st.dictionaries(IDS, st.lists(st.floats() | st.integers(), max_size=3) | PLAIN, max_size=3),
        st.dictionaries(IDS, st.lists(st.lists(st.floats(), max_size=3), max_size=3) | PLAIN, max_size=3),
    ),
}


def score(words: list[str]) -> dict[str, Any] | None:
    """The scores, or None with one line that says why not."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = score_command([*words, "--json"])
    if status:
        assert status == 2 and out.getvalue() == "" and err.getvalue().count("\n") == 1, err.getvalue()
        return None
    return json.loads(out.getvalue().splitlines()[-1])


def numbers(result: Any) -> list[float]:
    if isinstance(result, Mapping):
        return [number for value in result.values() for number in numbers(value)]
    if isinstance(result, list):
        return [number for value in result for number in numbers(value)]
    return [float(result)] if isinstance(result, int | float) else []


def write(folder: Path, references: bytes, predictions: bytes) -> list[str]:
    (folder / "r.json").write_bytes(references)
    (folder / "p.json").write_bytes(predictions)
    return ["--references", str(folder / "r.json"), "--predictions", str(folder / "p.json")]


@pytest.mark.parametrize("task", sorted(NEARLY))
@QUICK
@given(data=st.data(), allow=st.booleans())
def test_nearly_right_files_give_finite_scores_or_one_line(tmp_path: Path, task: str, data: Any, allow: bool) -> None:
    references, predictions = (data.draw(form) for form in NEARLY[task])
    files = write(tmp_path, json.dumps(references).encode(), json.dumps(predictions).encode())
    result = score(["--task", task, *files, *(["--allow-mismatch"] if allow else [])])
    if result is not None:
        assert all(math.isfinite(number) for number in numbers(result)) and result["count"] == len(references)


@pytest.mark.parametrize("task", sorted(NEARLY))
@QUICK
@given(
    references=st.binary(max_size=60), predictions=st.binary(max_size=60) | PLAIN.map(lambda p: json.dumps(p).encode())
)
def test_any_bytes_at_all_give_one_line(tmp_path: Path, task: str, references: bytes, predictions: bytes) -> None:
    score(["--task", task, *write(tmp_path, references, predictions)])


@QUICK
@given(data=st.binary(max_size=200), header=st.sampled_from([b"", b"\x93NUMPY\x01\x00v\x00", b"PK\x03\x04"]))
def test_any_bytes_as_a_matrix_give_one_line(tmp_path: Path, data: bytes, header: bytes) -> None:
    (tmp_path / "s.npy").write_bytes(header + data)
    score(["--task", "retrieval", "--similarity", str(tmp_path / "s.npy")])


@QUICK
@given(data=st.data())
def test_ranks_follow_the_rule_whatever_the_matrix(data: Any) -> None:
    queries, videos = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    cells = st.lists(st.integers(-2, 2), min_size=queries * videos, max_size=queries * videos)
    matrix = np.array(data.draw(cells), dtype=float).reshape(queries, videos)
    owners = data.draw(st.lists(st.integers(0, videos - 1), min_size=queries, max_size=queries))
    found = score_retrieval(matrix, owners)
    for query, owner in enumerate(owners):
        others = [matrix[query, other] for other in range(videos) if other != owner]
        assert found["t2v"].ranks[query] == 1 + sum(other >= matrix[query, owner] for other in others)


@QUICK
@given(
    text=st.text(max_size=30), options=st.lists(st.text(min_size=1, max_size=5), min_size=2, max_size=5, unique=True)
)
def test_an_option_is_one_of_them_or_none(text: str, options: list[str]) -> None:
    chosen = chosen_option(text, options)
    assert chosen is None or 0 <= chosen < len(options)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[object, Path]:
    """Each layout once, its videos emptied: a reader of annotations never opens one."""
    found: dict[object, Path] = {}
    root = tmp_path_factory.mktemp("fuzzed")
    for layout in dict.fromkeys(LAYOUTS.values()):
        found[layout] = root / layout.__name__
        found[layout].mkdir()
        layout(found[layout], draw_scenes({"train": 2, "val": 2, "test": 2}))
    return found


@pytest.mark.parametrize("name", sorted(READERS))
@settings(parent=QUICK, max_examples=25)
@given(data=st.data())
def test_a_reader_of_changed_files_reads_them_or_names_what_is_wrong(
    folders: dict[object, Path], name: str, data: Any
) -> None:
    folder = folders[LAYOUTS[name]]
    files = sorted(file for file in folder.rglob("*") if file.suffix in (".json", ".jsonl", ".csv", ".txt", ".npy"))
    file = data.draw(st.sampled_from(files))
    whole = file.read_bytes()
    try:
        file.write_bytes(_changed(whole, file.suffix, data))
        splits = READERS[name](main_file(name, folder))
    except ValueError as error:
        assert "\n" not in str(error) and str(error)
    else:
        assert splits.train and splits.test
    finally:
        file.write_bytes(whole)


def _changed(whole: bytes, suffix: str, data: Any) -> bytes:
    """The file with one value replaced where it is JSON, or with some bytes replaced."""
    if suffix == ".json" and data.draw(st.booleans()):
        plain = json.loads(whole)
        return json.dumps(_with_one_replaced(plain, data)).encode()
    place = data.draw(st.integers(0, len(whole)))
    cut = data.draw(st.integers(0, 20))
    return whole[:place] + data.draw(st.binary(max_size=12)) + whole[place + cut :]


def _with_one_replaced(plain: Any, data: Any) -> Any:
    keys = list(plain) if isinstance(plain, dict) else list(range(len(plain))) if isinstance(plain, list) else []
    if not keys or data.draw(st.integers(0, 4)) == 0:
        return data.draw(PLAIN)
    key = data.draw(st.sampled_from(keys))
    changed = dict(plain) if isinstance(plain, dict) else list(plain)
    changed[key] = _with_one_replaced(plain[key], data)
    return changed
