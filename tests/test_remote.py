"""Sets in a bucket, on a real S3 server: read like local ones, each clip fetched once, the cache bounded."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from vqlora.data.layouts import LAYOUTS, main_file
from vqlora.data.sets import open_data
from vqlora.data.shapes import draw_scenes
from vqlora.recipe import Frames
from vqlora.storage import open_place
from vqlora.video.decode import DecodeError
from vqlora.video.frames import FrameStore

COUNTS = {"train": 3, "val": 2, "test": 2}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lsmdc")
    LAYOUTS["lsmdc"](folder, draw_scenes(COUNTS))
    return folder


@pytest.fixture(scope="module")
def bucket(s3: str, local: Path) -> str:
    """The address of the same set in a bucket."""
    place = open_place(s3.replace("/studies", "/sets")).inside("lsmdc")
    for file in local.rglob("*"):
        if file.is_file():
            place.write(str(file.relative_to(local)), file.read_bytes())
    return place.url


def fetched(cache: Path) -> list[Path]:
    return sorted(path for path in (cache / "clips").glob("*/*") if path.is_file())


def test_a_set_in_a_bucket_is_the_set_itself(bucket: str, local: Path, tmp_path: Path) -> None:
    there, here = open_data(f"lsmdc:{bucket}", tmp_path), open_data(f"lsmdc:{local}", tmp_path)
    assert there.digest == here.digest and there.dirt == here.dirt
    assert {name: (c.listed, c.present) for name, c in there.coverage.items()} == {
        "train": (3, 3),
        "val": (2, 2),
        "test": (2, 2),
    }
    assert not fetched(tmp_path)  # annotations alone


@pytest.mark.parametrize("name", ["llava", "table"])
def test_what_a_users_own_file_names_is_found_in_the_bucket(name: str, s3: str, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    LAYOUTS[name](folder, draw_scenes(COUNTS))
    place = open_place(s3.replace("/studies", "/own")).inside(name)
    for file in folder.rglob("*"):
        if file.is_file():
            place.write(str(file.relative_to(folder)), file.read_bytes())
    address, mark, options = place.url.partition("?")
    url = f"{address}/table.json{mark}{options}" if name == "table" else place.url
    there, here = open_data(f"{name}:{url}", tmp_path), open_data(f"{name}:{main_file(name, folder)}", tmp_path)
    assert there.digest == here.digest and there.coverage == here.coverage
    assert len(FrameStore(tmp_path, Frames(budget=2)).get(there.test[0].clips[0]).frames) == 2


def test_a_clip_is_fetched_when_it_is_wanted_and_only_once(bucket: str, local: Path, tmp_path: Path) -> None:
    clip = open_data(f"lsmdc:{bucket}", tmp_path).test[0].clips[0]
    frames = FrameStore(tmp_path, Frames(budget=2)).get(clip)
    (copy,) = fetched(tmp_path)
    written = copy.stat().st_ino
    again = FrameStore(tmp_path, Frames(budget=4)).get(clip)
    assert fetched(tmp_path) == [copy] and copy.stat().st_ino == written
    original = next(file for file in local.rglob("*.avi") if file.name == copy.name)
    assert copy.read_bytes() == original.read_bytes() and len(again.frames) == 4 and len(frames.frames) == 2


def test_many_processes_fetch_a_clip_once_each_seeing_it_whole(bucket: str, tmp_path: Path) -> None:
    clip = open_data(f"lsmdc:{bucket}", tmp_path).test[1].clips[0]
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        sums = pool.starmap(_sum, [(str(tmp_path), clip.path)] * 3)
    assert len(set(sums)) == 1 and len(fetched(tmp_path)) == 1


def test_the_cache_of_clips_keeps_to_its_bound(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = open_data(f"lsmdc:{bucket}", tmp_path)
    monkeypatch.setenv("VQLORA_CLIP_CACHE_GIB", str(1.5e5 / 2**30))
    store = FrameStore(tmp_path, Frames(budget=2))
    for example in (*splits.train, *splits.test):
        store.get(example.clips[0])
    kept = fetched(tmp_path)
    assert 1 <= len(kept) < 5
    assert sum(path.stat().st_size for path in kept) <= 1.5e5 or len(kept) == 1
    assert len(store.get(splits.train[0].clips[0]).frames) == 2  # its frames stay: nothing is fetched again
    assert fetched(tmp_path) == kept


def test_what_is_not_there_is_named(bucket: str, s3: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"s3://bucket/none: holds nothing"):
        open_data(f"lsmdc:{s3.replace('/studies', '/none')}", tmp_path)
    clip = open_data(f"lsmdc:{bucket}", tmp_path).test[0].clips[0]
    gone = type(clip)(path=clip.path.replace(".avi", "x.avi"))
    with pytest.raises(DecodeError, match="no such object in the bucket"):
        FrameStore(tmp_path, Frames(budget=2)).get(gone)


def _sum(cache: str, path: str) -> int:
    from vqlora.data.example import Clip

    return int(FrameStore(Path(cache), Frames(budget=2)).get(Clip(path=path)).frames.sum())
