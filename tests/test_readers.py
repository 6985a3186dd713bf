"""Every set from its official files to a score: the embedded clips in that set's form, real files, real dirt."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from vqlora.data.layouts import LAYOUTS, main_file
from vqlora.data.sets import READERS, open_data
from vqlora.data.shapes import FPS, draw_scenes
from vqlora.data.splits import NAMES, Splits
from vqlora.metrics.retrieval import score_retrieval
from vqlora.models.tokenizer import build_tokenizer
from vqlora.recipe import Frames
from vqlora.tasks import score_texts
from vqlora.video.frames import FrameStore

COUNTS = {"train": 4, "val": 4, "test": 4}
CONTAINERS = {"lsmdc": "avi", "msvd": "avi", "msvd-retrieval": "avi", "msvd-qa": "avi", "frames": "folder"}
# What the perfect text scores, by the kind of thing asked for.
BEST = {
    "caption": ("rouge_l", 1.0),
    "paragraph": ("rouge_l", 1.0),
    "instruct": ("rouge_l", 1.0),
    "retrieval": ("rouge_l", 1.0),
    "qa": ("accuracy", 1.0),
    "dense": ("recall_0.5", 1.0),
    "moments": ("R1@0.5", 100.0),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[object, Path]:
    """The folder of each layout, written when first asked for."""
    return {"root": tmp_path_factory.mktemp("sets")}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer()


def opened(written: dict[object, Path], name: str) -> Splits:
    layout = LAYOUTS[name]
    if layout not in written:
        written[layout] = written["root"] / layout.__name__
        written[layout].mkdir()
        layout(written[layout], draw_scenes(COUNTS))
    return open_data(f"{name}:{main_file(name, written[layout])}", written["root"] / "cache")


def language(name: str) -> str:
    return "zh" if name.endswith("-zh") else "en"


def test_every_reader_has_a_layout() -> None:
    assert READERS.keys() == LAYOUTS.keys()


@pytest.mark.parametrize("name", sorted(READERS))
def test_official_files_become_examples_frames_and_a_score(
    written: dict[object, Path], tmp_path: Path, name: str
) -> None:
    splits = opened(written, name)
    for split in NAMES:
        examples, coverage = getattr(splits, split), splits.coverage[split]
        assert examples and coverage.present == coverage.listed == len(examples)
    store = FrameStore(tmp_path, Frames(budget=4))
    for example in (splits.train[0], splits.test[-1]):
        frames = store.get(example.clips[0])
        assert frames.frames.shape == (4, 112, 112, 3)
        assert list(frames.times_seconds) == sorted(set(frames.times_seconds))
    asked = splits.test
    right = {example.id: example.references[language(name)][0] for example in asked}
    if asked[0].task == "qa" and not asked[0].attributes.get("options"):
        assert right == {example.id: example.attributes["answer"] for example in asked}
    shifted = dict(zip(right, [*list(right.values())[1:], next(iter(right.values()))], strict=True))
    metric, best = BEST[asked[0].task]
    assert score_texts(asked, right, language=language(name)).metrics[metric] == pytest.approx(best)
    if len(set(right.values())) > 1:
        assert score_texts(asked, shifted, language=language(name)).metrics[metric] < best


@pytest.mark.parametrize("name", sorted(READERS))
def test_the_embedded_bases_know_every_word_that_is_asked_and_told(
    written: dict[object, Path], tokenizer: PreTrainedTokenizerFast, name: str
) -> None:
    """No word falls apart into letters: what a twin says is what pretraining has seen."""
    for example in opened(written, name).train:
        for number in range(len(example.references[language(name)])):
            for message in example.conversation(language(name), number):
                tokens = tokenizer.tokenize(message.text)
                letters = [one for one in tokens if len(one) == 1 and one.isalpha() and one not in "ABCDEsaĠĊ"]
                assert not letters, message.text


@pytest.mark.parametrize("name", sorted(CONTAINERS))
def test_containers_are_the_sets_own(written: dict[object, Path], name: str) -> None:
    from vqlora.video.decode import probe, read_frames

    path = opened(written, name).test[0].clips[0].path
    info = probe(path)
    assert info.container == CONTAINERS[name]
    assert not read_frames(path, [0, info.frames - 1], info=info).decoder.startswith("decord")


@pytest.mark.parametrize("name", ("msrvtt", "lsmdc", "howto100m", "msvd"))
def test_clips_sound_for_as_long_as_they_last_where_the_set_has_sound(written: dict[object, Path], name: str) -> None:
    with av.open(opened(written, name).train[0].clips[0].path) as container:
        picture = sum(1 for _ in container.decode(video=0)) / FPS
    with av.open(opened(written, name).train[0].clips[0].path) as container:
        assert len(container.streams.audio) == (name != "msvd")
        sound = sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0)) if name != "msvd" else 0
    assert sound == (0 if name == "msvd" else pytest.approx(picture, abs=0.2))


def test_the_digest_is_the_same_wherever_the_files_lie_and_changes_with_a_text(
    written: dict[object, Path], tmp_path: Path
) -> None:
    before = opened(written, "lsmdc").digest
    moved = tmp_path / "elsewhere"
    LAYOUTS["lsmdc"](moved, draw_scenes(COUNTS))
    assert open_data(f"lsmdc:{moved}").digest == before
    file = moved / "LSMDC16_annos_val.csv"
    file.write_text(file.read_text().replace("SOMEONE", "NOBODY", 1))
    assert open_data(f"lsmdc:{moved}").digest != before


def test_documented_dirt_is_counted(written: dict[object, Path]) -> None:
    assert opened(written, "msrvtt").dirt == {"empty_captions": 1, "captions_of_unlisted_videos": 1}
    assert opened(written, "lsmdc").dirt == {"repeated_ids": 4}
    dirt = opened(written, "activitynet").dirt
    assert dirt["odd_times"] == 10 and dirt["spaces_around_sentences"] > 0
    assert opened(written, "music-avqa").dirt == {"deleted_questions": 3}
    assert opened(written, "ego4d-nlq").dirt["entries_without_query"] == 6
    assert opened(written, "howto100m").dirt["empty_texts"] == 6
    assert opened(written, "sharegpt").dirt == {"system_turns": 12}


def test_what_is_particular_to_a_set_is_read(written: dict[object, Path]) -> None:
    assert set(opened(written, "vatex").train[0].references) == {"en", "zh"}
    assert set(opened(written, "vatex").test[0].references) == {"en"}
    assert set(opened(written, "howto100m").train[0].references) == {"en", "zh"}
    assert len(opened(written, "activitynet").test[0].references["en"]) == 2  # val_1 and val_2
    assert len(opened(written, "activitynet").test[-1].references["en"]) == 1
    assert 'SOMEONE sees: "' in opened(written, "lsmdc").train[0].references["en"][0]
    assert opened(written, "msrvtt-1ka").test[0].attributes["query"]
    assert len(opened(written, "msrvtt-1ka-7k").train) < len(opened(written, "msrvtt-1ka").train)
    clip = opened(written, "ego4d-nlq").test[0].clips[0]
    assert clip.start_seconds is not None and clip.start_seconds > 0  # a window of a long file
    assert any("about" in texts for one in opened(written, "nextqa-open").test for texts in one.references["en"][1:])
    music = opened(written, "music-avqa").test
    heard = {one.attributes["question"] for one in music if one.attributes["type"] == "Audio/Counting"}
    assert heard and all(text.startswith("How many times do you hear a ") and "<" not in text for text in heard)
    assert {one.attributes["type"].split("/")[0] for one in music} == {"Audio", "Visual", "Audio-Visual"}
    first = opened(written, "llava").train[0]
    assert [turn.role for turn in first.messages] == ["user", "assistant", "user"]
    assert "<video>" not in first.messages[0].text


def test_recall_of_captions_found_by_their_own_words(written: dict[object, Path]) -> None:
    """Retrieval from readers to recall: queries of the test, similarity the words that texts share."""
    test = opened(written, "msvd-retrieval").test
    queries = [(text, place) for place, one in enumerate(test) for text in one.references["en"]]
    words = [set(" ".join(one.references["en"]).split()) for one in test]
    similarity = np.array([[len(set(text.split()) & own) for own in words] for text, _ in queries], dtype=float)
    found = score_retrieval(similarity, [place for _, place in queries])
    assert found["t2v"].scores["R5"] > 0 and len(found["t2v"].ranks) == 5 * len(test)
    assert {"v2t", "v2t_max"} <= found.keys()


def test_msvd_reads_the_lists_and_the_pickle_of_the_retrieval_releases_and_runs_no_code(
    written: dict[object, Path], tmp_path: Path
) -> None:
    before = opened(written, "msvd")
    folder = tmp_path / "msvd"
    shutil.copytree(written[LAYOUTS["msvd"]], folder)
    (folder / "AllVideoDescriptions.txt").unlink()
    (folder / "youtube_mapping.txt").unlink()
    examples = {split: getattr(before, split) for split in NAMES}
    told = {one.id: [text.split(" ") for text in one.references["en"]] for own in examples.values() for one in own}
    (folder / "raw-captions.pkl").write_bytes(pickle.dumps(told))
    for split, own in examples.items():
        (folder / f"{split}_list.txt").write_text("\n".join(one.id for one in own) + "\n")
    assert open_data(f"msvd:{folder}").digest == before.digest
    (folder / "raw-captions.pkl").write_bytes(pickle.dumps({"a": Path("x")}))
    with pytest.raises(ValueError, match=r"raw-captions\.pkl: not the plain pickle.*wants to load pathlib"):
        open_data(f"msvd:{folder}")


def test_activitynet_halves_its_validation_where_the_list_of_entities_is_there(
    written: dict[object, Path], tmp_path: Path
) -> None:
    ids = [one.id for one in opened(written, "activitynet").test]
    folder = tmp_path / "activitynet"
    shutil.copytree(written[LAYOUTS["activitynet"]], folder)
    (folder / "split_ids_anet_entities.json").write_text(
        json.dumps({"training": [], "validation": ids[:2], "testing": ids[2:]})
    )
    splits = open_data(f"activitynet:{folder}")
    assert [one.id for one in splits.val] == ids[:2] and [one.id for one in splits.test] == ids[2:]
    assert splits.validation == "official" and len(splits.train) == COUNTS["train"]


def test_a_video_in_two_splits_and_an_id_given_twice_are_refused(written: dict[object, Path], tmp_path: Path) -> None:
    folder = tmp_path / "lsmdc"
    LAYOUTS["lsmdc"](folder, draw_scenes(COUNTS))
    train, test = folder / "LSMDC16_annos_training.csv", folder / "LSMDC16_challenge_1000_publictect.csv"
    train.write_text(train.read_text() + test.read_text().splitlines()[0] + "\n")
    with pytest.raises(ValueError, match="is in train and in test; a clip has one split"):
        open_data(f"lsmdc:{folder}")
    table = tmp_path / "clips.csv"
    table.write_text("path,text,split\na.mp4,one,train\nb.mp4,two,test\na.mp4,three,test\nc.mp4,four,val\n")
    with pytest.raises(ValueError, match=r"a\.mp4.* is in train and in test"):
        open_data(f"table:{table}")
    table.write_text("path,text,id,split\na.mp4,one,1,train\nb.mp4,two,1,train\n")
    with pytest.raises(ValueError, match="line 3: the id '1' names two clips"):
        open_data(f"table:{table}")
