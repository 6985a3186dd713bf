import json
from dataclasses import replace

import numpy as np
import pytest
from known_truth import Maker, Truth, ended, provenance

from analysis import evidence, table
from analysis.order import in_order
from vqlora.record import Status
from vqlora.store import study_store


def reasons(found):
    return {one.what: one.reason for one in found.left_out}


def test_the_table_has_one_row_a_trial_in_the_order_of_the_axes_and_numbers_or_nan(whole):
    frame = whole.frame
    assert len(frame) == 27
    assert frame["rank"].is_monotonic_increasing
    assert frame[frame["rank"] == 4]["bits"].tolist() == [4, 4, 8, 8, 16, 16]
    assert {"trial", "rank", "bits", "seed", "status", "val.cider", "test.cider", "cost.latency_ms"} <= set(frame)
    assert frame["test.cider"].isna().sum() == 3 and frame["test.cider"].dtype == np.float64
    assert (whole.done["status"] == "done").all() and len(whole.done) == 24


def test_trials_that_did_not_finish_are_left_out_each_with_its_reason(whole):
    found = reasons(whole)
    assert "out of memory" in found["r16-b16-s1"]
    assert "failed: RuntimeError: a worker died" in found["r2-b8-s1"]
    assert "censored" in found["r4-b4-s1"]
    assert found["r16-b16-s2"] == "asked for, no record yet"


def test_a_record_with_a_broken_digest_is_left_out_and_named(committed, tmp_path):
    lines = committed.read_text().splitlines()
    lines[3] = lines[3].replace('"seed": 0', '"seed": 5').replace('"seed": 1', '"seed": 5')
    broken = tmp_path / "rank_bits.jsonl"
    broken.write_text("\n".join(lines))
    found = table.read(str(broken))
    assert len(found.records) == 26
    assert "digest does not match" in reasons(found)["line 4"]


def test_an_attempt_that_finished_counts_before_others_and_a_repeated_experiment_counts_once(drawn):
    records, _ = drawn
    first = records[0]
    again = ended(replace(first, attempt=1), Status.FAILED, "a later attempt that failed")
    twin = replace(first, trial="zz-twin")
    found = table.collect([first, again, twin], {}, asked=table.Asked())
    assert [one.trial for one in found.records] == [first.trial]
    assert "attempt 0 of the same trial counts" in reasons(found)[f"{first.trial}, attempt 1"]
    assert reasons(found)["zz-twin"] == f"the same experiment as {first.trial}"


def test_per_clip_scores_that_are_not_of_this_record_are_left_out(drawn):
    records, examples = drawn
    other = {records[0].trial: examples[records[-1].trial]}
    found = table.collect(records[:1], other, asked=table.Asked())
    assert not found.scores(split="test", metric="cider")
    assert "the record says" in reasons(found)[f"per-clip scores of {records[0].trial}"]


def test_only_scores_that_are_means_over_clips_have_per_clip_scores(whole):
    assert len(whole.scores(split="test", metric="cider")) == 24
    assert whole.scores(split="test", metric="bleu_4") == {}


def test_the_committed_form_reads_back_the_same_and_its_bytes_depend_on_the_evidence_only(whole, committed, tmp_path):
    found = table.read(str(committed))
    assert found.records == whole.records and found.asked == whole.asked and found.left_out == whole.left_out
    assert found.examples.keys() == whole.examples.keys()
    again = evidence.write(found, tmp_path)
    assert [path.read_bytes() for path in again] == [
        path.with_name(path.name).read_bytes() for path in sorted(committed.parent.iterdir(), key=_place)
    ]


def _place(path):
    return [".jsonl", ".gz", ".json"].index(path.suffix)


def test_a_storage_and_the_committed_form_give_the_same_table(whole, tmp_path):
    store = study_store(str(tmp_path), whole.study, whole.version)
    asked = {
        "question": whole.asked.question,
        "axes": {name: list(values) for name, values in whole.asked.axes.items()},
        "objectives": [{"metric": m, "direction": d} for m, d in whole.asked.objectives],
        "trials": [{"trial": trial} for trial in whole.asked.trials],
    }
    store.write_asked(asked)
    for record in whole.records:
        trial = store.trial(record.trial)
        if record.trial in whole.examples:
            trial.write_examples(record.attempt, whole.examples[record.trial])
        trial.write_record(record)
    store.trial("r2-b4-s0").place.write("record.json", b'{"record": {}, "sha256": "0"}')
    found = table.read(f"{tmp_path}/rank_bits")
    assert len(found.records) == 26
    kept = [record for record in whole.records if record.trial != "r2-b4-s0"]
    assert [one.trial for one in found.records] == [one.trial for one in kept]
    assert found.scores(split="test", metric="cider").keys() == whole.scores(split="test", metric="cider").keys() - {
        "r2-b4-s0"
    }
    assert str(tmp_path) not in json.dumps(reasons(found)) and "r2-b4-s0/record.json" in reasons(found)


def test_axes_must_be_scalars_with_names_of_their_own(drawn):
    record = drawn[0][0]
    with pytest.raises(ValueError, match="axes hold scalars"):
        table.table([replace(record, point={"rank": [4]})], axes=["rank"])
    with pytest.raises(ValueError, match="axis 'seed' is the name of a column"):
        table.table([replace(record, point={"seed": 4})], axes=["seed"])


def test_records_that_make_no_table_are_refused(drawn, tmp_path):
    record = drawn[0][0]
    with pytest.raises(ValueError, match="mixed"):
        table.collect([record, replace(record, study="other")], {}, asked=table.Asked())
    with pytest.raises(ValueError, match="names files"):
        table.collect([replace(record, study="../up")], {}, asked=table.Asked())
    with pytest.raises(ValueError, match="does not exist"):
        table.read(str(tmp_path / "none.jsonl"))
    (tmp_path / "empty.jsonl").write_text("nonsense\n")
    with pytest.raises(ValueError, match="no valid record; 1 broken"):
        table.read(str(tmp_path / "empty.jsonl"))
    with pytest.raises(ValueError, match=r"val\.NAME or cost\.NAME"):
        table.asked_from_json({"objectives": [{"metric": "test.cider", "direction": "max"}]})


def test_levels_are_in_natural_order_and_the_device_is_a_column():
    assert in_order(["all16", "all4", 8, "all8", None, 2, 8]) == [2, 8, "all4", "all8", "all16", None]
    record, _ = Maker(Truth(clips=4)).trial(2, 4, 0)
    frame = table.table([replace(record, provenance=provenance("CPU"))], axes=["rank", "bits"])
    assert frame["device"].tolist() == ["CPU"] and frame["config"].tolist() == ["rank 2, bits 4"]
