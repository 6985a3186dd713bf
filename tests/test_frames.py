"""The frame store: what comes out, what is decoded again, broken entries, many writers, the share of skips."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from video_files import cut, pictures, write_video

from vqlora.data.example import Clip, Example
from vqlora.recipe import Frames
from vqlora.video.decode import DecodeError, probe, read_frames
from vqlora.video.frames import FrameStore, TooManySkipped, clips_digest, readable, resize

FRAMES = Frames(budget=4, size=56)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("videos") / "clip.mp4")


def clip_of(path: Path) -> Clip:
    return Clip(path=str(path))


def example_of(path: Path) -> Example:
    return Example(id=path.stem, clips=(clip_of(path),), references={})


def entries(store: Path) -> list[Path]:
    return sorted(store.glob("frames/*/*.npy"))


def test_frames_are_the_resized_ones_at_the_sampled_indices_with_their_times(tmp_path: Path, video: Path):
    got = FrameStore(tmp_path, FRAMES).get(clip_of(video))
    assert got.indices == (5, 15, 25, 35)
    assert got.times_seconds == (0.625, 1.875, 3.125, 4.375)
    assert got.decoder.startswith("pyav ")
    expected = [resize(frame, 56) for frame in read_frames(video, got.indices, "pyav").frames]
    np.testing.assert_array_equal(got.frames, np.stack(expected))


def test_a_second_store_reads_the_same_from_disk_without_decoding(tmp_path: Path, video: Path):
    first = FrameStore(tmp_path, FRAMES).get(clip_of(video))
    written = {entry: entry.stat().st_mtime_ns for entry in tmp_path.rglob("*.*")}
    second = FrameStore(tmp_path, FRAMES).get(clip_of(video))
    assert {entry: entry.stat().st_mtime_ns for entry in tmp_path.rglob("*.*")} == written
    np.testing.assert_array_equal(first.frames, second.frames)
    assert (first.times_seconds, first.indices, first.decoder) == (second.times_seconds, second.indices, second.decoder)


def test_frames_feed_torch_without_a_warning_and_writing_to_them_leaves_the_cache_alone(tmp_path: Path, video: Path):
    import torch  # here, as the processes below import this file and need no torch

    store = FrameStore(tmp_path, FRAMES)
    tensor = torch.from_numpy(store.get(clip_of(video)).frames)
    before = tensor.clone()
    tensor.zero_()
    assert torch.equal(torch.from_numpy(store.get(clip_of(video)).frames), before)


def test_the_key_is_the_content_the_indices_and_the_size(tmp_path: Path, video: Path):
    copied = tmp_path / "copied.mp4"
    copied.write_bytes(video.read_bytes())
    store = tmp_path / "store"
    for path in (video, copied):
        FrameStore(store, FRAMES).get(clip_of(path))
    assert len(entries(store)) == 1
    for other in (Frames(budget=4, size=84), Frames(budget=5, size=56)):
        FrameStore(store, other).get(clip_of(video))
    assert len(entries(store)) == 3
    write_video(copied, count=24)
    os.utime(copied, ns=(1, 1))
    assert FrameStore(store, FRAMES).get(clip_of(copied)).indices == (3, 9, 15, 21)


def test_the_digest_of_clips_follows_names_and_content_and_not_their_folder(tmp_path: Path, video: Path):
    def digest(*paths: Path) -> str:
        return clips_digest(tmp_path / "cache", [example_of(path) for path in paths])

    (tmp_path / "there").mkdir()
    moved = Path(shutil.copy(video, tmp_path / "there"))
    assert digest(video) == digest(moved) == digest(video, video)
    assert digest(video) != digest(Path(shutil.copy(video, tmp_path / "renamed.mp4")))
    before = digest(moved)
    moved.write_bytes(moved.read_bytes()[:-100])
    assert digest(moved) != before


@pytest.mark.parametrize("length", [0, 40, 3000])
@pytest.mark.parametrize("kind", ["frames/*/*.npy", "seen/*/*.json"])
def test_an_entry_cut_short_is_built_again(tmp_path: Path, video: Path, kind: str, length: int):
    store = FrameStore(tmp_path, FRAMES)
    whole = store.get(clip_of(video)).frames.copy()
    (entry,) = tmp_path.glob(kind)
    entry.write_bytes(entry.read_bytes()[: min(length, entry.stat().st_size - 1)])
    np.testing.assert_array_equal(store.get(clip_of(video)).frames, whole)
    assert not list(tmp_path.rglob("*.part"))


def test_many_processes_write_one_entry_and_all_read_the_same(tmp_path: Path, video: Path):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        sums = pool.starmap(_sum_of_frames, [(str(tmp_path), str(video))] * 6)
    assert len(set(sums)) == 1 and len(entries(tmp_path)) == 1
    assert not list(tmp_path.rglob("*.part"))


def test_a_stretch_of_a_file_gives_its_frames_alone_with_times_from_its_start(tmp_path: Path, video: Path):
    got = FrameStore(tmp_path, FRAMES).get(Clip(path=str(video), start_seconds=2.0, end_seconds=3.0))
    assert got.indices == (17, 19, 21, 23)
    assert got.times_seconds == (0.125, 0.375, 0.625, 0.875)
    with pytest.raises(DecodeError, match=r"clip\.mp4: no frame from 9\.0 s"):
        FrameStore(tmp_path, FRAMES).get(Clip(path=str(video), start_seconds=9.0))


def test_a_short_clip_gives_each_frame_once(tmp_path: Path):
    short = write_video(tmp_path / "short.mp4", count=3)
    assert FrameStore(tmp_path, FRAMES).get(clip_of(short)).indices == (0, 1, 2)


def test_resizing_averages_what_it_drops_and_repeats_to_the_bit():
    frame = np.zeros((112, 112, 3), np.uint8)
    frame[::2] = 200
    small = resize(frame, 28)
    assert np.abs(small[2:-2].astype(int) - 100).max() <= 2
    np.testing.assert_array_equal(small, resize(frame, 28))
    assert resize(pictures(1, 160, 90)[0], 56).shape == (56, 56, 3)


def test_unreadable_clips_are_skipped_and_named_with_the_reason(tmp_path: Path, video: Path):
    broken, missing = cut(write_video(tmp_path / "long.mp4"), 0.5), tmp_path / "missing.mp4"
    examples = [example_of(path) for path in (video, broken, missing)]
    got = readable(FrameStore(tmp_path, FRAMES), examples, max_skipped_share=0.7)
    assert [example.id for example in got.examples] == ["clip"]
    assert [row["id"] for row in got.skipped] == ["cut-long", "missing"]
    assert "No such file" in got.skipped[1]["reason"]


def test_too_many_unreadable_clips_stop_the_run_naming_them_and_the_way_out(tmp_path: Path, video: Path):
    examples = [example_of(video), example_of(tmp_path / "missing.mp4")]
    with pytest.raises(TooManySkipped, match=r"1 of 2 examples .* 0\.05 .*missing\.mp4.*raise max_skipped_share"):
        readable(FrameStore(tmp_path, FRAMES), examples, max_skipped_share=0.05)


def test_a_repeated_example_counts_once(tmp_path: Path, video: Path):
    examples = [example_of(video)] * 3 + [example_of(tmp_path / "missing.mp4")] * 3
    got = readable(FrameStore(tmp_path, FRAMES), examples, max_skipped_share=0.5)
    assert len(got.examples) == 3 and len(got.skipped) == 1


def test_a_cut_file_is_probed_once_it_is_whole_again(tmp_path: Path, video: Path):
    path = tmp_path / "mended.mp4"
    path.write_bytes(video.read_bytes()[:500])
    store = FrameStore(tmp_path, FRAMES)
    with pytest.raises(DecodeError):
        store.get(clip_of(path))
    path.write_bytes(video.read_bytes())
    assert store.get(clip_of(path)).indices == (5, 15, 25, 35)
    assert probe(path).frames == 40


def _sum_of_frames(cache: str, path: str) -> int:
    return int(FrameStore(Path(cache), FRAMES).get(Clip(path=path)).frames.sum())
