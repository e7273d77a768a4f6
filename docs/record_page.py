"""Take the screenshots of docs/serving.md: docs/page.png, and docs/page-narrow.png as on a phone.

    toolken serve --toolkens DIR &
    python docs/record_page.py http://127.0.0.1:8000 "Put the dentist on Friday at nine" set_timer

Needs `pip install playwright` and Chromium (Debian: apt install chromium).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

DOCS = Path(__file__).parent


def record(browser: Browser, file: str, width: int, whole: bool, address: str, request: str, tool: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, reduced_motion="reduce")
    page.set_default_timeout(120_000)
    page.goto(address)
    page.get_by_label("Request").fill(request)
    page.get_by_role("button", name="Look").click()
    page.locator("#result").wait_for(state="visible")
    page.locator("#bars button").first.click()
    page.locator("#call-arguments[aria-busy=false]").wait_for()
    page.get_by_label("Tool", exact=True).fill(tool)
    page.get_by_role("button", name="Why not?").click()
    page.locator("#why-answer dl").wait_for()
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=DOCS / file, full_page=whole)
    page.close()


def main() -> None:
    address, request, tool = sys.argv[1:]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        record(browser, "page.png", 900, True, address, request, tool)
        record(browser, "page-narrow.png", 390, False, address, request, tool)
        browser.close()


if __name__ == "__main__":
    main()
