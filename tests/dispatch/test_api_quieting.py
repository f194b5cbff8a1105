"""What isn't told to receivers can be listed all the same, and rules with their false alarms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from contracts.alerts import AlertEvent
from dispatch.queries import Selection
from dispatch.receivers import Filter
from dispatch.renotify import due
from dispatch.store import Store
from dispatch.tables import connect
from tests.dispatch import scene
from tests.dispatch.quiet_scene import (
    BUSY,
    CARDS,
    GATEWAY,
    GW_1,
    SD_1,
    SD_2,
    SD_3,
    SILENT,
    TRIAL,
    Play,
)
from tests.dispatch.scene import MINUTE, T0
from tests.dispatch.serving import Desk, serving


@pytest.fixture
def desk(store: Store, tmp_path: Path) -> Iterator[Desk]:
    with serving(store, tmp_path) as served:
        yield served


@pytest.fixture
def client(desk: Desk) -> Iterator[httpx.Client]:
    key = desk.keys.create("platform", "operate")
    with httpx.Client(
        base_url=desk.url, headers={"Authorization": f"Bearer {key}"}, trust_env=False
    ) as opened:
        yield opened


def a_day() -> list[AlertEvent]:
    """One gateway down, a silent device behind it and one elsewhere, a trial, a busy rule."""
    play = Play()
    play.on(GATEWAY, GW_1)
    play.on(SILENT, SD_1, 5)
    play.on(SILENT, SD_3, 5)
    trial = play.on(TRIAL, SD_1, 6)
    play.order("disposition", trial, 7, disposition="false")
    for n in range(4):
        busy = play.on(BUSY, SD_2, n)
        play.off(BUSY, SD_2, n + 0.5)
        play.order("disposition", busy, 9, disposition="real" if n == 0 else "false")
    return play.events


def test_lists_can_be_narrowed_to_what_is_told_and_what_isnt(
    desk: Desk, client: httpx.Client
) -> None:
    desk.store.record(a_day(), 1)

    def listed(**query: object) -> list[tuple[str, str]]:
        answer = client.get("/api/v1/alerts", params=query)  # type: ignore[arg-type]
        assert answer.status_code == 200
        return [(one["rule"], one["device"]) for one in answer.json()["alerts"]]

    assert listed(delivery="inhibited") == [("smoke.silent", "sd-1")]
    assert listed(delivery="shadow") == [("smoke.trial", "sd-1")]
    assert len(listed(delivery=["inhibited", "shadow"])) == 2
    assert len(listed(delivery="deliver")) == 6
    assert len(listed()) == 8
    assert listed(rule="smoke.silent", delivery="deliver") == [("smoke.silent", "sd-3")]
    assert client.get("/api/v1/alerts", params={"delivery": "sent"}).status_code == 422

    (held,) = client.get("/api/v1/alerts", params={"delivery": "inhibited"}).json()["alerts"]
    (gateway,) = client.get("/api/v1/alerts", params={"rule": "gateway.offline"}).json()["alerts"]
    assert held["held_by"] == gateway["alert"]
    busy = client.get("/api/v1/alerts", params={"rule": "smoke.busy"}).json()["alerts"]
    assert [(one["over_budget"], one["severity"]) for one in busy] == [(True, 4), *[(False, 2)] * 3]


def test_false_alarms_are_counted_for_each_rule(desk: Desk, client: httpx.Client) -> None:
    desk.store.record(a_day(), 1)

    rules = {one["rule"]: one for one in client.get("/api/v1/rules").json()["rules"]}
    assert list(rules) == sorted(rules)
    assert rules["smoke.busy"] == {
        "rule": "smoke.busy", "alerts": 4, "open": 0, "real": 1, "false": 3, "drill": 0,
        "inhibited": 0, "shadow": 0, "over_budget": 1,
    }  # fmt: skip
    assert (rules["smoke.trial"]["false"], rules["smoke.trial"]["shadow"]) == (1, 1)
    assert (rules["smoke.silent"]["alerts"], rules["smoke.silent"]["inhibited"]) == (2, 1)

    elsewhere = client.get("/api/v1/rules", params={"grid": scene.GRID_B}).json()["rules"]
    assert [(one["rule"], one["alerts"]) for one in elsewhere] == [("smoke.silent", 1)]
    later = client.get("/api/v1/rules", params={"from": "2026-03-01T00:00:05Z"}).json()["rules"]
    assert [one["rule"] for one in later] == ["smoke.silent", "smoke.trial"]
    assert sorted(desk.store.queries.judged()) == [
        ("smoke.busy", "false", 3),
        ("smoke.busy", "real", 1),
        ("smoke.trial", "false", 1),
    ]


def test_notices_are_listed_newest_first(desk: Desk, client: httpx.Client) -> None:
    play = Play()
    for day in range(3):
        for n in range(3):
            play.on(BUSY, SD_2, day * 86_400 + n)
            play.off(BUSY, SD_2, day * 86_400 + n + 0.5)
    desk.store.record(play.events, 1)

    first = client.get("/api/v1/notices", params={"limit": 2}).json()
    rest = client.get("/api/v1/notices", params={"limit": 2, "cursor": first["next"]}).json()
    days = [one["data"]["day"] for one in first["notices"] + rest["notices"]]
    assert days == ["2026-03-03", "2026-03-02", "2026-03-01"]
    assert rest["next"] is None


def test_nobody_is_reminded_of_what_is_held_back(store: Store) -> None:
    """Even when the same episode had called before it was opened again behind an inhibitor."""
    cards = [msgspec.structs.replace(card, severity=1) for card in CARDS]
    play = Play(cards)
    play.on(SILENT, SD_1, 0)
    play.off(SILENT, SD_1, 0)
    gateway = play.on(GATEWAY, GW_1, 0)
    silent = play.on(SILENT, SD_1, 0)
    store.record(play.events, 1, now_ms=T0)
    assert [one.alert for one in store.waiting(1)] == [gateway]

    play.off(GATEWAY, GW_1, 9)
    store.record(play.events, 1, now_ms=T0 + MINUTE)
    (waiting,) = store.waiting(1)
    assert waiting.alert == silent
    (reminder,) = due([waiting], T0 + 3 * MINUTE)
    assert store.remind(reminder) is not None


def test_a_store_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "dispatch.db"
    Store(path).close()
    old = connect(path, synchronous="FULL")
    for column in ("delivery", "held_by", "over_budget"):
        old.execute(f"ALTER TABLE alerts DROP COLUMN {column}")
    old.execute("PRAGMA user_version = 1")
    old.close()

    store = Store(path)
    store.set_receivers({"desk": Filter()})
    store.record(a_day(), 1)
    held = store.queries.alerts(Selection(deliveries=("inhibited",)))
    assert [row["device"] for row in held] == ["sd-1"]
    undelivered = store.queries.all(
        "SELECT e.id FROM events e LEFT JOIN deliveries d ON d.seq = e.seq"
        " WHERE d.seq IS NULL ORDER BY e.seq"
    )
    assert len(undelivered) == 3  # The held one, the trial, and what was said of the trial.
    store.close()
