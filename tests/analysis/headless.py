"""Headless Chromium: a page's DOM after its scripts have run."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def find_chromium() -> str:
    """Skips without Chromium, unless VQLORA_REQUIRE_ALL=1, which makes that a failure."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None and os.environ.get("VQLORA_REQUIRE_ALL") == "1":
        pytest.fail("Chromium is required here: apt-get install chromium")
    if found is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    return found


def open_page(chromium: str, page: Path, *, width: int = 1280, dark: bool = False) -> str:
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"]
    fresh = [f"--user-data-dir={page.parent / 'profile'}", f"--window-size={width},900", "--virtual-time-budget=10000"]
    command = [chromium, *options, *fresh, *scheme, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
