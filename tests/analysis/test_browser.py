"""The report in headless Chromium: its plots are drawn, it asks the network for nothing, it fits a phone.

Skips without Chromium, unless VQLORA_REQUIRE_ALL=1, which makes that a failure.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from headless import open_page

from analysis import layout, table
from analysis.report import report_of
from vqlora.strips import strip_name

PROBE = """
<script>
const drawn = setInterval(() => {
  if (document.documentElement.dataset.allDrawn !== "yes") return;
  clearInterval(drawn);
  window.act?.();
  setTimeout(probe, 200);
}, 20);
function probe() {
  const boxes = [...document.querySelectorAll(".plot")];
  const found = {
    plots: Object.fromEntries(boxes.map(box => [box.id, {
      drawn: box.querySelectorAll("svg.main-svg").length,
      points: box.querySelectorAll(".scatterlayer .point").length,
      lines: box.querySelectorAll(".scatterlayer .js-line").length,
      cells: box.querySelectorAll(".heatmaplayer image").length,
      height: box.clientHeight,
    }])),
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    fetched: performance.getEntriesByType("resource").map(entry => entry.name),
    paper: getComputedStyle(document.body).backgroundColor,
    ran: window.ran === true,
    gallery: {
      clips: document.querySelectorAll("#ga-clips .clip").length,
      pictures: document.querySelectorAll("#ga-clips img").length,
      captions: [...document.querySelectorAll("#ga-clips .caption")].map(one => one.textContent),
      references: [...document.querySelectorAll("#ga-clips li")].map(one => one.textContent),
    },
  };
  const out = document.createElement("pre");
  out.id = "probe";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
}
</script>
"""


def visit(chromium: str, page: Path, *, width: int = 1280, dark: bool = False) -> dict:
    """What a script sees that is added to the page, whose policy has to be taken off for that."""
    text = page.read_text()
    probed = page.with_name(f"probed-{page.name}")
    probed.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text) + PROBE)
    dom = open_page(chromium, probed, width=width, dark=dark)
    found = re.search(r'<pre id="probe">(.*?)</pre>', dom, re.S)
    assert found, dom[-2000:]
    return json.loads(unescape(found[1]))


def test_all_plots_are_drawn_with_a_mark_for_each_configuration_or_trial(chromium, page):
    plots = visit(chromium, page)["plots"]
    assert list(plots) == [
        "ex-plot",
        "frontier-train_peak_gib",
        "frontier-latency_ms",
        "grid",
        "law-cider",
        "law-loss",
        "memory",
        "curves",
        "marginal",
        "importance",
    ]
    assert all(plot["drawn"] >= 1 and plot["height"] > 200 for plot in plots.values())
    points = {name: plot["points"] for name, plot in plots.items()}
    assert points == {
        "ex-plot": 12,  # zero-shot has no training memory
        "frontier-train_peak_gib": 12,
        "frontier-latency_ms": 15,
        "grid": 0,
        "law-cider": 21,
        "law-loss": 21,
        "memory": 24,
        "curves": 0,
        "marginal": 7,
        "importance": 3,
    }
    assert plots["grid"]["cells"] == 1 and plots["curves"]["lines"] == 24


def test_nothing_is_fetched(chromium, page):
    assert visit(chromium, page)["fetched"] == []


def test_the_plots_are_drawn_under_the_pages_own_policy(chromium, page):
    drawn = Counter(re.findall(r'class="main-svg"', open_page(chromium, page)))
    assert drawn['class="main-svg"'] >= 7


@pytest.mark.parametrize("width", [500, 900, 1600])
def test_the_page_is_never_wider_than_the_window(chromium, page, width):
    assert visit(chromium, page, width=width)["overflow"] <= 0


def test_the_page_is_dark_where_the_reader_wants_it_dark(chromium, page):
    light, dark = (visit(chromium, page, dark=choice)["paper"] for choice in (False, True))
    assert light == "rgb(255, 255, 255)"
    assert sum(map(int, re.findall(r"\d+", dark))) < 120


def test_markup_in_records_does_not_run(chromium, drawn, tmp_path):
    evil = "<img src=x onerror='window.ran=true'><script>window.ran=true</script>"
    records, examples = drawn
    changed = replace(records[1], skipped=[{"id": evil, "reason": evil}], point={"rank": 2, "bits": evil})
    found = table.collect([records[0], changed, *records[2:]], examples, asked=table.Asked(question=evil))
    (tmp_path / "evil.html").write_text(layout.html(report_of(found)))
    seen = visit(chromium, tmp_path / "evil.html")
    assert seen["ran"] is False and seen["fetched"] == []
    assert all(plot["drawn"] for plot in seen["plots"].values())


def test_the_gallery_shows_what_the_chosen_two_say_as_text_and_the_frames_they_saw(chromium, drawn, tmp_path):
    records, examples = drawn
    evil = "<img src=x onerror='window.ran=true'>"
    said = {
        trial: [{**row, "caption": f"{evil} {trial}", "references": [evil]} for row in rows]
        for trial, rows in examples.items()
    }
    picture = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")
    strips = {strip_name("9b1c", "video0", []): picture}
    found = table.collect(records, said, asked=table.Asked(), gallery=strips)
    acts = """<script>function act() {
      const right = document.getElementById("ga-right");
      right.value = [...right.options].findIndex((one) => one.textContent === "bits 8, rank 4");
      right.dispatchEvent(new Event("change"));
    }</script>"""
    path = tmp_path / "gallery.html"
    path.write_text(layout.html(report_of(found)) + acts)
    seen = visit(chromium, path)
    assert seen["ran"] is False
    assert seen["gallery"]["clips"] == 12 and seen["gallery"]["pictures"] == 1
    assert seen["gallery"]["captions"][1].startswith("<img src=x") and "r4-b8-" in seen["gallery"]["captions"][1]
    assert seen["gallery"]["references"][0] == evil
