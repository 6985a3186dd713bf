import json

import pytest

from analysis import __main__ as command

TABLE = """name,cider,peak_gib,latency_ms
a,1.0,10,100
b,1.2,20,200
c,0.9,12,90
d,,8,50
e,1.2,20,400
f,1.5,40,300
"""


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "trials.csv"
    path.write_text(TABLE)
    return str(path)


def answered(capsys, *arguments):
    assert command.main(["pareto", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_last_line_has_the_rows_of_the_front_and_the_volume(csv, capsys):
    both = ("--objective", "cider:max", "--objective", "peak_gib:min")
    found = answered(capsys, csv, *both, "--reference", "cider=0", "--reference", "peak_gib=80")
    assert found["front"] == [0, 1, 4, 5]  # equal rows stay together
    assert found["missing"] == [3]
    assert found["hypervolume"] == pytest.approx(1.5 * 40 + 1.2 * 20 + 1.0 * 10)
    assert answered(capsys, csv, *both)["hypervolume"] is None


def test_limits_take_rows_away_before_the_front_is_found(csv, capsys):
    found = answered(capsys, csv, "--objective", "cider:max", "--where", "peak_gib<=24", "--where", "latency_ms<=300")
    assert found["front"] == [1] and found["outside"] == [4, 5]


def test_without_json_the_front_is_a_table(csv, capsys):
    assert command.main(["pareto", csv, "--objective", "latency_ms:min"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("1 of 6 rows are on the front")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objective", "cider"], "write COLUMN:max or COLUMN:min"),
        (["--objective", "speed:max"], "'speed' is not in the table; it has name, cider"),
        (["--objective", "name:max"], "'name' holds something that is no number"),
        (["--objective", "cider:max", "--objective", "cider:min"], "given twice"),
        (["--objective", "cider:max", "--reference", "peak_gib=1"], "one worst value for each objective"),
        (["--objective", "cider:max", "--where", "peak_gib=24"], "is not COLUMN<=VALUE"),
        (["--objective", "cider:max", "--where", "peak_gib<=x"], "'x' in 'peak_gib<=x' is not a number"),
    ],
)
def test_what_cannot_be_answered_is_one_line_and_a_status(csv, capsys, arguments, message):
    assert command.main(["pareto", csv, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.splitlines()) == 1
