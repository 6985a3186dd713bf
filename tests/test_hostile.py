"""Input of others ends in a result, a counted skip or an error in words: bombs, links, lists, forged records and lines.

`benchmarks/fuzz.py` tries thousands at every boundary; here are a few of each, and the ways out one by one.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from video_files import write_video

from vqlora import clip_rows
from vqlora.cli import main
from vqlora.data.example import Clip, Example
from vqlora.data.sets import open_data
from vqlora.data.videos import ROOTS, VideoFiles
from vqlora.lines import one_line
from vqlora.recipe import Frames
from vqlora.record import record_from_json
from vqlora.video import killable
from vqlora.video.decode import DecodeError, probe
from vqlora.video.frames import FrameStore, readable

ROOT = Path(__file__).parents[1]
FORGED = "a\n12 of 12 done\r\x1b[2K\u202e.mp4"


@pytest.mark.slow
def test_a_few_hostile_inputs_of_every_boundary_leave_no_finding() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "fuzz.py"), "--again", "10000000", "--inputs", "12"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("'inputs': 12") == 8


@pytest.fixture
def fresh_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Workers that read the limits of this test; those of others are put aside."""
    own: list[Any] = []
    monkeypatch.setattr(killable, "_idle", own)
    yield
    for worker in own:
        worker.stop()


def test_a_decoder_gets_no_more_memory_than_its_limit(fresh_workers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQLORA_CLIP_GIB", "0.5")
    with pytest.raises(DecodeError, match=r"takes more than 0\.5 GiB of memory; VQLORA_CLIP_GIB"):
        killable.call(bytearray, 2**30)
    assert len(killable.call(bytearray, 2**20)) == 2**20


def test_a_file_without_end_is_given_up_and_counted(
    fresh_workers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQLORA_CLIP_SECONDS", "2")
    path = write_video(tmp_path / "endless.mp4", count=8)
    os.truncate(path, 2**42)  # four terabytes of holes
    example = Example(id="endless", clips=(Clip(path=str(path)),), references={"en": ("a",)})
    found = readable(FrameStore(tmp_path / "cache", Frames(budget=1)), [example], max_skipped_share=1)
    assert not found.examples and "took longer than 2 s" in found.skipped[0]["reason"]


@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile other.mp4\n", "#EXTM3U\n#EXTINF:1,\nother.mp4\n"])
def test_a_list_that_calls_itself_a_video_leads_to_no_other_file(tmp_path: Path, text: str) -> None:
    write_video(tmp_path / "other.mp4", count=4)
    (tmp_path / "list.mp4").write_text(text)
    with pytest.raises(DecodeError, match=r"list\.mp4: "):
        probe(tmp_path / "list.mp4")


def test_links_in_a_circle_end_and_links_out_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, other = tmp_path / "set", tmp_path / "other"
    for folder in (home, other):
        folder.mkdir()
        write_video(folder / f"in_{folder.name}.mp4", count=2)
    for number in range(4):  # followed without end these are 4^40 folders
        (home / f"again{number}").symlink_to(home)
    assert VideoFiles(home).path("in_set", expected="x").endswith("in_set.mp4")
    (home / "more").symlink_to(other)
    with pytest.raises(ValueError, match=rf"set/more' leads out of .*name its folder in {ROOTS}"):
        VideoFiles(home)
    monkeypatch.setenv(ROOTS, f"s3://elsewhere, {other}")
    assert VideoFiles(home).path("in_other", expected="x").endswith("more/in_other.mp4")


@pytest.mark.parametrize(
    "path", ["../other/b.mp4", "/etc/passwd", "~/b.mp4", "s3://other/b.mp4", "link.mp4", "a\\u0000"]
)
def test_an_annotation_names_nothing_outside_its_folder(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, other = tmp_path / "set", tmp_path / "other"
    folder.mkdir()
    other.mkdir()
    (other / "b.mp4").write_bytes(b"x")
    (folder / "link.mp4").symlink_to(other / "b.mp4")
    rows = [f'{{"path": "{name}", "text": "a"}}' for name in ("1.mp4", "2.mp4", "3.mp4", path)]
    (folder / "clips.jsonl").write_text("\n".join(rows))
    with pytest.raises(ValueError, match=rf"clips\.jsonl: line 4: .*leads out of .*{ROOTS}"):
        open_data(f"table:{folder / 'clips.jsonl'}", tmp_path)
    if path.startswith("../"):
        monkeypatch.setenv(ROOTS, str(other))
        assert open_data(f"table:{folder / 'clips.jsonl'}", tmp_path).train


def test_an_id_that_becomes_a_file_name_leads_nowhere_else(tmp_path: Path) -> None:
    write_video(tmp_path / "other.mp4", count=2)
    (tmp_path / "set").mkdir()
    for name in ("../other", str(tmp_path / "other"), "a\0"):
        with pytest.raises(ValueError, match="leads out of"):
            VideoFiles(tmp_path / "set").path(name, expected=f"{name}.mp4")


def test_a_record_removes_nothing_but_its_own_adapter() -> None:
    plain = json.loads((ROOT / "analysis/records/rank_bits.jsonl").read_text().splitlines()[0])["record"]
    for changes, problem in (
        ({"adapter": "../../other"}, "lies elsewhere"),
        ({"trial": "../x"}, "names files"),
        ({"attempt": "0/../../x"}, r"record\.attempt: expected int"),
        ({"cost": {"how": 7}}, r"record\.cost\.how: expected an object"),
        ({"skipped": [{"id": 1}]}, r"record\.skipped\[0\]\.id: expected str"),
        ({"metrics": {"val": {"cider": 10**400}}}, r"cider: expected float"),
    ):
        with pytest.raises(ValueError, match=problem):
            record_from_json(signed({**plain, **changes}))
    assert record_from_json(signed(plain))


def test_per_clip_rows_unpack_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_rows, "MOST_BYTES", 1000)
    row = b'{"id": "a", "split": "val", "scores": {"cider": 1.5}}\n'
    assert clip_rows.clip_rows(gzip.compress(row))[0]["scores"] == {"cider": 1.5}
    with pytest.raises(ValueError, match="unpacks to more than"):
        clip_rows.clip_rows(gzip.compress(row * 100))
    with pytest.raises(ValueError, match="cut short"):
        clip_rows.clip_rows(gzip.compress(row)[:-9])


def test_a_base_of_others_runs_no_code_and_has_no_endless_tower(tmp_path: Path) -> None:
    from vqlora.models.load import model_type_of
    from vqlora.models.settings import config_of

    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    config = {"model_type": "nothing-known", "auto_map": {"AutoConfig": "evil.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="nothing-known"):
        model_type_of(str(tmp_path))
    assert not (tmp_path / "ran").exists()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": {"depth": 10**9}}))
    with pytest.raises(ValueError, match=r"asks for 1e\+09 layers \(depth\)"):
        config_of(tmp_path)


@given(st.text())
def test_whatever_a_text_holds_it_is_printed_on_one_line(text: str) -> None:
    line = one_line(text)
    assert line.replace("\u200c", "").replace("\u200d", "").isprintable() and len(line.splitlines()) <= 1
    if text.isprintable():
        assert line == text


@pytest.mark.parametrize(
    "words", [["frames", FORGED], ["doctor", "--data", f"table:{FORGED}"], ["inspect", FORGED], ["rerun", FORGED]]
)
def test_a_name_forges_no_line_of_a_command(words: list[str]) -> None:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        main(words)
    said = out.getvalue() + err.getvalue()
    assert "12 of 12 done" in said and "\x1b" not in said and "\r" not in said and "\u202e" not in said
    assert not any(line.startswith("12 of 12 done") for line in said.split("\n"))


def test_the_reason_of_a_skip_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / FORGED
    path.write_bytes(b"no video")
    example = Example(id="x", clips=(Clip(path=str(path)),), references={"en": ("a",)})
    found = readable(FrameStore(tmp_path / "cache", Frames(budget=1)), [example], max_skipped_share=1)
    assert found.skipped[0]["reason"].isprintable()


def signed(plain: object) -> str:
    """As a forger would write it: with a digest that holds."""
    body = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return json.dumps({"record": plain, "sha256": hashlib.sha256(body.encode()).hexdigest()})
