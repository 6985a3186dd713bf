"""MSR-VTT's published layout with real files: what is read, what is counted, what is refused and how it is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from video_files import write_video

from vqlora.data.msrvtt import open_msrvtt, open_msrvtt_1ka
from vqlora.data.sets import open_data
from vqlora.data.splits import Coverage, Splits
from vqlora.recipe import Frames
from vqlora.video.frames import FrameStore

COUNTS = {"train": 4, "validate": 2, "test": 3}
PAIR = ("train_val_videodatainfo.json", "test_videodatainfo.json")


def video_row(number: int, label: str) -> dict[str, Any]:
    return {
        "id": number,
        "video_id": f"video{number}",
        "category": 9,
        "url": f"https://www.youtube.com/watch?v={number:011d}",
        "start time": 137.72,
        "end time": 149.44,
        "split": label,
    }


def annotations(labels: list[tuple[int, str]]) -> dict[str, Any]:
    info = {"year": "2016", "version": "1.0", "description": "", "contributor": "", "data_created": "2016-04-14"}
    sentences = [
        {"sen_id": 20 * number + n, "video_id": f"video{number}", "caption": f"caption {n} of {number}"}
        for number, _ in labels
        for n in range(3)
    ]
    return {"info": info, "videos": [video_row(number, label) for number, label in labels], "sentences": sentences}


def labels() -> list[tuple[int, str]]:
    named = [label for label, count in COUNTS.items() for _ in range(count)]
    return list(enumerate(named))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", count=16).read_bytes()


@pytest.fixture
def folder(tmp_path: Path, clip: bytes) -> Path:
    """A whole small MSR-VTT."""
    everything = labels()
    write_json(tmp_path / PAIR[0], annotations([row for row in everything if row[1] != "test"]))
    write_json(tmp_path / PAIR[1], annotations([row for row in everything if row[1] == "test"]))
    put_videos(tmp_path / "videos" / "all", clip, range(9))
    return tmp_path


def write_json(path: Path, plain: object) -> None:
    path.write_text(json.dumps(plain))


def put_videos(place: Path, clip: bytes, numbers: range) -> None:
    place.mkdir(parents=True)
    for number in numbers:
        (place / f"video{number}.mp4").write_bytes(clip)


def edit(path: Path, change: Callable[[Any], object]) -> None:
    plain = json.loads(path.read_text())
    change(plain)
    write_json(path, plain)


def ids(splits: Splits) -> dict[str, list[str]]:
    return {name: [example.id for example in getattr(splits, name)] for name in ("train", "val", "test")}


EXPECTED = {
    "train": ["video0", "video1", "video2", "video3"],
    "val": ["video4", "video5"],
    "test": ["video6", "video7", "video8"],
}


def test_the_published_files_are_read_unmodified(folder: Path, tmp_path: Path):
    splits = open_data(f"msrvtt:{folder}")
    assert ids(splits) == EXPECTED
    assert splits.train[1].references == {"en": ("caption 0 of 1", "caption 1 of 1", "caption 2 of 1")}
    assert splits.coverage["train"] == Coverage(listed=4, present=4, official=6513)
    assert (splits.validation, dict(splits.dirt)) == ("official", {})
    frames = FrameStore(tmp_path / "cache", Frames(budget=2)).get(splits.test[0].clips[0])
    assert frames.frames.shape == (2, 112, 112, 3) and frames.times_seconds == (0.5, 1.5)


def test_the_single_file_of_the_retrieval_releases_reads_the_same(folder: Path):
    two = open_msrvtt(folder)
    for name in PAIR:
        (folder / name).unlink()
    write_json(folder / "MSRVTT_data.json", annotations(labels()))
    one = open_msrvtt(folder)
    assert ids(one) == EXPECTED and one.digest == two.digest


@pytest.mark.parametrize("place", ["videos", "TrainValVideo", "TestVideo"])
def test_videos_are_found_where_the_releases_put_them(folder: Path, place: str):
    (folder / "videos" / "all").rename(folder / "moved")
    (folder / "videos").rmdir()
    (folder / "moved").rename(folder / place)
    assert Path(open_msrvtt(folder).train[0].clips[0].path) == folder / place / "video0.mp4"


def test_val_is_a_label_as_good_as_validate(folder: Path):
    edit(folder / PAIR[0], lambda plain: [row.update(split="val") for row in plain["videos"][4:]])
    assert ids(open_msrvtt(folder)) == EXPECTED


def test_ground_truth_beside_the_annotations_becomes_attributes(folder: Path):
    write_json(folder / "scenes.json", {"video0": {"units": [["red", "circle"]]}})
    splits = open_msrvtt(folder)
    assert splits.train[0].attributes == {"units": [["red", "circle"]]}
    assert splits.train[1].attributes == {}


def test_dirt_is_left_out_and_counted(folder: Path):
    def soil(plain: Any) -> None:
        plain["videos"] += [plain["videos"][0], video_row(77, "train")]
        plain["sentences"][1]["caption"] = "  "
        plain["sentences"].append({"sen_id": 0, "video_id": "video99", "caption": "of no listed video"})

    edit(folder / PAIR[0], soil)
    splits = open_msrvtt(folder)
    assert splits.dirt == {
        "duplicate_videos": 1,
        "empty_captions": 1,
        "captions_of_unlisted_videos": 1,
        "videos_without_caption": 1,
    }
    assert ids(splits) == EXPECTED
    assert splits.train[0].references == {"en": ("caption 0 of 0", "caption 2 of 0")}


def test_a_missing_video_stays_listed_and_is_not_covered(folder: Path):
    (folder / "videos" / "all" / "video6.mp4").unlink()
    splits = open_msrvtt(folder)
    assert ids(splits) == EXPECTED
    assert splits.coverage["test"] == Coverage(listed=3, present=2, official=2990)


def test_a_set_without_validation_gets_a_named_hold_out_of_train(folder: Path):
    edit(folder / PAIR[0], lambda plain: [row.update(split="train") for row in plain["videos"]])
    first, second = open_msrvtt(folder), open_msrvtt(folder)
    assert first.validation == "hold-out of 1 from train, seed 0"
    assert len(first.train) == 5 and len(first.val) == 1
    assert not {e.id for e in first.train} & {e.id for e in first.val}
    assert ids(first) == ids(second) and first.digest == second.digest


def test_the_digest_follows_texts_and_splits_but_not_the_place(folder: Path, tmp_path_factory: pytest.TempPathFactory):
    before = open_msrvtt(folder).digest
    moved = folder.rename(tmp_path_factory.mktemp("elsewhere") / "msrvtt")
    assert open_msrvtt(moved).digest == before
    edit(moved / PAIR[0], lambda plain: plain["sentences"][0].update(caption="another"))
    assert open_msrvtt(moved).digest != before


def write_1ka(folder: Path, train: str = "video_id\nvideo0\nvideo1\nvideo4\nvideo5\nvideo6\n", test: str | None = None):
    rows = 'key,vid_key,video_id,sentence\nret0,msr7,video7,a dog runs\nret1,msr8,video8,"a cat, asleep"\n'
    (folder / "MSRVTT_train.9k.csv").write_text(train)
    (folder / "MSRVTT_JSFUSION_test.csv").write_text(test or rows)


def test_1k_a_takes_its_lists_and_holds_out_validation(folder: Path):
    write_1ka(folder)
    splits = open_data(f"msrvtt-1ka:{folder}")
    assert ids(splits)["test"] == ["video7", "video8"]
    assert sorted(ids(splits)["train"] + ids(splits)["val"]) == ["video0", "video1", "video4", "video5", "video6"]
    assert splits.validation.startswith("hold-out of 1 from train")
    assert splits.test[1].attributes["query"] == "a cat, asleep"
    assert len(splits.test[1].references["en"]) == 3
    assert splits.coverage["test"].official == 1000


def test_1k_a_refuses_a_clip_in_both_lists_and_a_short_line(folder: Path):
    write_1ka(folder, train="video_id\nvideo0\nvideo7\nvideo1\n")
    with pytest.raises(ValueError, match="video7 is in"):
        open_msrvtt_1ka(folder)
    write_1ka(folder, test="key,vid_key,video_id,sentence\nret0,msr7,video7,a dog\nret1,msr8\n")
    with pytest.raises(ValueError, match=r"MSRVTT_JSFUSION_test\.csv: line 3: no 'video_id'; expected the columns key"):
        open_msrvtt_1ka(folder)
    (folder / "MSRVTT_train.9k.csv").unlink()
    with pytest.raises(ValueError, match=r"MSRVTT_train\.9k\.csv: no such file"):
        open_msrvtt_1ka(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda plain: plain.pop("videos"),
            r"train_val_videodatainfo\.json: no key 'videos'; there are \['info', 'sentences'\]",
        ),
        (lambda plain: plain.update(sentences={}), "sentences: expected a list, found {}"),
        (lambda plain: plain["videos"][2].pop("video_id"), r"videos\[2\]: no key 'video_id'; there are"),
        (lambda plain: plain["videos"][1].update(split="dev"), r"videos\[1\]: split 'dev' of video1 is unknown; use"),
        (
            lambda plain: plain["videos"][0].update(video_id="../x"),
            r"videos\[0\]: video_id '\.\./x' becomes a file name",
        ),
        (lambda plain: plain["sentences"][4].update(caption=7), r"sentences\[4\]\.caption: expected a text, found 7"),
        (lambda plain: plain["sentences"].insert(0, "x"), r"sentences\[0\]: expected an object, found 'x'"),
    ],
)
def test_malformed_annotations_are_named_by_file_place_and_key(folder: Path, change: Any, message: str):
    edit(folder / PAIR[0], change)
    with pytest.raises(ValueError, match=message):
        open_msrvtt(folder)


def test_broken_json_is_named_by_file_and_line(folder: Path):
    text = json.dumps(annotations(labels()), indent=1)
    (folder / PAIR[0]).write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match=r"train_val_videodatainfo\.json: line \d+: not JSON"):
        open_msrvtt(folder)


def test_what_is_missing_is_named_with_what_was_expected(folder: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"none: no such folder; give the folder that holds"):
        open_msrvtt(tmp_path / "none")
    (folder / PAIR[1]).rename(folder / "kept.json")
    with pytest.raises(ValueError, match=r"test_videodatainfo\.json: no such file; .* holds train_val"):
        open_msrvtt(folder)
    (folder / "kept.json").rename(folder / PAIR[1])
    (folder / "videos" / "all").rename(tmp_path / ".elsewhere")
    with pytest.raises(ValueError, match=r"none of the 9 listed videos is there; expected video0\.mp4 in this folder"):
        open_msrvtt(folder)


def test_a_split_without_a_clip_is_refused(folder: Path):
    edit(folder / PAIR[1], lambda plain: plain.update(videos=[], sentences=[]))
    with pytest.raises(ValueError, match="no clip in the test split"):
        open_msrvtt(folder)
