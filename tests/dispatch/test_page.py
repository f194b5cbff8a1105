"""The live page in a real browser: an alert appears by itself, buttons work, nothing runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from contracts.rulebook import Text
from contracts.transitions import Change, Episode
from dispatch.keys import page_url
from dispatch.store import Store
from tests.dispatch import quiet_scene, scene
from tests.dispatch.conftest import until
from tests.dispatch.scene import BATTERY, CARDS, HYDRANT, PRESSURE, S
from tests.dispatch.serving import Desk, serving

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
def desk(store: Store, tmp_path: Path) -> Iterator[Desk]:
    with serving(store, tmp_path) as served:
        yield served


@pytest.fixture
def page(require_tool: Callable[[str], str]) -> Iterator[Page]:
    require_tool("libatomic")
    chromium = require_tool("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGS)
        opened = browser.new_page(viewport={"width": 1200, "height": 900}, locale="zh-CN")
        opened.set_default_timeout(20_000)
        expect.set_options(timeout=20_000)
        yield opened
        browser.close()


def test_alerts_appear_live_and_are_decided(desk: Desk, page: Page, tmp_path: Path) -> None:
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.goto(page_url(desk.url, desk.keys.create("console", "operate")))
    expect(page.locator("#link")).to_have_text("实时")
    expect(page.locator("#empty")).to_be_visible()
    assert "gwk_" not in page.url  # The key has left the address bar.

    now = _now_ms()
    (fire,) = desk.apply(scene.batch(scene.change(Change.RAISED, now - 5 * S, heard_ms=now)))
    desk.apply(
        scene.batch(
            scene.change(
                Change.RAISED,
                now - 60 * S,
                rule=PRESSURE,
                device=HYDRANT,
                quantity="static_pressure",
                value=0.05,
                threshold=0.07,
            ),
            scene.change(Change.RAISED, now - 400 * S, rule=BATTERY, quantity="battery_low"),
            scene.change(
                Change.RAISED,
                0,
                device=scene.STRANGER,
                lane=Episode.LATE,
                heard_ms=now - 9 * S,
                flags=1024 | 2048 | 256,
            ),
        )
    )

    expect(page.locator(".alert")).to_have_count(4)
    card = page.locator(f"[data-alert='{fire.subject}']")
    expect(page.locator(".alert").first).to_have_attribute("data-alert", fire.subject)
    expect(card).to_contain_text("竹西社区 竹西一网格 3号楼 12层：烟感 sd-1 报火警。")
    expect(card.locator(".level")).to_have_text("Ⅰ")
    expect(card).to_contain_text("未确认")
    page.screenshot(path=_shots(tmp_path) / "page-zh.png")

    card.locator("[data-act=acknowledge]").click()
    expect(card).to_contain_text("已确认")
    expect(card.locator("[data-act=acknowledge]")).to_be_disabled()
    card.locator("[data-act=drill]").click()
    expect(card).to_contain_text("定性: 演练")
    page.locator("#language").click()
    expect(card).to_contain_text("acknowledged")
    page.screenshot(path=_shots(tmp_path) / "page-en.png")
    card.locator("[data-act=reset]").click()
    expect(card.locator("[data-act=reset]")).to_have_text("Sure?")
    card.locator("[data-act=reset]").click()
    expect(page.locator(".alert")).to_have_count(3)
    page.locator("[data-show=all]").click()
    expect(card).to_contain_text("ended")
    assert [command.action for command in desk.submitted] == ["acknowledge", "disposition", "reset"]
    assert faults == []


def test_a_flood_does_not_take_a_button_from_under_the_hand(desk: Desk, page: Page) -> None:
    page.goto(page_url(desk.url, desk.keys.create("console", "operate")))
    expect(page.locator("#link")).to_have_text("实时")
    (fire,) = desk.apply(scene.batch(scene.change(Change.RAISED)))
    button = page.locator(f"[data-alert='{fire.subject}'] [data-act=acknowledge]")
    button.hover()
    page.mouse.down()

    desk.apply(
        scene.batch(
            *(
                scene.change(
                    Change.RAISED, scene.T0 - n * S, rule=rule, device=n, heard_ms=scene.T0
                )
                for n, rule in ((1, BATTERY), (2, BATTERY), (3, BATTERY))
            )
        )
    )
    expect(page.locator(".alert")).to_have_count(4)
    page.mouse.up()

    until(lambda: desk.submitted, "the click counts")


def test_a_lost_connection_is_said_plainly(store: Store, page: Page, tmp_path: Path) -> None:
    with serving(store, tmp_path) as desk:
        page.goto(page_url(desk.url, desk.keys.create("console", "operate")))
        desk.apply(scene.batch(scene.change(Change.RAISED)))
        expect(page.locator(".alert")).to_have_count(1)
        expect(page.locator("#lost")).to_be_hidden()

    expect(page.locator("#lost")).to_contain_text("连接已中断")
    expect(page.locator(".alert")).to_have_count(1)  # What was known stays in sight.


def test_without_a_key_the_page_says_what_to_do(desk: Desk, page: Page) -> None:
    page.goto(desk.url)

    expect(page.locator("#lost")).to_contain_text("完整链接")


def test_undeliverable_alerts_are_shouted_about(desk: Desk, page: Page) -> None:
    page.goto(page_url(desk.url, desk.keys.create("console", "operate")))
    expect(page.locator("#link")).to_have_text("实时")

    desk.live.delivery_failing("platform", _now_ms())
    expect(page.locator("#failing")).to_contain_text("platform")
    desk.live.delivery_failing("platform", None)
    expect(page.locator("#failing")).to_be_hidden()


def test_text_from_outside_never_becomes_markup(store: Store, page: Page, tmp_path: Path) -> None:
    evil = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    with serving(store, tmp_path) as desk:
        desk.life = scene.lifecycle(
            [msgspec.structs.replace(CARDS[0], title=Text(evil, evil), reason=Text(evil, evil))]
        )
        page.goto(page_url(desk.url, desk.keys.create("console", "operate")))
        (event,) = desk.apply(scene.batch(scene.change(Change.RAISED)))
        desk.submit(scene.order("acknowledge", event.subject, note=evil, by=evil))

        expect(page.locator(".alert .reason")).to_have_text(evil)
        expect(page.locator(".acknowledged")).to_have_count(1)
        assert page.locator(".alert img, .alert script").count() == 0
        assert "taken" not in page.title()


def test_what_is_held_back_stands_apart_until_it_is_told(
    desk: Desk, page: Page, tmp_path: Path
) -> None:
    desk.life = quiet_scene.lifecycle()
    page.goto(page_url(desk.url, desk.keys.create("console", "operate")))
    expect(page.locator("#link")).to_have_text("实时")
    now = _now_ms()

    def turn(what: Change, rule: int, device: int) -> None:
        row = scene.change(what, now, rule=rule, device=device, quantity="", onset_ms=now)
        desk.apply(scene.batch(row))

    turn(Change.RAISED, quiet_scene.GATEWAY, quiet_scene.GW_1)
    turn(Change.RAISED, quiet_scene.SILENT, quiet_scene.SD_1)
    turn(Change.RAISED, quiet_scene.TRIAL, quiet_scene.SD_1)
    expect(page.locator(".alert")).to_have_count(1)
    expect(page.locator("#counts")).to_contain_text("另有 2 条未发送")
    page.locator("[data-show=held]").click()
    expect(page.locator(".alert.held")).to_have_count(2)
    expect(page.locator(".tag.held")).to_have_text(
        ["试运行规则，不发送", "被抑制: gateway.offline"]
    )
    page.screenshot(path=_shots(tmp_path) / "page-held-zh.png")

    turn(Change.CLEARED, quiet_scene.GATEWAY, quiet_scene.GW_1)
    expect(page.locator(".alert.held")).to_have_count(1)
    page.locator("[data-show=open]").click()
    expect(page.locator(".alert")).to_contain_text("smoke.silent")


def test_a_budget_that_is_used_up_is_said(desk: Desk, page: Page) -> None:
    desk.life = quiet_scene.lifecycle()
    now = _now_ms()

    def ring(second: int) -> None:
        for what in (Change.RAISED, Change.CLEARED):
            at_ms = now + second * S
            row = scene.change(what, at_ms, rule=quiet_scene.BUSY, device=quiet_scene.SD_1)
            desk.apply(scene.batch(row))

    page.goto(page_url(desk.url, desk.keys.create("console", "operate")))
    expect(page.locator("#link")).to_have_text("实时")
    expect(page.locator("#notices")).to_be_hidden()
    for second in range(3):
        ring(second)
    expect(page.locator("#notices li")).to_contain_text("响了超过 2 次")
    page.locator("[data-show=all]").click()
    expect(page.locator(".alert .level").first).to_have_text("Ⅳ")
    expect(page.locator(".alert").first).to_contain_text("超出当日预算")
    page.reload()
    expect(page.locator("#notices li")).to_have_count(1)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _shots(tmp_path: Path) -> Path:
    """Where screenshots go: GRIDWARDEN_SCREENSHOTS, or the test's own folder."""
    return Path(os.environ.get("GRIDWARDEN_SCREENSHOTS") or tmp_path)
