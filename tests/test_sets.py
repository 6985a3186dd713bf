"""Sets by name: the embedded one written once, mixtures in their shares, wrong names refused before any work."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from pathlib import Path

import pytest

from vqlora.data.sets import default_cache, open_data
from vqlora.data.shapes import PRESETS
from vqlora.data.splits import NAMES
from vqlora.recipe import Frames
from vqlora.video.frames import FrameStore


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two processes open the same set at once in an empty cache; what they leave serves the other tests."""
    folder = tmp_path_factory.mktemp("cache")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        digests = pool.map(_open_tiny, [str(folder)] * 2)
    assert len(set(digests)) == 1
    return folder


def test_the_embedded_set_is_written_once_whoever_asks(cache: Path):
    (folder,) = (cache / "data").glob("shapes-tiny-*")
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    splits = open_data("shapes:tiny", cache)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == written
    assert not [path for path in (cache / "data").iterdir() if path.is_dir() and path != folder]
    assert {name: len(getattr(splits, name)) for name in NAMES} == PRESETS["tiny"]
    assert splits.validation == "official" and not splits.dirt


def test_embedded_clips_carry_references_ground_truth_and_frames(cache: Path, tmp_path: Path):
    splits = open_data("shapes:tiny", cache)
    store = FrameStore(tmp_path, Frames(budget=4))
    for example in (splits.train[0], splits.val[0], splits.test[-1]):
        assert len(example.references["en"]) == 5
        assert {"units", "events"} <= set(example.attributes)
        frames = store.get(example.clips[0])
        assert frames.frames.shape == (4, 112, 112, 3) and frames.decoder.startswith("pyav ")


def test_a_mixture_holds_its_parts_in_their_shares_and_is_the_same_each_time(cache: Path):
    folder = next((cache / "data").glob("shapes-tiny-*"))
    spec = f"shapes:tiny=3,msrvtt:{folder}=1"
    mixed, again = open_data(spec, cache), open_data(spec, cache)
    counts = Counter(example.id.split("/")[0] for example in mixed.train)
    assert counts == {"shapes:tiny": 36, "msrvtt": 12}
    assert set(Counter(e.id for e in mixed.train if e.id.startswith("shapes")).values()) == {1, 2}
    assert [e.id for e in mixed.train] == [e.id for e in again.train] and mixed.digest == again.digest
    assert len({example.id for example in mixed.test}) == 16
    assert mixed.name == "shapes:tiny=0.75,msrvtt=0.25"
    assert mixed.digest != open_data(f"shapes:tiny=1,msrvtt:{folder}=1", cache).digest


def test_parts_are_mixed_through_the_whole_train_split(cache: Path):
    folder = next((cache / "data").glob("shapes-tiny-*"))
    kinds = [e.id.split("/")[0] for e in open_data(f"shapes:tiny=1,msrvtt:{folder}=1", cache).train]
    assert len(set(kinds[:12])) == len(set(kinds[-12:])) == 2


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "coco:small",
            r"'coco' in 'coco:small' is unknown; known: activitynet.*, lsmdc, .*shapes.*vqlora\.data\.sets\.READERS",
        ),
        ("", "unknown; known: activitynet"),
        ("twin:lsmdc-huge", "twin 'lsmdc-huge' is unknown; give a set and a size, as in 'twin:lsmdc-tiny'"),
        ("twin:coco-tiny", "sets: activitynet"),
        ("shapes:huge", r"preset 'huge' is unknown; use one of \('shapes:tiny'"),
        ("msrvtt", "needs a folder, as in"),
        ("msrvtt:/none/such", "/none/such: no such folder"),
        ("shapes:full=.5,msrvtt:/none/such=.5", "/none/such: no such folder"),
        ("shapes:tiny=.5,shapes:small", "every part needs a weight > 0"),
        ("shapes:tiny=.5,shapes:small=0", "every part needs a weight > 0"),
        ("shapes:tiny=.5,shapes:small=nan", "every part needs a weight > 0"),
        ("shapes:tiny=.5,", "every part needs a weight > 0"),
        ("shapes:tiny=1,shapes:tiny=2", "names a set twice"),
    ],
)
def test_a_wrong_name_is_refused_in_one_line_and_nothing_is_written(tmp_path: Path, spec: str, message: str):
    with pytest.raises(ValueError, match=message) as caught:
        open_data(spec, tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_names_the_variable_to_set(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="set VQLORA_CACHE"):
        open_data("shapes:tiny", tmp_path / "file")


def test_the_cache_is_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("VQLORA_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("VQLORA_CACHE")
    monkeypatch.setenv("HOME", "/somebody")
    assert default_cache() == Path("/somebody/.cache/vqlora")


def _open_tiny(cache: str) -> str:
    return open_data("shapes:tiny", Path(cache)).digest
