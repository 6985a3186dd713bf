"""The explorer's controls, clicked and typed at in headless Chromium; what they show is compared with Python's own."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from headless import open_page

from analysis.pareto import non_dominated
from analysis.results import results

ACT = """
<script>
const settle = () => new Promise((next) => setTimeout(next, 60));
const status = () => document.getElementById("ex-status").textContent;
const listed = () => [...document.querySelectorAll("#ex-table tbody tr")].map((row) => row.title);
const onFront = () => [...document.querySelectorAll("#ex-table tbody tr")]
  .filter((row) => row.cells[1].textContent.startsWith("●")).map((row) => row.title);
const plot = () => document.getElementById("ex-plot");
const choose = (id, value) => {
  const one = document.getElementById(id);
  if (one.type === "checkbox") one.click();
  else { one.value = value; one.dispatchEvent(new Event("change")); }
};
const slider = (name) => document.querySelector(`#explore input[aria-label="${name}"]`);
const slide = (name, place) => {
  slider(name).value = place;
  slider(name).dispatchEvent(new Event("input"));
};
async function act() {
  while (document.documentElement.dataset.allDrawn !== "yes") await settle();
  const seen = {};
  /*ACTS*/
  const out = document.createElement("pre");
  out.id = "probe";
  out.textContent = JSON.stringify(seen);
  document.body.append(out);
}
act().catch((error) => {
  const out = document.createElement("pre");
  out.id = "probe";
  out.textContent = JSON.stringify({ error: String(error.stack) });
  document.body.append(out);
});
</script>
"""


@pytest.fixture
def act(chromium, page):
    def run(acts: str, *, width: int = 1280) -> dict:
        path = page.with_name("acting.html")
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
        path.write_text(text + ACT.replace("/*ACTS*/", acts))
        found = re.search(r'<pre id="probe">(.*?)</pre>', open_page(chromium, path, width=width), re.S)
        assert found, "the page did not answer"
        seen = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
        assert "error" not in seen, seen["error"]
        return seen

    return run


def names_on_front(whole, across, limit=np.inf, score="val.cider"):
    found = [c for c in results(whole).configs if c.has(score, across) and c.values[across] <= limit]
    mask = non_dominated([[c.values[score], c.values[across]] for c in found], directions=["max", "min"])
    return {config.name for config, on in zip(found, mask, strict=True) if on}


def test_the_frontier_follows_the_chosen_axes_and_is_pythons(act, whole):
    seen = act("""
      seen.memory = onFront();
      choose("ex-x", "cost.latency_ms"); await settle();
      seen.latency = onFront();
      choose("ex-x", "rank"); await settle();
      seen.undirected = [onFront(), status()];
    """)
    assert set(seen["memory"]) == names_on_front(whole, "cost.train_peak_gib")
    assert set(seen["latency"]) == names_on_front(whole, "cost.latency_ms")
    assert seen["undirected"][0] == [] and "no frontier" in seen["undirected"][1]


def test_log_toggles_change_the_axes(act):
    seen = act("""
      seen.before = [plot().layout.xaxis.type, plot().layout.yaxis.type];
      choose("ex-xlog"); choose("ex-ylog"); await settle();
      seen.after = [plot().layout.xaxis.type, plot().layout.yaxis.type];
    """)
    assert seen == {"before": ["linear", "linear"], "after": ["log", "log"]}


def test_a_limit_filters_plot_table_and_frontier_and_can_be_cleared(act, whole):
    seen = act("""
      const most = slider("most peak memory in training");
      slide("most peak memory in training", 6); await settle();
      seen.limit = ex.limits["cost.train_peak_gib"][1];
      seen.listed = listed(); seen.front = onFront(); seen.status = status();
      seen.outside = plot().data.filter((one) => one.name === "outside the limits").map((one) => one.x.length);
      document.getElementById("ex-clear").click(); await settle();
      seen.cleared = [listed().length, Object.keys(ex.limits).length, +most.value === +most.max];
    """)
    costs = {c.name: c.values.get("cost.train_peak_gib", np.inf) for c in results(whole).configs}
    assert set(seen["listed"]) == {name for name, cost in costs.items() if cost <= seen["limit"] + 1e-3}
    assert set(seen["front"]) <= set(seen["listed"]) and 0 < len(seen["listed"]) < 15
    assert f"{len(seen['listed'])} of 15 configurations are within the limits" in seen["status"]
    assert seen["outside"] == [12 - len(seen["listed"])]
    assert seen["cleared"] == [15, 0, True]


def test_points_are_kept_by_click_and_by_box_and_compared_with_their_commands(act):
    seen = act("""
      const trace = plot().data.findIndex((one) => one.name === "bits 4");
      plot().emit("plotly_click", { points: [{ customdata: plot().data[trace].customdata[0] }] }); await settle();
      document.querySelectorAll("#ex-table input[type=checkbox]")[5].click();
      await settle(); await settle();
      const kept = document.getElementById("ex-kept");
      seen.heads = [...kept.querySelectorAll("thead th")].map((one) => one.textContent);
      seen.commands = [...kept.querySelectorAll("pre")].map((one) => one.textContent);
      seen.differing = [...kept.querySelectorAll("tr.differs th")].map((one) => one.textContent);
      kept.querySelector("thead button").click(); await settle(); await settle();
      seen.left = kept.querySelectorAll("thead th").length;
    """)
    assert len(seen["heads"]) == 2 and seen["left"] == 1
    assert all(one.startswith("git checkout 3f6c0de1 && python -c ") for one in seen["commands"])
    assert "rank" in seen["differing"] or "bits" in seen["differing"]


def test_a_drag_along_a_parallel_axis_is_the_same_limit_as_its_slider(act):
    seen = act("""
      const canvas = document.getElementById("ex-parallel");
      const frame = canvas.getBoundingClientRect();
      const index = parallelAxes().findIndex((one) => one.key === "cost.latency_ms");
      const x = frame.left + 48 + index * (frame.width - 96) / (parallelAxes().length - 1);
      canvas.setPointerCapture = () => {};
      const send = (kind, y) => canvas.dispatchEvent(
        new PointerEvent(kind, { clientX: x, clientY: frame.top + y, pointerId: 1 }));
      send("pointerdown", frame.height - 26); send("pointerup", frame.height / 2); await settle();
      seen.limit = ex.limits["cost.latency_ms"];
      seen.said = slider("most latency per clip").parentElement.querySelector("output").textContent;
      seen.listed = listed().length;
      send("pointerdown", 80); send("pointerup", 80); await settle();
      seen.cleared = listed().length;
    """)
    low, high = seen["limit"]
    assert low < high < 260 and 0 < seen["listed"] < 15 and seen["cleared"] == 15
    assert seen["said"].startswith(f"{low:.4g} to ")


def test_the_table_sorts_by_its_heads_and_says_so(act):
    seen = act("""
      const heads = () => [...document.querySelectorAll("#ex-table th button")];
      const head = () => heads().find((one) => one.textContent.startsWith("CIDEr-D on test"));
      const column = () => [...document.querySelectorAll("#ex-table th")].indexOf(head().parentElement);
      const rows = () => [...document.querySelectorAll("#ex-table tbody tr")];
      const values = () => rows().map((row) => parseFloat(row.cells[column()].textContent));
      head().click(); seen.down = values(); seen.sorted = head().parentElement.ariaSort;
      head().click(); seen.up = values();
    """)
    assert seen["down"] == sorted(seen["down"], reverse=True) and seen["up"] == sorted(seen["up"])
    assert seen["sorted"] == "descending"


def test_every_control_has_a_name_and_the_keyboard_reaches_it(act):
    seen = act("""
      const controls = [...document.querySelectorAll("#explore select, #explore input, #explore button")];
      const named = (one) => one.labels?.length || one.ariaLabel || one.textContent;
      seen.unnamed = controls.filter((one) => !named(one)).map((one) => one.id);
      seen.unreachable = controls.filter((one) => one.tabIndex < 0).length;
      const images = [...document.querySelectorAll("[role=img]")];
      seen.images = images.filter((one) => !one.getAttribute("aria-label")).map((one) => one.id);
      seen.status = document.getElementById("ex-status").getAttribute("role");
    """)
    assert seen == {"unnamed": [], "unreachable": 0, "images": [], "status": "status"}


def test_intervals_can_be_taken_away_and_colours_chosen(act):
    seen = act("""
      const bars = () => plot().data.filter((one) => one.error_y).length;
      seen.bars = bars(); choose("ex-bars"); await settle(); seen.none = bars();
      choose("ex-group", "rank"); await settle();
      seen.names = plot().data.map((one) => one.name).filter((one) => one.startsWith("rank"));
    """)
    assert seen["bars"] == 3 and seen["none"] == 0
    assert seen["names"] == ["rank 2", "rank 4", "rank 8", "rank 16"]
