"""`python -m analysis fit` on a table of a known truth."""

import json
import re

import numpy as np
import pytest

from analysis.__main__ import main

TRUTH = {"E": 1.8, "A": 480.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37}


@pytest.fixture
def table(tmp_path):
    """40 rows of the Chinchilla law with 0.2 % noise, one that failed, one without a number, one of another status."""
    draw = np.random.default_rng(0)
    n, d = np.exp(draw.uniform(np.log(5e7), np.log(1e10), 40)), np.exp(draw.uniform(np.log(1e9), np.log(3e11), 40))
    loss = (1.8 + 480 * n**-0.35 + 2000 * d**-0.37) * np.exp(draw.normal(0, 0.002, 40))
    rows = [f"{a},{b},{c},done,{a * b}" for a, b, c in zip(n.tolist(), d.tolist(), loss.tolist(), strict=True)]
    rows += ["1e8,1e9,,failed,1e17", "1e8,1e9,nan,done,1e17", "1e8,1e9,9.9,stopped,1e17"]
    path = tmp_path / "table.csv"
    path.write_text("params,tokens,loss,status,flops\n" + "\n".join(rows) + "\n")
    return path


def run(capsys, *arguments):
    status = main(["fit", *map(str, arguments)])
    found = capsys.readouterr()
    return status, found.out, found.err


CHINCHILLA = ("--law", "chinchilla", "--x", "N=params,D=tokens", "--y", "loss", "--where", "status=done")


def test_the_last_line_is_one_object_with_the_truth_in_its_intervals(capsys, table):
    status, out, _ = run(capsys, table, *CHINCHILLA, "--bootstrap", 200, "--json")
    found = json.loads(out.splitlines()[-1])
    assert status == 0
    assert list(found) == ["law", "params", "intervals", "status", "objective", "seconds"]
    assert list(found["params"]) == list(found["intervals"]) == list(TRUTH)
    assert found["law"] == "chinchilla" and found["status"] == "converged"
    assert all(low <= TRUTH[name] <= high for name, (low, high) in found["intervals"].items())
    assert "over 40 rows, 3 left out" in out


def test_the_objective_is_the_sum_of_the_huber_losses_of_log_residuals(capsys, table):
    _, out, _ = run(capsys, table, *CHINCHILLA, "--delta", 2e-3, "--json")
    found = json.loads(out.splitlines()[-1])
    rows = [line.split(",") for line in table.read_text().splitlines()[1:41]]
    n, d, loss = np.array([row[:3] for row in rows], dtype=float).T
    p = found["params"]
    size = np.abs(np.log((p["E"] + p["A"] * n ** -p["alpha"] + p["B"] * d ** -p["beta"]) / loss))
    summed = np.where(size <= 2e-3, size**2 / 2, 2e-3 * (size - 1e-3)).sum()
    assert found["objective"] == pytest.approx(summed, rel=1e-9) and found["intervals"] == {}


def test_equal_seeds_give_equal_intervals_and_others_do_not(capsys, table):
    drawn = [
        json.loads(run(capsys, table, *CHINCHILLA, "--bootstrap", 60, "--seed", seed, "--json")[1].splitlines()[-1])
        for seed in (1, 1, 2)
    ]
    assert drawn[0]["intervals"] == drawn[1]["intervals"] != drawn[2]["intervals"]


def test_forms_are_compared_by_extrapolation(capsys, table):
    _, out, _ = run(capsys, table, *CHINCHILLA, "--compare", "multiplicative", "--cost", "flops")
    lines = [line.split(":")[0].strip() for line in out.splitlines() if "AICc" in line]
    assert lines == ["chinchilla", "multiplicative"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--law", "chinchilla", "--x", "N=params", "--y", "loss"), "use --x N=COLUMN,D=COLUMN"),
        (("--law", "chinchilla", "--x", "N=params,D=words", "--y", "loss"), "no column 'words'; it has params"),
        (("--law", "precision", "--x", "N=params,D=tokens,P=params", "--y", "loss"), "move together"),
        ((*CHINCHILLA, "--compare", "power"), "no law of 2 factors"),
        ((*CHINCHILLA, "--bootstrap", "10"), "at least 40"),
        ((*CHINCHILLA, "--delta", "0"), "delta 0.0 must be"),
        (
            ("--law", "chinchilla", "--x", "N=params,D=tokens", "--y", "loss", "--where", "status=queued"),
            "0 points|0 levels",
        ),
    ],
)
def test_what_cannot_be_fitted_is_one_line_and_status_2(capsys, table, arguments, message):
    status, out, err = run(capsys, table, *arguments)
    assert status == 2 and not out.endswith("}\n")
    assert err.startswith("analysis: ") and err.count("\n") == 1
    assert re.search(message, err), err


def test_profiles_stand_beside_the_intervals_and_noise_that_differs_gives_weights(capsys, tmp_path):
    """Replicates that are noisier for larger x: weighted, the exponent's profile is narrower."""
    draw = np.random.default_rng(0)
    x = np.repeat(np.geomspace(1, 100, 12), 3)
    y = (1 + 2 * x**-0.5) * np.exp(draw.normal(0, 0.001 * x**0.7))
    path = tmp_path / "noisy.csv"
    path.write_text("x,y\n" + "".join(f"{a!r},{b!r}\n" for a, b in zip(x.tolist(), y.tolist(), strict=True)))
    widths = []
    for more in ((), ("--noise", "x")):
        _, out, _ = run(capsys, path, "--law", "power", "--x", "x=x", "--y", "y", "--squares", "log", *more)
        low, high = map(float, re.search(r" a = .*profile \[([\d.]+), ([\d.]+)\]", out).groups())
        assert low <= 0.5 <= high
        widths.append(high - low)
    assert widths[1] < 0.7 * widths[0]
