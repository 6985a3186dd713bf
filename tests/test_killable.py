"""Workers that are killed: hangs, crashes, errors, arrays, and what is left afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from video_files import write_video

from vqlora.data.example import Clip, Example
from vqlora.recipe import Frames
from vqlora.video import killable
from vqlora.video.decode import DecodeError, probe, read_frames
from vqlora.video.frames import FrameStore, readable


def test_results_are_those_of_the_function_itself(tmp_path: Path):
    path = str(write_video(tmp_path / "clip.mp4"))
    info = killable.call(probe, path)
    assert info == probe(path)
    got, expected = killable.call(read_frames, path, [3, 1], "auto", info), read_frames(path, [3, 1], info=info)
    np.testing.assert_array_equal(got.frames, expected.frames)
    assert (got.times_seconds, got.decoder) == (expected.times_seconds, expected.decoder)
    got.frames[0] = 0  # writable, and nobody else's


def test_an_error_comes_back_as_itself(tmp_path: Path):
    with pytest.raises(DecodeError, match=r"none\.mp4: no such file"):
        killable.call(probe, str(tmp_path / "none.mp4"))


def test_a_call_that_hangs_is_killed_and_the_next_one_works(tmp_path: Path):
    path = tmp_path / "hang.mp4"
    os.mkfifo(path)  # opening it waits for a writer that never comes
    began = time.monotonic()
    with pytest.raises(DecodeError, match=r"hang\.mp4: took longer than 0\.5 s; its worker was killed"):
        killable.call(_open, str(path), limit_seconds=0.5)
    assert time.monotonic() - began < killable.START_SECONDS + 30
    assert killable.call(probe, str(write_video(tmp_path / "good.mp4"))).frames == 40


def test_a_worker_that_dies_is_an_error_that_names_the_file_and_the_signal(tmp_path: Path):
    with pytest.raises(DecodeError, match=r"bad\.mp4: the decoder's process died \(SIGSEGV\)"):
        killable.call(_crash, "bad.mp4")
    assert killable.call(os.path.basename, "a/b.mp4") == "b.mp4"


def test_nothing_stays_in_memory_and_idle_workers_are_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(killable, "MEMORY_FOLDER", str(tmp_path))
    first = killable.call(_pid, "x")
    assert killable.call(_pid, "x") == first
    assert not os.listdir(tmp_path)


def test_workers_end_with_their_parent_even_if_it_is_killed():
    code = (
        "import os, signal\nfrom vqlora.video import killable\n"
        "print(killable.call(os.path.getsize, '/proc/self/exe') > 0, flush=True)\n"
        "print(killable._idle[0].process.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    ok, pid = done.stdout.split()
    deadline = time.monotonic() + 20
    while _is_running(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ok == "True" and not _is_running(int(pid))


def test_a_clip_that_hangs_is_a_counted_skip_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VQLORA_CLIP_SECONDS", "20")
    good = write_video(tmp_path / "good.mp4")
    lying = tmp_path / "lying.mkv"
    write_video(lying)
    lying.write_bytes(lying.read_bytes()[: lying.stat().st_size // 2])
    examples = [Example(id=path.stem, clips=(Clip(path=str(path)),), references={}) for path in (good, lying)]
    got = readable(FrameStore(tmp_path / "cache", Frames(budget=2)), examples, max_skipped_share=0.5)
    assert [example.id for example in got.examples] == ["good"]
    assert got.skipped[0]["id"] == "lying" and "lying.mkv" in got.skipped[0]["reason"]


def _open(path: str) -> None:
    open(path).close()


def _crash(path: str) -> None:
    os.kill(os.getpid(), 11)


def _pid(path: str) -> int:
    return os.getpid()


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
