"""A visitor of the demonstration: the printed link, a first alert that appears by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.app.running import Child

pytestmark = pytest.mark.browser
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def page(require_tool: Callable[[str], str]) -> Iterator[Page]:
    require_tool("libatomic")
    chromium = require_tool("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGS)
        opened = browser.new_page(viewport={"width": 1200, "height": 900}, locale="zh-CN")
        opened.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        yield opened
        browser.close()


def test_the_printed_link_shows_alerts_as_they_come(page: Page, tmp_path: Path) -> None:
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    arguments = ["--data", tmp_path / "data", "--port", "0", "--broker", "builtin"]
    with Child(tmp_path, "up", "up", "--demo", *arguments) as up:
        page.goto(up.told(r"^open  (\S+)$"))
        expect(page.locator("#link")).to_have_text("实时")
        banner = page.locator("#simulated")
        expect(banner).to_contain_text("模拟")
        first = page.locator(".alert").first
        expect(first).to_be_visible()
        # Nobody has loaded the page again: it came over the stream.
        assert page.evaluate("performance.getEntriesByType('navigation')[0].type") == "navigate"
        expect(first).to_contain_text("烟感")
        expect(first).to_contain_text("示范")
        page.screenshot(path=tmp_path / "page-zh.png")
        page.locator("#language").click()
        expect(banner).to_contain_text("None is real")
        expect(first.locator(".level")).to_have_text("Ⅰ")
        first.locator("[data-act=acknowledge]").click()
        expect(page.locator(".alert.acknowledged")).to_have_count(1)
        page.screenshot(path=tmp_path / "page-en.png")
        page.set_viewport_size({"width": 400, "height": 800})
        page.screenshot(path=tmp_path / "page-phone.png")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 400, "nothing sticks out on a phone"
        assert up.stop() == 0, up.err
        expect(page.locator("#lost")).to_be_visible()
    # The connection that ended is all that went wrong.
    assert [text for text in faults if not re.search("ERR_|Failed to fetch", text)] == []
    truth = (tmp_path / "data" / "demo" / "truth.jsonl").read_text(encoding="utf-8")
    assert any(json.loads(line)["kind"] == "fire" for line in truth.splitlines())
