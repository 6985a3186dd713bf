"""`vqlora frames`: the table, the JSON object, and one line for a file that is no video."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from video_files import write_video

from vqlora.video.cli import frames_command
from vqlora.video.decode import read_frames


def test_the_command_prints_indices_and_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = str(write_video(tmp_path / "clip.mp4"))
    assert frames_command([path, "--budget", "2"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[2:]] == [["10", "1.250"], ["30", "3.750"]]
    assert frames_command([path, "--sampler", "uniform", "--budget", "2", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["indices"], printed["timestamps"], printed["frames"]) == ([10, 30], [1.25, 3.75], 40)
    assert printed["fps"] == 8 and printed["decoder"].startswith("pyav ")


def test_the_sheet_shows_each_frame_and_a_folder_that_is_none_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = str(write_video(tmp_path / "clip.mp4"))
    assert frames_command([path, "--budget", "5", "--sheet", str(tmp_path / "sheet.png")]) == 0
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    first = read_frames(path, [4]).frames[0]
    shown = sheet[4 : 4 + 240, 4 : 4 + 240]
    assert np.abs(shown - np.asarray(Image.fromarray(first).resize((240, 240)))).max() == 0
    assert frames_command([path, "--sheet", str(tmp_path / "none" / "sheet.png")]) == 1
    assert "the sheet cannot be written" in capsys.readouterr().err


def test_a_bad_file_or_budget_is_one_line_and_a_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    for argv in ([str(broken)], [str(tmp_path / "none.mp4")], [str(broken), "--budget", "0"]):
        assert frames_command(argv) == 1
        out, err = capsys.readouterr()
        assert not out and err.startswith("vqlora frames: ") and err.count("\n") == 1


@pytest.mark.parametrize("sampler", ["entropy", "scene", "keyframe", "fps"])
def test_samplers_of_the_file_work_from_the_command_line(
    sampler: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    path = str(write_video(tmp_path / "clip.mp4"))
    more = ["--fps", "1"] if sampler == "fps" else []
    assert frames_command([path, "--sampler", sampler, "--budget", "4", "--json", *more]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["indices"]) == 4 and printed["timestamps"] == [index / 8 for index in printed["indices"]]


def test_a_sampler_of_features_is_not_offered_for_a_file_alone(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        frames_command(["clip.mp4", "--sampler", "quant_logdet"])
    assert "invalid choice" in capsys.readouterr().err
