"""Both decoders against what was written and against each other; broken files; what decord is refused for."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from video_files import IDENTITY, TURNS, cut, patch, pictures, write_video

from vqlora.video.decode import DecodeError, decode_all, probe, read_clip, read_frames
from vqlora.video.torchcodec_reader import torchcodec_problem

# Every container and codec that we write, with the settings known to matter. Decord is proven on the first ten.
WRITTEN = {
    "h264.mp4": {},
    "h264_many_key_frames.mp4": {"options": {"x264-params": "keyint=4:bframes=2"}},
    "h264_front_index.mp4": {"mux": {"movflags": "faststart"}},
    "h264_fragments.mp4": {"mux": {"movflags": "frag_keyframe+empty_moov"}, "options": {"g": "8"}},
    "h264_full_range.mp4": {"pixels": "yuvj420p"},
    "h264_late_start.mp4": {"times_ms": [2000 + 125 * i for i in range(40)]},
    "h264_uneven.mp4": {"times_ms": [125 * i + 37 * (i % 3) for i in range(40)]},
    "h264_odd_size.mp4": {"size": (130, 98)},
    "h264_one_frame.mp4": {"count": 1},
    "h264.mov": {},
    "h264.mkv": {},
    "h264.avi": {"options": {"x264-params": "keyint=8"}},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"b": "2000000"}},
    "mpeg4.mkv": {"codec": "mpeg4", "options": {"b": "2000000"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"b": "2000000"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8", "deadline": "realtime"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "8", "crf": "1", "svtav1-params": "lp=1"}},
    "h264_open_groups.mp4": {"options": {"x264-params": "open-gop=1:keyint=8:bframes=3"}},
    "h264_intra_refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=12"}},
    "h264_interlaced.mp4": {"options": {"x264-params": "tff=1"}},
    "h264_10_bit.mp4": {"pixels": "yuv420p10le"},
    "h264_edit_list.mp4": {"times_ms": [-500 + 125 * i for i in range(40)]},
}
PROVEN = list(WRITTEN)[:10]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    for name, how in WRITTEN.items():
        write_video(folder / name, **how)
    return folder


def test_writing_a_file_leaves_the_process_as_it_is_scheduled(files: Path) -> None:
    assert {os.sched_getscheduler(int(thread.name)) for thread in Path("/proc/self/task").iterdir()} == {os.SCHED_OTHER}


ALONE = """
import sys
import numpy as np
from vqlora.video.decode import DecodeError, probe, read_frames
try:
    got = read_frames(sys.argv[1], [0, 7, 39])
    info = probe(sys.argv[1])
except DecodeError as error:
    sys.exit(f"refused: {error}")
assert not {"av", "torch"} & set(sys.modules)
np.savez(sys.argv[2], frames=got.frames, times=info.times_seconds, decoder=got.decoder)
"""


def without_pyav(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs ALONE with this installation's packages but for PyAV."""
    packages = Path(av.__file__).parents[1]
    folder.mkdir(exist_ok=True)
    for file in packages.iterdir():
        if not re.fullmatch(r"av|av[.-].*", file.name) and not (folder / file.name).exists():
            (folder / file.name).symlink_to(file)
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[1]}:{folder}"}
    command = [sys.executable, "-S", "-c", ALONE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_where_pyav_is_not_installed_decord_alone_reads_the_same_frames(files: Path, tmp_path: Path):
    done = without_pyav(tmp_path / "packages", str(files / "h264.mp4"), str(tmp_path / "got.npz"))
    assert done.returncode == 0, done.stderr
    got, reference = np.load(tmp_path / "got.npz"), read_frames(files / "h264.mp4", [0, 7, 39], "pyav")
    np.testing.assert_array_equal(got["frames"], reference.frames)
    np.testing.assert_allclose(got["times"], probe(files / "h264.mp4").times_seconds, atol=1e-3)
    assert str(got["decoder"]).endswith("no PyAV")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    refused = without_pyav(tmp_path / "packages", str(tmp_path / "broken.mp4"), "-")
    assert refused.returncode == 1 and "broken.mp4" in refused.stderr


@pytest.mark.parametrize("name", WRITTEN)
def test_auto_gives_the_pixels_and_times_of_the_reference_for_any_indices(files: Path, name: str):
    info = probe(files / name)
    indices = sorted({0, 3, 5, 7, 8, 9, info.frames // 2, info.frames - 2, info.frames - 1} & set(range(info.frames)))
    reference = read_frames(files / name, indices, "pyav", info)
    got = read_frames(files / name, indices, "auto", info)
    np.testing.assert_array_equal(got.frames, reference.frames)
    assert got.times_seconds == reference.times_seconds == tuple(info.times_seconds[i] for i in indices)


@pytest.mark.parametrize("name", PROVEN)
def test_decord_gives_the_pixels_of_the_reference_where_it_is_not_refused(files: Path, name: str):
    info = probe(files / name)
    indices = sorted({0, 3, 7, 8, 9, info.frames // 2, info.frames - 1} & set(range(info.frames)))
    got, reference = (read_frames(files / name, indices, decoder, info) for decoder in ("decord", "pyav"))
    assert got.decoder.startswith("decord ") and reference.decoder.startswith("pyav ")
    np.testing.assert_array_equal(got.frames, reference.frames)


@pytest.mark.parametrize("name", WRITTEN)
def test_packets_tell_what_decoding_everything_tells(files: Path, name: str):
    quick, whole = probe(files / name), decode_all(files / name)
    assert bool(quick.restarts) == (name in PROVEN and "one_frame" not in name)  # one comes out at the file's end only
    assert replace(quick, restarts=(), first_pts=0) == whole
    if quick.restarts:
        in_order = read_frames(files / name, range(whole.frames), "pyav", whole)
        for index in {0, 5, 9, whole.frames // 2, whole.frames - 1} & set(range(whole.frames)):
            sought = read_frames(files / name, [index], "pyav", quick)
            np.testing.assert_array_equal(sought.frames[0], in_order.frames[index])


@pytest.mark.parametrize("name", ["h264_many_key_frames.mp4", "h264.mkv", "h264_edit_list.mp4"])
def test_a_clip_is_read_with_one_choice_from_what_it_holds(files: Path, name: str):
    info, got = read_clip(files / name, lambda info: [info.frames - 1, 2, info.frames - 9])
    assert info == probe(files / name)
    expected = read_frames(files / name, [info.frames - 1, 2, info.frames - 9], "pyav", decode_all(files / name))
    np.testing.assert_array_equal(got.frames, expected.frames)
    assert got.times_seconds == expected.times_seconds


@pytest.mark.parametrize("name", sorted(set(WRITTEN) - set(PROVEN)))
def test_decord_is_refused_with_a_reason(files: Path, name: str):
    with pytest.raises(DecodeError, match="decord"):
        read_frames(files / name, [0], "decord")


@pytest.mark.skipif(torchcodec_problem() is not None, reason=torchcodec_problem() or "it imports")
@pytest.mark.parametrize("name", sorted(set(WRITTEN) - {"h264_10_bit.mp4"}))
def test_torchcodec_gives_the_pixels_of_the_reference_or_refuses(files: Path, name: str):
    info = probe(files / name)
    indices = sorted({0, 3, 7, info.frames // 2, info.frames - 1} & set(range(info.frames)))
    try:
        got = read_frames(files / name, indices, "torchcodec", info)
    except DecodeError as error:
        assert "torchcodec" in str(error)
        return
    reference = read_frames(files / name, indices, "pyav", info)
    assert got.decoder.startswith("torchcodec ") and got.times_seconds == reference.times_seconds
    assert np.abs(got.frames.astype(int) - reference.frames).max() <= 3  # its own conversion rounds otherwise


def test_where_torchcodec_does_not_import_it_is_refused_with_the_reason(files: Path):
    if torchcodec_problem() is None:
        assert read_frames(files / "h264.mp4", [], "torchcodec").frames.shape == (0, 112, 112, 3)
        return
    with pytest.raises(DecodeError, match="torchcodec does not import"):
        read_frames(files / "h264.mp4", [0], "torchcodec")


def test_avi_is_refused_because_decord_returns_wrong_frames(files: Path):
    import decord

    indices = [0, 7, 20, 33]
    wrong = decord.VideoReader(str(files / "h264.avi")).get_batch(indices).asnumpy()
    right = read_frames(files / "h264.avi", indices).frames
    assert np.abs(wrong.astype(int) - right).max() > 50  # the hazard is real; drop the refusal when this fails
    with pytest.raises(DecodeError, match=r"h264\.avi: decord is refused: AVI stores no presentation times.*'pyav'"):
        read_frames(files / "h264.avi", indices, "decord")


@pytest.mark.parametrize("name", [name for name in WRITTEN if "bit" not in name and "size" not in name])
def test_each_frame_is_the_one_written_at_that_index(files: Path, name: str):
    info = probe(files / name)
    first = 40 - info.frames if info.frames > 1 else 0  # the edit list hides what lies before time 0
    indices = range(0, info.frames, 5)
    decoded = read_frames(files / name, indices, info=info).frames.astype(int)
    originals = np.stack(pictures(first + info.frames)[first:]).astype(int)
    distances = np.abs(decoded[:, None] - originals[None, :]).mean(axis=(2, 3, 4))
    assert distances.argmin(axis=1).tolist() == list(indices)


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "h264.avi", "mpeg4.avi", "vp9.webm", "h264_late_start.mp4"])
def test_times_start_at_zero_and_rise_by_the_frame_rate(files: Path, name: str):
    info = probe(files / name)
    assert info.frames == 40 and info.fps == pytest.approx(8)
    np.testing.assert_allclose(info.times_seconds, np.arange(40) / 8, atol=1e-3)


def test_uneven_times_are_kept(files: Path):
    expected = [(125 * i + 37 * (i % 3)) / 1000 for i in range(40)]
    np.testing.assert_allclose(probe(files / "h264_uneven.mp4").times_seconds, expected, atol=1e-3)


def test_frames_hidden_by_an_edit_list_are_no_frames(files: Path):
    assert probe(files / "h264_edit_list.mp4").frames == 36


@pytest.mark.parametrize("turn", TURNS)
def test_rotation_is_applied_alike_by_both_decoders(tmp_path: Path, turn: int):
    upright = write_video(tmp_path / "upright.mp4", size=(112, 80), count=8)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(upright.read_bytes())
    patch(turned, IDENTITY, TURNS[turn], after=b"tkhd")
    info = probe(turned)
    assert (info.width, info.height) == ((80, 112) if turn % 180 else (112, 80))
    expected = np.rot90(read_frames(upright, [1, 6], "pyav").frames, -turn // 90, axes=(1, 2))
    for decoder in ("pyav", "decord"):
        np.testing.assert_array_equal(read_frames(turned, [1, 6], decoder).frames, expected)


def test_the_best_video_stream_is_read_whatever_its_place(tmp_path: Path):
    path = _write_two_streams(tmp_path / "two.mkv")
    assert probe(path).width == 112
    assert read_frames(path, [0, 7]).frames.shape == (2, 112, 112, 3)


def test_decord_is_refused_where_it_may_choose_another_stream(tmp_path: Path):
    assert "several video streams" in (probe(_write_two_streams(tmp_path / "two.mp4")).decord_refusal or "")


def test_indices_come_in_the_order_asked_repeats_included(files: Path):
    for decoder in ("pyav", "decord"):
        got = read_frames(files / "h264.mp4", [9, 2, 9], decoder)
        one_by_one = [read_frames(files / "h264.mp4", [index], decoder).frames[0] for index in (9, 2, 9)]
        np.testing.assert_array_equal(got.frames, np.stack(one_by_one))
    assert read_frames(files / "h264.mp4", []).frames.shape == (0, 112, 112, 3)


@pytest.mark.parametrize("index", [-1, 40])
def test_an_index_outside_the_file_is_named(files: Path, index: int):
    with pytest.raises(DecodeError, match=f"frame {index} was asked for; the file holds 0 to 39"):
        read_frames(files / "h264.mp4", [0, index])


def test_an_unknown_decoder_is_refused_with_the_known_ones(files: Path):
    with pytest.raises(ValueError, match=r"'cv2' is unknown.*pyav"):
        read_frames(files / "h264.mp4", [0], "cv2")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["h264.mp4", "h264_front_index.mp4", "h264_fragments.mp4", "h264.mkv", "h264.avi", "mpeg4.avi", "vp9.webm"]
)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.8])
def test_a_truncated_file_ends_in_a_decode_error_that_names_it(files: Path, name: str, share: float):
    _assert_refused(cut(files / name, share))


@pytest.mark.parametrize("content", [b"", b"hello " * 500, bytes(5000), b"\x89PNG\r\n\x1a\n" + bytes(100)])
def test_what_is_no_video_ends_in_a_decode_error(tmp_path: Path, content: bytes):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    _assert_refused(path)


def test_a_missing_file_a_folder_and_an_address_are_no_files(tmp_path: Path):
    for path in (tmp_path / "none.mp4", "http://127.0.0.1/clip.mp4"):
        with pytest.raises(DecodeError, match="no such file"):
            probe(path)
    with pytest.raises(DecodeError, match="holds no picture"):
        probe(tmp_path)


def test_a_picture_and_a_sound_are_no_videos(tmp_path: Path):
    from PIL import Image

    Image.fromarray(pictures(1)[0]).save(tmp_path / "picture.png")
    (tmp_path / "picture.mp4").write_bytes((tmp_path / "picture.png").read_bytes())
    _assert_refused(tmp_path / "picture.mp4")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(DecodeError, match="no video stream"):
        probe(tmp_path / "sound.mp4")


@pytest.mark.parametrize("seed", range(6))
def test_damage_inside_a_file_is_found_and_never_hangs(files: Path, tmp_path: Path, seed: int):
    rng = np.random.default_rng(seed)
    raw = bytearray((files / "h264_many_key_frames.mp4").read_bytes())
    start = raw.index(b"mdat") + 800  # behind the encoder's own notes, which no decoder reads
    size = struct.unpack(">I", raw[raw.index(b"mdat") - 4 : raw.index(b"mdat")])[0]
    for place in rng.integers(start, raw.index(b"mdat") + size - 8, 20):
        raw[place] ^= int(rng.integers(1, 256))
    path = tmp_path / "damaged.mp4"
    path.write_bytes(raw)
    with pytest.raises(DecodeError, match=r"damaged\.mp4"):
        decode_all(path)
    with pytest.raises(DecodeError, match=r"damaged\.mp4"):
        read_frames(path, range(40))


def test_a_header_that_claims_more_than_the_file_holds_is_a_lie(files: Path, tmp_path: Path):
    path = tmp_path / "long.mkv"
    path.write_bytes((files / "h264.mkv").read_bytes())
    patch(path, struct.pack(">d", 5000.0), struct.pack(">d", 5e9), after=b"\x44\x89")  # Duration, in milliseconds
    with pytest.raises(DecodeError, match=r"cut short: 5000000\.00 s by its header"):
        probe(path)


def _assert_refused(path: Path) -> None:
    began = time.monotonic()
    for decoder in ("auto", "pyav", "decord"):
        with pytest.raises(DecodeError, match=path.name):
            read_frames(path, [0], decoder)
    assert time.monotonic() - began < 10


def _write_two_streams(path: Path) -> Path:
    """A small stream for the visually impaired, then a large default one."""
    with av.open(str(path), "w") as container:
        small, large = (container.add_stream("libx264", rate=8) for _ in range(2))
        small.disposition, large.disposition = Disposition.visual_impaired, Disposition.default
        for stream, size in ((small, 48), (large, 112)):
            stream.width = stream.height = size
            stream.pix_fmt = "yuv420p"
        for picture in pictures(8):
            for stream in (small, large):
                frame = av.VideoFrame.from_ndarray(picture[: stream.height, : stream.width].copy(), format="rgb24")
                container.mux(stream.encode(frame))
        for stream in (small, large):
            container.mux(stream.encode(None))
    return path
