"""A headless Chromium for tests of the page, and why there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser of Playwright's. Skips the test where Playwright or Chromium is absent (TOOLKEN_CHROMIUM names one)."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the page's tests need `pip install playwright`")
    found = os.environ.get("TOOLKEN_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        pytest.skip("the page's tests need Chromium (Debian: apt install chromium), or TOOLKEN_CHROMIUM=/path/to/it")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
