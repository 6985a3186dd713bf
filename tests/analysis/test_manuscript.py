"""What leaves a report besides its page: CSV, LaTeX, figures; several studies; a study that is running."""

import csv
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from analysis import __main__ as command
from analysis import evidence, latex, layout, table
from analysis.joined import join
from analysis.report import report_of
from analysis.tables import Cell, Table


@pytest.fixture(scope="module")
def made(whole):
    return report_of(whole)


@pytest.fixture(scope="module")
def written(committed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    places = [f"--{name}={folder / name}" for name in ("csv", "latex", "figures")]
    assert (
        command.main(["report", str(committed), "-o", str(folder / "x.html"), *places, "--format", "pdf,svg,png"]) == 0
    )
    return folder


def test_page_latex_and_csv_have_the_same_numbers(written, made):
    page = (written / "x.html").read_text()
    for one in made.tables:
        tex = (written / "latex" / f"{one.id}.tex").read_text()
        with (written / "csv" / f"{one.id}.csv").open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert len(rows) == len(one.rows) > 0
        for row, cells in zip(rows, one.rows, strict=True):
            for key, cell in zip(one.keys, cells, strict=True):
                if isinstance(cell.value, str):
                    assert row[key] == cell.value
                    continue
                low, high = (float(row.get(f"{key}.{end}") or "nan") for end in ("low", "high"))
                text = Cell(value=float(row[key] or "nan"), low=low, high=high).text
                assert text == cell.text
                assert f">{text}<" in page or f">{text} *<" in page
                assert latex.escape(text).replace("-", "$-$", int(cell.value < 0)) in tex


def test_latex_compiles_to_the_letter_it_was_given_and_no_more():
    evil = r"\input{/etc/passwd} 50% & _x_ $y$ #1 ~ ^ {z}"
    rows = [[Cell(value=evil), Cell(value=-0.5, best=True)]]
    text = latex.table(Table(id="t", title=evil, note="", keys=["a", "b"], header=["a", "b_c"], rows=rows), name="s")
    assert r"\input" not in text.replace(r"\textbackslash{}input", "")
    assert r"\textbf{$-$0.5}" in text and r"b\_c" in text
    assert len(re.findall(r"(?<!\\)&", text)) == 2  # one between two cells, of head and of the row
    assert r"\begin{longtable}" in latex.table(
        Table(id="t", title="", note="", keys=["a"], header=["a"], rows=[[Cell(value=1.0)]] * 41), name="s"
    )


def test_a_table_wider_than_the_page_stands_in_panels_that_all_name_their_rows():
    keys = [f"column {place} with a long name" for place in range(9)]
    rows = [[Cell(value=f"row {number}"), *(Cell(value=float(number)) for _ in keys[1:])] for number in range(3)]
    text = latex.table(Table(id="t", title="", note="", keys=keys, header=keys, rows=rows), name="s")
    assert text.count(r"\begin{tabular}") == text.count("row 2") == 4
    assert all(text.count(key) == (4 if key == keys[0] else 1) for key in keys)
    assert text.count(r"\caption") == text.count(r"\label{tab:s-t}") == 1


def test_the_manuscript_compiles_without_an_error_or_anything_too_wide(written, tmp_path):
    """pdflatex on all that was written; a line more than a millimetre too wide would be seen."""
    pdflatex = shutil.which("pdflatex")
    if pdflatex is None:
        missing = "no pdflatex on this machine: apt-get install texlive-latex-recommended"
        pytest.fail(missing) if os.environ.get("VQLORA_REQUIRE_ALL") == "1" else pytest.skip(missing)
    parts = sorted(path.stem for path in (written / "latex").glob("*.tex"))
    graphics = f"\\graphicspath{{{{{written / 'figures'}/}}}}"
    opened = [r"\documentclass[a4paper]{article}", r"\usepackage[margin=2cm]{geometry}"]
    opened += [r"\usepackage{booktabs,longtable,graphicx}", graphics, r"\begin{document}\sloppy"]
    body = [f"\\input{{{written / 'latex' / part}}}" for part in parts]
    (tmp_path / "all.tex").write_text("\n".join([*opened, *body, r"\end{document}"]))
    run = [pdflatex, "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    wide = [float(found) for found in re.findall(r"Overfull \\hbox \(([\d.]+)pt", done.stdout)]
    assert max(wide, default=0) < 3 and "undefined" not in done.stdout


def test_a_table_is_booktabs_with_the_best_in_bold(written):
    text = (written / "latex" / "scores.tex").read_text()
    assert all(sign in text for sign in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{", r"\textbf{"))
    assert "Bold: the best on test" in text
    assert len((written / "latex" / "checklist.tex").read_text().split("\\item")) == 15
    assert "paired resamples" in (written / "latex" / "methods.tex").read_text()


def test_figures_are_vectors_at_column_widths_with_truetype_fonts_and_no_date(written, made):
    for plot in made.plots:
        for suffix, inches in (("", 3.25), ("-wide", 6.75)):
            pdf = (written / "figures" / f"{plot.id}{suffix}.pdf").read_bytes()
            box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", pdf)
            assert box and float(box[1]) == pytest.approx(72 * inches, abs=0.5)
            assert b"/Type3" not in pdf and b"/FontFile2" in pdf and b"CreationDate" not in pdf
        assert "<text" not in (written / "figures" / f"{plot.id}.svg").read_text()  # outlines: no font is needed


def test_every_plotted_point_is_in_a_csv(written, made):
    for plot in made.plots:
        with (written / "csv" / f"figure-{plot.id}.csv").open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        expected = sum(len(one.y) for one in getattr(plot, "marks", ()))
        assert sum(row.get("kind") == "mark" for row in rows) == expected
        assert rows


def test_a_manuscript_is_the_same_bytes_again(written, committed, tmp_path):
    places = [f"--{name}={tmp_path / name}" for name in ("csv", "latex", "figures")]
    run = [sys.executable, "-m", "analysis", "report", str(committed), "-o", str(tmp_path / "x.html"), *places]
    subprocess.run([*run, "--format=pdf,svg,png"], check=True, capture_output=True)
    files = sorted(path.relative_to(written) for path in written.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    assert all((written / one).read_bytes() == (tmp_path / one).read_bytes() for one in files)


def test_a_formula_in_a_record_is_no_formula_in_a_spreadsheet(drawn, tmp_path):
    records, examples = drawn
    evil = replace(records[0], point={"rank": 2, "bits": "=HYPERLINK(0)"})
    found = report_of(table.collect([evil, *records[1:]], examples, asked=table.Asked()))
    from analysis.export import write_csv

    write_csv(tmp_path, tables=found.tables, plots=[])
    assert "'=HYPERLINK" in (tmp_path / "coverage.csv").read_text()
    assert not re.search(r"(^|,)=", (tmp_path / "coverage.csv").read_text(), re.M)


@pytest.fixture
def two(drawn, tmp_path):
    records, examples = drawn
    paths = []
    for name in ("first", "second"):
        own = [replace(one, study=name) for one in records]
        found = table.collect(own, examples, asked=table.Asked(question=f"{name}?"))
        paths.append(str(evidence.write(found, tmp_path)[0]))
    return paths


def test_several_studies_are_one_page_with_a_common_frontier_and_a_part_each(two, tmp_path, capsys):
    page = tmp_path / "both.html"
    asked = [f"--csv={tmp_path / 'csv'}", f"--latex={tmp_path / 'tex'}"]
    assert command.main(["report", *two, "-o", str(page), *asked]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(page)
    text = page.read_text()
    assert text.count('id="explore"') == 1 and "<h1>first</h1>" in text and "<h1>second</h1>" in text
    ids = re.findall(r'<div class="plot" id="([^"]+)"', text)
    assert len(ids) == len(set(ids)) > 8
    with (tmp_path / "csv" / "scores.csv").open(newline="") as lines:
        together = list(csv.DictReader(lines))
    apart: list[str] = []
    for name in ("first", "second"):
        with (tmp_path / "csv" / name / "scores.csv").open(newline="") as lines:
            apart += [f"study {name}, {row['configuration']}" for row in csv.DictReader(lines)]
    assert sorted(row["configuration"] for row in together) == sorted(apart)
    for row in together:
        low, high = (float(row[f"test.cider.{end}"]) for end in ("low", "high"))
        words = Cell(value=float(row["test.cider"]), low=low, high=high).text
        assert words in text and words in (tmp_path / "tex" / "scores.tex").read_text()


def test_joined_studies_keep_their_trials_apart_and_share_what_all_asked_for(whole):
    other = replace(whole, study="other", records=tuple(replace(one, study="other") for one in whole.records))
    both = join([whole, other])
    assert len(both.records) == 2 * len(whole.records) == len({record.trial for record in both.records})
    assert both.axes[0] == "study" and both.asked.objectives == whole.asked.objectives
    found = report_of(both)
    assert len(found.results.configs) == 30
    assert "study first" not in layout.html(found)
    with pytest.raises(ValueError, match="at least two of different names"):
        join([whole, whole])


def test_watch_writes_again_until_all_that_was_asked_for_has_ended(committed, tmp_path):
    lines = committed.read_text().splitlines()
    records = tmp_path / "rank_bits.jsonl"
    for suffix in (".study.json", ".examples.jsonl.gz"):
        shutil.copy(committed.with_suffix(suffix), records.with_suffix(suffix))
    study = records.with_suffix(".study.json")
    study.write_text(study.read_text().replace('"r16-b16-s2"', '"r16-b16-s1"'))
    records.write_text("\n".join(lines[:-1]) + "\n")
    page = tmp_path / "x.html"
    run = [sys.executable, "-m", "analysis", "report", str(records), "-o", str(page), "--watch", "--interval=0.2"]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().strip() == str(page)
        assert 'http-equiv="refresh"' in page.read_text()
        time.sleep(0.5)
        unfinished = tmp_path / "unfinished"
        unfinished.write_text("\n".join(lines) + "\n")
        unfinished.replace(records)
        assert watching.stdout.readline().strip() == str(page)
        assert watching.wait(60) == 0
    assert 'http-equiv="refresh"' not in page.read_text()


def test_an_unknown_format_is_refused_before_anything_is_read(capsys):
    assert command.main(["report", "nowhere", "--format", "pdf,gif"]) == 2
    assert "'gif' is not one of svg, pdf, png" in capsys.readouterr().err
