"""The API over real HTTP: keys, filters, commands, the live stream, one shape of errors."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from contracts.alert_data import AlertData
from contracts.transitions import Change
from dispatch.api import _stream
from dispatch.deliver.live import Broadcaster
from dispatch.keys import KeyRing, KeysInvalid, page_url
from dispatch.store import Store
from tests.dispatch import scene
from tests.dispatch.scene import BATTERY, HYDRANT, PRESSURE, T0, S
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


def raise_three(desk: Desk) -> list[str]:
    rows = [
        scene.change(Change.RAISED, T0),
        scene.change(Change.RAISED, T0 + S, rule=PRESSURE, device=HYDRANT),
        scene.change(Change.RAISED, T0 + 2 * S, rule=BATTERY),
    ]
    return [event.subject for event in desk.apply(scene.batch(*rows))]


def listed(client: httpx.Client, **query: object) -> list[str]:
    answer = client.get("/api/v1/alerts", params=query)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return [one["condition"] for one in answer.json()["alerts"]]


ROUTES = [
    ("GET", "/api/v1/alerts"),
    ("GET", "/api/v1/alerts/x"),
    ("POST", "/api/v1/alerts/x/acknowledge"),
    ("POST", "/api/v1/alerts/x/reset"),
    ("POST", "/api/v1/alerts/x/disposition"),
    ("GET", "/api/v1/events/stream"),
    ("GET", "/api/v1/rules"),
    ("GET", "/api/v1/notices"),
    ("GET", "/api/v1/receivers"),
    ("POST", "/api/v1/receivers/desk/enable"),
    ("GET", "/metrics"),
]


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", "Bearer gwk_wrong", "Basic Z3drOng=", "Bearer é"]
)
def test_without_a_known_key_nothing_is_said(desk: Desk, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    body = {"disposition": "real"}
    with httpx.Client(base_url=desk.url, headers=headers, trust_env=False) as stranger:
        answers = [
            stranger.request(method, route, json=None if method == "GET" else body)
            for method, route in ROUTES
        ]

    assert [answer.status_code for answer in answers] == [401] * len(ROUTES)
    assert {answer.json()["error"]["code"] for answer in answers} == {"no_key"}
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}


def test_every_route_of_the_api_is_in_the_list_above(desk: Desk) -> None:
    spec = httpx.get(desk.url + "/openapi.json", trust_env=False).json()

    routes = {
        (method.upper(), route) for route, methods in spec["paths"].items() for method in methods
    }
    named = {(m, r.replace("/x", "/{alert}").replace("/desk/", "/{name}/")) for m, r in ROUTES}
    assert routes == named | {("GET", "/health"), ("GET", "/ready")}


def test_a_reading_key_may_not_decide(desk: Desk) -> None:
    key = desk.keys.create("wall", "read")
    alert = raise_three(desk)[0]
    with httpx.Client(
        base_url=desk.url, headers={"Authorization": f"Bearer {key}"}, trust_env=False
    ) as reader:
        assert reader.get("/api/v1/alerts").status_code == 200
        answer = reader.post(f"/api/v1/alerts/{alert}/acknowledge")

    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "not_allowed"
    assert desk.submitted == []


@pytest.mark.parametrize(
    ("query", "want"),
    [
        pytest.param({}, ["battery_low", "pressure_low", "fire"], id="newest-first"),
        pytest.param({"grid": scene.GRID_B}, ["pressure_low"], id="grid"),
        pytest.param({"grid": "340111002"}, ["battery_low", "pressure_low", "fire"], id="street"),
        pytest.param({"family": "smoke"}, ["battery_low", "fire"], id="family"),
        pytest.param({"severity": [1, 2]}, ["pressure_low", "fire"], id="severity"),
        pytest.param({"state": "cleared"}, [], id="state"),
        pytest.param(
            {"from": "2026-03-01T08:00:01+08:00"}, ["battery_low", "pressure_low"], id="from"
        ),
        pytest.param({"to": str(T0 + 1)}, ["fire"], id="to-in-ms"),
    ],
)
def test_filters(desk: Desk, client: httpx.Client, query: dict[str, Any], want: list[str]) -> None:
    raise_three(desk)

    assert listed(client, **query) == want


def test_paging_sees_each_alert_once(desk: Desk, client: httpx.Client) -> None:
    raise_three(desk)
    seen, cursor = [], ""
    while True:
        page = client.get("/api/v1/alerts", params={"limit": 2, "cursor": cursor}).json()
        seen += [one["alert"] for one in page["alerts"]]
        cursor = page["next"]
        if cursor is None:
            break
        desk.apply(scene.batch(scene.change(Change.RAISED, device=scene.STRANGER)))

    assert len(seen) == len(set(seen)) == 3


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"limit": 0}, "limit"),
        ({"state": "burning"}, "state.0"),
        ({"grid": "34%"}, "grid"),
        ({"cursor": "x"}, "cursor"),
    ],
)
def test_malformed_requests_name_the_field(
    client: httpx.Client, query: dict[str, Any], field: str
) -> None:
    answer = client.get("/api/v1/alerts", params=query)

    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], error["field"]) == ("bad_request", field)


def test_one_alert_with_its_events(desk: Desk, client: httpx.Client) -> None:
    alert = raise_three(desk)[0]
    client.post(f"/api/v1/alerts/{alert}/acknowledge", json={"by": "desk-3", "note": "on our way"})

    found = client.get(f"/api/v1/alerts/{alert}").json()

    assert [event["data"]["change"] for event in found["events"]] == ["raised", "acknowledged"]
    assert found["events"][1]["data"]["by"] == "platform/desk-3"
    assert found["alert"]["acknowledged"]
    assert set(found["alert"]["event"]["data"]) == {
        field.encode_name for field in msgspec.structs.fields(AlertData)
    }


def test_commands_take_effect_once_per_key(desk: Desk, client: httpx.Client) -> None:
    alert = raise_three(desk)[0]
    headers = {"Idempotency-Key": "req-1"}

    answers = [
        client.post(f"/api/v1/alerts/{alert}/acknowledge", headers=headers).json() for _ in range(3)
    ]

    assert [answer["repeated"] for answer in answers] == [False, True, True]
    assert {answer["command"] for answer in answers} == {"platform:req-1"}
    assert len(desk.submitted) == 1


def test_a_key_for_another_request_is_refused(desk: Desk, client: httpx.Client) -> None:
    fire, pressure, _ = raise_three(desk)
    headers = {"Idempotency-Key": "req-1"}
    client.post(f"/api/v1/alerts/{fire}/acknowledge", headers=headers)

    answers = [
        client.post(f"/api/v1/alerts/{pressure}/acknowledge", headers=headers),
        client.post(f"/api/v1/alerts/{fire}/reset", headers=headers),
    ]

    assert [answer.status_code for answer in answers] == [409, 409]
    assert len(desk.submitted) == 1


def test_a_command_that_the_log_refused_can_be_sent_again(
    desk: Desk, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    alert = raise_three(desk)[0]
    headers = {"Idempotency-Key": "req-9"}
    working = desk.life.command
    monkeypatch.setattr(desk.life, "command", _no_room)
    failed = client.post(f"/api/v1/alerts/{alert}/acknowledge", headers=headers)
    monkeypatch.setattr(desk.life, "command", working)

    again = client.post(f"/api/v1/alerts/{alert}/acknowledge", headers=headers)

    assert failed.status_code == 503
    assert failed.json()["error"]["code"] == "not_taken"
    assert again.status_code == 202
    assert not again.json()["repeated"]


def _no_room(*given: object) -> None:
    raise OSError("no space left")


@pytest.mark.parametrize(
    ("route", "body", "status", "code"),
    [
        ("nothing/acknowledge", {}, 404, "unknown_alert"),
        ("{}/disposition", {"disposition": "maybe"}, 422, "bad_request"),
        ("{}/disposition", {}, 422, "bad_request"),
        ("{}/acknowledge", {"by": "two words"}, 422, "bad_request"),
        ("{}/acknowledge", {"surprise": 1}, 422, "bad_request"),
        ("{}/acknowledge", {"note": "x" * 70_000}, 413, "too_large"),
        ("{}/snooze", {}, 404, "http"),
    ],
)
def test_refused_commands(
    desk: Desk, client: httpx.Client, route: str, body: dict[str, Any], status: int, code: str
) -> None:
    alert = raise_three(desk)[0]

    answer = client.post("/api/v1/alerts/" + route.format(alert), json=body)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert desk.submitted == []


def test_a_cleared_alert_has_nothing_to_reset(desk: Desk, client: httpx.Client) -> None:
    alert = raise_three(desk)[2]
    assert client.post(f"/api/v1/alerts/{alert}/reset").status_code == 202

    again = client.post(f"/api/v1/alerts/{alert}/reset")
    judged = client.post(f"/api/v1/alerts/{alert}/disposition", json={"disposition": "false"})

    assert again.status_code == 409
    assert judged.status_code == 202
    assert client.get(f"/api/v1/alerts/{alert}").json()["alert"]["disposition"] == "false"


@pytest.mark.parametrize("last", [b"abc", "²".encode("latin-1"), b"-1"])
def test_a_stream_from_no_number_is_refused(client: httpx.Client, last: bytes) -> None:
    answer = client.get("/api/v1/events/stream", headers={b"Last-Event-ID": last})

    assert answer.status_code == 422


@pytest.mark.parametrize("severity", ["0", "5", "99999999999999999999"])
def test_no_such_level(client: httpx.Client, severity: str) -> None:
    assert client.get("/api/v1/alerts", params={"severity": severity}).status_code == 422


def test_a_body_of_unstated_length_is_refused(client: httpx.Client) -> None:
    answer = client.post("/api/v1/alerts/x/reset", content=iter([b"{", b"}"]))

    assert answer.status_code == 411


class Events:
    """A reader of the live stream."""

    def __init__(self, client: httpx.Client, last: str | None = None) -> None:
        headers = {} if last is None else {"Last-Event-ID": last}
        self._stream = client.stream("GET", "/api/v1/events/stream", headers=headers, timeout=20)
        self._answer = self._stream.__enter__()
        self._lines = self._answer.iter_lines()
        next(self._lines)  # The first line: from here on nothing is missed.

    def take(self, count: int) -> list[dict[str, str]]:
        found: list[dict[str, str]] = []
        fields: dict[str, str] = {}
        for line in self._lines:
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                found.append(fields)
                if len(found) == count:
                    break
                fields = {}
            else:
                fields = {}
        return found

    def close(self) -> None:
        self._stream.__exit__(None, None, None)


def test_the_stream_is_live_and_resumes_where_it_was(desk: Desk, client: httpx.Client) -> None:
    stream = Events(client)
    first = raise_three(desk)
    got = stream.take(3)
    stream.close()
    missed = desk.apply(scene.batch(scene.change(Change.RAISED, device=scene.STRANGER)))

    resumed = Events(client, got[1]["id"])
    rest = resumed.take(2)
    resumed.close()

    assert [json.loads(one["data"])["subject"] for one in got] == first
    assert [json.loads(one["data"])["subject"] for one in rest] == [first[2], missed[0].subject]
    assert [one["event"] for one in got + rest] == ["alert"] * 5


def test_the_stream_says_at_once_that_deliveries_fail(desk: Desk, client: httpx.Client) -> None:
    desk.live.delivery_failing("platform", T0)

    stream = Events(client)
    (notice,) = stream.take(1)
    stream.close()

    assert notice["event"] == "delivery_failing"
    assert json.loads(notice["data"])["receiver"] == "platform"


def test_listing_then_streaming_leaves_no_gap(desk: Desk, client: httpx.Client) -> None:
    raise_three(desk)
    page = client.get("/api/v1/alerts").json()
    (between,) = desk.apply(scene.batch(scene.change(Change.RAISED, device=scene.STRANGER)))

    stream = Events(client, str(page["stream"]))
    (got,) = stream.take(1)
    stream.close()

    assert json.loads(got["data"])["id"] == between.id


def test_what_backlog_and_live_both_have_is_streamed_once(store: Store) -> None:
    async def read() -> list[bytes]:
        live = Broadcaster()
        store.subscribe(live.publish)
        listener = live.listen()
        store.record([scene.fire()], 1)
        store.record(scene.flood(1), 2)
        await asyncio.sleep(0)  # Both are in the listener's queue now, and in the store.
        live.close()
        return [part async for part in _stream(store, live, listener, 0)]

    _, *parts = asyncio.run(read())

    assert [part.split(b"\n")[0] for part in parts] == [b"id: 1", b"id: 2"]


def test_health_and_readiness(desk: Desk) -> None:
    def status(route: str) -> int:
        return httpx.get(desk.url + route, trust_env=False).status_code

    assert (status("/health"), status("/ready")) == (200, 200)
    desk.state = {"ok": False, "ready": True}
    assert (status("/health"), status("/ready")) == (503, 200)
    desk.state = {"ok": False, "ready": False}
    assert (status("/health"), status("/ready")) == (503, 503)


def test_the_page_is_served_with_a_strict_policy(desk: Desk) -> None:
    for route in ("/", "/page.js", "/words.js", "/page.css"):
        answer = httpx.get(desk.url + route, trust_env=False)
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


def test_receivers_are_listed_and_enabled(desk: Desk, client: httpx.Client) -> None:
    assert client.get("/api/v1/receivers").json() == {"receivers": []}
    assert client.post("/api/v1/receivers/desk/enable").status_code == 202
    assert client.post("/api/v1/receivers/nobody/enable").status_code == 404


def test_keys_on_disk_are_hashed_and_private(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key = KeyRing(path).create("platform", "read")

    assert key not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    holder = KeyRing(path).check(f"bearer {key}")
    assert holder is not None
    assert (holder.name, holder.role) == ("platform", "read")


def test_a_revoked_or_replaced_key_opens_nothing(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path / "keys.json")
    old = ring.create("platform", "read")
    new = ring.create("platform", "operate")

    assert ring.check(f"Bearer {old}") is None
    assert ring.check(f"Bearer {new}") is not None
    assert ring.revoke("platform")
    assert not ring.revoke("platform")
    assert ring.check(f"Bearer {new}") is None


def test_the_console_key_stays_the_same(tmp_path: Path) -> None:
    path = tmp_path / "console.key"
    key = KeyRing(tmp_path / "keys.json").console_key(path)

    (tmp_path / "keys.json").unlink()
    ring = KeyRing(tmp_path / "keys.json")

    assert ring.console_key(path) == key
    assert ring.check(f"Bearer {key}") is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert page_url("http://127.0.0.1:8080", key) == f"http://127.0.0.1:8080/#key={key}"


def test_a_broken_key_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text('[{"name": "x"}]')

    with pytest.raises(KeysInvalid, match=str(path)):
        KeyRing(path)
