"""`vqlora score`: files in, one JSON object out, and one line for what cannot be used."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vqlora.cli import main
from vqlora.metrics.captions import score_captions

REFERENCES = {"1": ["A man is running.", "The man runs"], "2": ["Two dogs play on grass"], "3": ["a car passes by"]}
PREDICTIONS = {"1": "a man is running", "2": "dogs play on the grass", "3": "someone sings"}


def write(path: Path, plain: Any) -> str:
    path.write_text(plain if isinstance(plain, str) else json.dumps(plain))
    return str(path)


def score(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["score", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def pair(folder: Path, references: Any, predictions: Any) -> list[str]:
    r, p = write(folder / "r.json", references), write(folder / "p.json", predictions)
    return ["--references", r, "--predictions", p]


def test_captions_in_coco_form_and_plain_form_score_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = {
        "images": [{"id": int(id)} for id in REFERENCES],
        "annotations": [
            {"image_id": int(id), "id": place, "caption": text}
            for place, (id, text) in enumerate((id, text) for id, texts in REFERENCES.items() for text in texts)
        ],
    }
    results = [{"image_id": int(id), "caption": text} for id, text in PREDICTIONS.items()]
    plain = score(capsys, "--task", "captioning", *pair(tmp_path, REFERENCES, PREDICTIONS))
    listed = score(
        capsys, "--task", "captioning", *pair(tmp_path, REFERENCES, {k: [v] for k, v in PREDICTIONS.items()})
    )
    official = score(capsys, "--task", "captioning", *pair(tmp_path, coco, results))
    assert plain == listed == official
    expected = score_captions(PREDICTIONS, REFERENCES).scores
    names = {"Bleu_1": "bleu_1", "Bleu_4": "bleu_4", "ROUGE_L": "rouge_l", "CIDEr": "cider"}
    assert {name: plain["scores"][name] for name in names} == {name: expected[ours] for name, ours in names.items()}
    assert plain["count"] == 3 and plain["segment"] == "ptb"
    for name, value in plain["scores"].items():
        low, high = plain["intervals"][name]
        assert low <= value <= high


def test_chinese_wants_a_segmentation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = pair(tmp_path, {"1": ["一个男人在跑步。"], "2": ["一只狗"]}, {"1": "男人在跑步", "2": "一只猫"})
    assert main(["score", "--task", "captioning", *files, "--language", "zh"]) == 2
    assert "--segment" in capsys.readouterr().err
    found = score(capsys, "--task", "captioning", *files, "--language", "zh", "--segment", "char")
    assert found["segment"] == "char" and found["scores"]["Bleu_1"] > 0.5


def test_retrieval_takes_a_matrix_and_whose_each_query_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "s.npy", np.array([[0.9, 0.1], [0.8, 0.2], [0.9, 0.7]], dtype=np.float32))
    for plain in ([0, 0, 1], {"0": 0, "1": 0, "2": 1}):
        owners = write(tmp_path / "map.json", plain)
        found = score(capsys, "--task", "retrieval", "--similarity", str(tmp_path / "s.npy"), "--query-video", owners)
        assert found["t2v"]["R1"] == pytest.approx(200 / 3) and found["t2v"]["R5"] == 100.0
        assert found["v2t"]["R1"] == 50.0 and found["ties"] == 1  # caption 2 scores as high for video 0
        assert set(found["t2v"]) == {"R1", "R5", "R10", "MdR", "MnR", "rsum"}
        assert "v2t_max" in found and "t2v" in found["dual_softmax"]


def test_answers_free_and_with_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    free = score(capsys, "--task", "qa", *pair(tmp_path, {"1": "dog", "2": 3}, {"1": "Dog", "2": 4}))
    assert free["scores"] == {"accuracy": 0.5, "unparsed": None, "by_type": {}}
    options = {"options": ["a", "two", "x y"], "type": "TN"}
    questions = {"1": {"answer": 1, **options}, "2": {"answer": "C", **options}, "3": {"answer": "two", **options}}
    found = score(capsys, "--task", "qa", *pair(tmp_path, questions, {"1": "(B)", "2": 2, "3": "who knows"}))
    assert found["scores"]["accuracy"] == pytest.approx(2 / 3)
    assert found["scores"]["unparsed"] == pytest.approx(1 / 3)
    assert found["scores"]["by_type"] == {"TN": pytest.approx(2 / 3)}
    assert found["scores"]["groups"] == {"T": pytest.approx(2 / 3)}


def test_dense_captions_in_the_official_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = {"v_a": {"duration": 9.0, "timestamps": [[0, 5], [5, 9]], "sentences": ["A dog runs.", " It sits."]}}
    given = {
        "version": "VERSION 1.0",
        "results": {"v_a": [{"sentence": "A dog runs.", "timestamp": [0, 5]}]},
        "external_data": {"used": False, "details": ""},
    }
    found = score(capsys, "--task", "dense", *pair(tmp_path, truth, given))
    assert found["scores"]["precision"] == {"0.3": 1.0, "0.5": 1.0, "0.7": 1.0, "0.9": 1.0}
    assert found["scores"]["recall"]["0.5"] == 0.5 and found["count"] == 1


def test_moments_and_translations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = score(capsys, "--task", "moments", *pair(tmp_path, {"q": [1, 3]}, {"q": [[1, 3], [4, 5]]}))
    assert found["scores"]["R1@0.5"] == 100.0
    pytest.importorskip("sacrebleu")
    texts = {"1": ["一个男人在跑步。"], "2": ["一只狗在草地上玩"]}
    files = pair(tmp_path, texts, {id: own[0] for id, own in texts.items()})
    found = score(capsys, "--task", "translation", *files, "--language", "zh")
    assert found["scores"]["BLEU"] == pytest.approx(100.0) and "tok:zh" in found["signature"]


@pytest.mark.parametrize(
    ("task", "references", "predictions", "said"),
    [
        ("captioning", REFERENCES, {"1": "a"}, "2 ids|2 without prediction"),
        ("captioning", REFERENCES, {**PREDICTIONS, "9": "a"}, "1 without references"),
        ("captioning", REFERENCES, {**PREDICTIONS, "1": ["a", "b"]}, "2 predictions; one is scored"),
        ("captioning", {"1": []}, {"1": "a"}, "without a reference"),
        ("captioning", {"1": "a"}, {"1": "a"}, "expected a list"),
        ("captioning", {"1": [5]}, {"1": "a"}, r"r.json: 1\[0\]: expected a text, found 5"),
        ("captioning", '{"1": ["a"], "1": ["b"]}', {"1": "a"}, "stand twice"),
        ("captioning", '{"1": ["a"]', {"1": "a"}, "r.json: line 1: not JSON"),
        ("captioning", '{"1": ["\\ud800"]}', {"1": "a"}, "surrogate"),
        ("captioning", REFERENCES, [{"image_id": 1, "caption": "a"}, {"image_id": "1", "caption": "b"}], "twice"),
        ("captioning", {}, {}, "holds no id"),
        ("qa", {"1": {"answer": 5, "options": ["a", "b"]}}, {"1": "a"}, "option 5 of 2"),
        ("qa", {"1": {"answer": "c c", "options": ["a", "b"]}}, {"1": "a"}, "none of the options"),
        ("qa", {"1": {"answer": 0, "options": ["a", "b"]}}, {"1": 7}, "option 7 of 2"),
        ("qa", {"1": "a"}, {"2": "a"}, "1 ids without a prediction"),
        ("dense", {"v": {"timestamps": [[0, 1]], "sentences": []}}, {"results": {}}, "1 timestamps for 0 sentences"),
        ("dense", {"v": {"timestamps": [[0, 1]], "sentences": ["a"]}}, {"v": []}, "no key 'results'"),
        ("moments", {"q": [0]}, {"q": []}, "expected .start, end."),
    ],
)
def test_unusable_files_get_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, references: Any, predictions: Any, said: str
) -> None:
    assert main(["score", "--task", task, *pair(tmp_path, references, predictions), "--json"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(printed.err)


def test_mismatches_that_are_asked_for_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions = {"1": PREDICTIONS["1"], "9": "a"}
    files = pair(tmp_path, REFERENCES, predictions)
    found = score(capsys, "--task", "captioning", *files, "--allow-mismatch")
    assert (found["missing"], found["unknown"], found["count"]) == (2, 1, 3)


def test_a_matrix_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.npy").write_bytes(b"\x93NUMPY\x01\x00nothing")
    assert main(["score", "--task", "retrieval", "--similarity", str(tmp_path / "s.npy")]) == 2
    assert "numpy.save" in capsys.readouterr().err
    np.save(tmp_path / "o.npy", np.array([[None]]), allow_pickle=True)
    assert main(["score", "--task", "retrieval", "--similarity", str(tmp_path / "o.npy")]) == 2
    assert main(["score", "--task", "retrieval"]) == 2
