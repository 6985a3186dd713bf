import hashlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from known_truth import ended

from analysis import __main__ as command
from analysis import accounts, figures, layout, page, table, writing
from analysis.report import report_of
from vqlora.record import Status

EVIL = "<img src=x onerror=alert(1)></script><script>alert(2)</script>|[x](javascript:alert(3))`"


@pytest.fixture(scope="module")
def made(whole):
    return report_of(whole)


@pytest.fixture(scope="module")
def html(made):
    return layout.html(made)


def test_the_report_opens_with_the_verdict_then_the_counts_then_what_was_left_out(html):
    order = [
        "LoRA rank 16 is above zero-shot",
        "28 asked · 24 done · 1 stopped · 1 out of memory · 1 failed · 1 without a record",
        "What was left out and why",
        "Explore the frontier",
        "What the frontier says",
        'id="frontier-train_peak_gib"',
        "Scores of all configurations",
        "What it costs",
        "All trials",
        "<h2>Methods",
        "What a journal asks",
        "Provenance",
    ]
    places = [html.index(text) for text in order]
    assert places == sorted(places)
    assert "clip video17" in html and "no frame could be decoded (6 trials)" in html


def test_plotly_is_embedded_once_and_nothing_is_named_that_would_be_fetched(html):
    library = page.packed("library", figures.library())
    assert html.count(library) == 1
    own = html.replace(library, "")
    assert not re.search(r"https?://|//cdn|\bsrc=|@import|url\(", own)
    assert "default-src 'none'" in html


def test_every_plot_has_a_summary_a_text_alternative_and_a_fixed_id(html, made):
    for plot in made.plots:
        assert re.search(rf'id="{plot.id}" role="img" aria-label="[^"]{{40,}}"', html)
        assert plot.rows and all(len(row) == len(plot.header) for row in plot.rows)


def test_every_trial_is_in_the_table_whatever_became_of_it(html, whole):
    assert all(f"<td>{record.trial}</td>" in html for record in whole.records)


def test_equal_records_give_equal_bytes_also_in_another_process(html, committed, tmp_path):
    first = writing.whole(tmp_path / "first.html", html.encode())
    made = subprocess.run(
        [sys.executable, "-m", "analysis", "report", str(committed), "-o", str(tmp_path / "second.html")],
        capture_output=True,
        text=True,
        check=True,
    )
    second = tmp_path / "second.html"
    assert made.stdout.strip() == str(second)
    assert hashlib.sha256(second.read_bytes()).hexdigest() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.html", "second.html"]


def test_the_committed_form_is_small_reproducible_and_names_the_page(made, tmp_path):
    for folder in ("a", "b"):
        path = writing.write_markdown(made, tmp_path / folder, sha256="f" * 64)
    files = sorted(path.parent.iterdir())
    assert [(tmp_path / "a" / path.name).read_bytes() for path in files] == [path.read_bytes() for path in files]
    assert sum(path.stat().st_size for path in files) < 350_000
    text = path.read_text()
    assert "f" * 64 in text
    pictures = re.findall(r"\]\((\S+\.svg)\)", text)
    assert sorted(pictures) == [path.name for path in files if path.suffix == ".svg"]
    assert all("<dc:date>" not in path.read_text() for path in files)


def test_markup_in_records_is_text_in_every_output(drawn, tmp_path):
    records, examples = drawn
    first = ended(replace(records[0], recipe={**records[0].recipe, "base": EVIL}), Status.FAILED, EVIL)
    other = replace(records[1], skipped=[{"id": EVIL, "reason": EVIL}], point={"rank": 2, "bits": EVIL})
    found = table.collect([first, other, *records[2:]], examples, asked=table.Asked(question=EVIL, trials=(EVIL,)))
    report = report_of(found)
    writing.write_markdown(report, tmp_path, sha256="0")
    text = layout.html(report)
    assert "<img" not in text and "alert(1)" in text
    assert text.count("</script>") == text.count("<script")
    assert "<img" not in (tmp_path / "rank_bits.md").read_text()
    assert not re.search(r"[^\\]\]\(javascript", (tmp_path / "rank_bits.md").read_text())
    assert all("<img" not in path.read_text() and "<script" not in path.read_text() for path in tmp_path.glob("*.svg"))


def test_a_study_without_a_finished_trial_still_has_a_report(whole):
    failed = [ended(record, Status.FAILED, "no GPU") for record in whole.records]
    found = table.collect(failed, {}, asked=table.Asked())
    text = layout.html(report_of(found))
    assert "No trial has finished" in text and "27 asked · 0 done · 27 failed" in text
    assert "script-src 'none'" in text and len(text) < 60_000


def test_bad_input_is_one_line_and_a_status(capsys, tmp_path):
    assert command.main(["report", str(tmp_path / "none.jsonl")]) == 2
    assert "does not exist; give NAME.jsonl or STORAGE/STUDY" in capsys.readouterr().err
    assert command.main(["report", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_command_writes_the_committed_forms(committed, tmp_path, capsys):
    path, folder, records = tmp_path / "x.html", tmp_path / "md", tmp_path / "records"
    assert command.main(["report", str(committed), "-o", str(path), "--markdown", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(folder / "rank_bits.md"), str(path)]
    assert hashlib.sha256(path.read_bytes()).hexdigest() in (folder / "rank_bits.md").read_text()
    assert command.main(["records", str(committed), "-o", str(records)]) == 0
    assert (records / "rank_bits.jsonl").read_bytes() == committed.read_bytes()


def test_a_report_needs_no_torch_no_ray_and_no_transformers(committed, tmp_path):
    code = (
        "import sys; from analysis.__main__ import main; "
        f"main(['report', {str(committed)!r}, '-o', {str(tmp_path / 'x.html')!r}]); "
        "found = {'torch', 'ray', 'transformers', 'peft', 'optuna'} & set(sys.modules); "
        "sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_mathematics_imports_numpy_and_scipy_only():
    code = (
        "import sys, analysis.laws.spread, analysis.compare, analysis.pareto; "
        "found = {'pandas', 'plotly', 'matplotlib', 'vqlora', 'pyarrow'} & set(sys.modules); "
        "sys.exit(str(found) if found else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "warns"), [("rank_bits_7b", True), ("rank_bits", False)])
def test_a_study_of_random_weights_says_that_its_scores_mean_nothing(name: str, warns: bool) -> None:
    evidence = table.read(str(Path(__file__).parents[2] / "analysis" / "records" / f"{name}.jsonl"))
    assert ("scores mean nothing" in accounts.subtitle(evidence)) is warns
