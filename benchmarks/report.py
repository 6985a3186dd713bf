"""What a report costs: seconds and memory to write, its size, and when its first plot stands in a browser.

Question: is the page of a large study still made while one waits, and usable at once? Records are drawn from a known
truth (`tests/analysis/known_truth.py`) in the committed form. 2,000 trials have per-clip scores of 16 clips in each
split, 20,000 have none. Seconds and peak memory are those of `python -m analysis report` as a process of its own; the
first plot is drawn in headless Chromium from a fresh profile, counted from the start of the page's loading (median of
5 openings). There is no peer that makes such a page: `goal` is the bound it has to meet, `ratio` the goal over what was
measured (above 1 is met).
Command: python benchmarks/report.py
"""

from __future__ import annotations

import argparse
import gzip
import http.server
import importlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vqlora.provenance import device_name
from vqlora.record import record_to_json

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).parent / "results" / "report.json"
PLACES = ("all", "text", "vision", "attention", "mlp")
GOALS = {(2000, "size_mb"): 6.0, (2000, "first_plot_s"): 2.0, (20_000, "seconds"): 20.0, (20_000, "peak_gib"): 1.0}
OPENINGS = 5
TELL = """<script>
const wait = setInterval(() => {
  const ms = document.documentElement.dataset.firstPlotMs;
  if (ms) { clearInterval(wait); fetch("http://127.0.0.1:PORT/" + ms, { mode: "no-cors" }); }
}, 5);
</script>"""


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for trials, clips in ((2000, 16), (20_000, 0)):
            measured = measure(Path(folder), trials, clips)
            for what, value in measured.items():
                goal = GOALS.get((trials, what))
                ratio = goal / value if goal else None
                rows.append({"trials": trials, "what": what, "measured": value, "goal": goal, "ratio": ratio})
    print(f"{'trials':>7} {'what':<14} {'measured':>9} {'goal':>6} {'ratio':>6}")
    for row in rows:
        goal, ratio = (f"{row['goal']:.0f}", f"{row['ratio']:.2f}") if row["goal"] else ("", "")
        print(f"{row['trials']:>7} {row['what']:<14} {row['measured']:>9.2f} {goal:>6} {ratio:>6}")
    versions = {name: version(name) for name in ("numpy", "pandas", "plotly")} | {"python": platform.python_version()}
    result = {"benchmark": "report", "device": device_name("cpu"), "versions": versions, "rows": rows}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def measure(folder: Path, trials: int, clips: int) -> dict[str, float]:
    records, page = folder / f"big{trials}.jsonl", folder / f"big{trials}.html"
    draw_records(records, trials, clips)
    began = time.perf_counter()
    command = [sys.executable, "-m", "analysis", "report", str(records), "-o", str(page)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    assert status == 0, "the report failed"
    size = page.stat().st_size / 1e6
    return {
        "seconds": seconds,
        "peak_gib": usage.ru_maxrss / 2**20,
        "size_mb": size,
        "first_plot_s": statistics.median(first_plot_seconds(page, folder) for _ in range(OPENINGS)),
    }


def draw_records(path: Path, trials: int, clips: int) -> None:
    """Pairs of seeds over rank, bits, place and learning rate; examples only with clips."""
    sys.path.insert(0, str(ROOT / "tests" / "analysis"))
    truth = importlib.import_module("known_truth")
    maker = truth.Maker(truth.Truth(clips=clips or 2))
    examples: list[str] = []
    with path.open("w") as lines:
        for number in range(trials):
            pair = number // 2
            rank, bits = truth.RANKS[pair % 4], truth.BITS[pair // 4 % 3]
            own = {
                "rank": rank,
                "bits": bits,
                "place": PLACES[pair // 12 % 5],
                "rate": round(1e-3 * (1 + pair // 60), 5),
            }
            record, rows = maker.trial(rank, bits, number % 2)
            name = f"trial{number}"
            record = replace(record, study="big", trial=name, point=own, fingerprint=f"{number:016x}")
            lines.write(record_to_json(record) + "\n")
            examples += [json.dumps({"trial": name, **row}) + "\n" for row in rows] if clips else []
    if examples:
        path.with_suffix(".examples.jsonl.gz").write_bytes(gzip.compress("".join(examples).encode()))


def first_plot_seconds(page: Path, folder: Path) -> float:
    """The page itself reports to a server on the loopback address, for which its policy is taken off."""
    told: list[float] = []
    heard = threading.Event()

    class Ear(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.append(float(self.path.strip("/")) / 1000)
            self.send_response(204)
            self.end_headers()
            heard.set()

        def log_message(self, format: str, *args: Any) -> None:
            """Says nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Ear)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    copy = page.with_name(f"told-{page.name}")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    copy.write_text(text + TELL.replace("PORT", str(server.server_port)))
    browser = open_browser(copy, Path(tempfile.mkdtemp(prefix="profile-", dir=folder)))
    try:
        assert heard.wait(120), "no plot was drawn within two minutes"
    finally:
        browser.terminate()
        browser.wait(30)
        server.shutdown()
    return told[0]


def open_browser(page: Path, profile: Path) -> subprocess.Popen[bytes]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "Chromium is needed: apt-get install chromium"
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--remote-debugging-port=0",
    ]
    command = [chromium, *options, f"--user-data-dir={profile}", "--window-size=1280,900", page.as_uri()]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
