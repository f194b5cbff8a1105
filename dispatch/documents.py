"""The API's JSON documents: how rows become answers, and the examples in OpenAPI."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field

from contracts.alerts import timestamp

State = Literal["active", "latched", "cleared"]
Delivery = Literal["deliver", "inhibited", "shadow"]
DESCRIPTION = (
    "Alerts of a residential district, tagged with the code of their grid. Times are RFC 3339. "
    "Commands answer 202: they take effect when the pipeline has come to them, and the event "
    "that says so follows on the stream and to every receiver."
)
KEY_TEXT = "Makes a repeated request harmless: the same key takes effect once."


class Remark(BaseModel):
    """by: a desk, role or account, never a person's name."""

    model_config = ConfigDict(extra="forbid")
    by: str = Field("", pattern="^[A-Za-z0-9_.:-]{0,64}$", examples=["desk-3"])
    note: str = Field("", max_length=500)


class Judgement(Remark):
    disposition: Literal["real", "false", "drill"]


class _Alert(msgspec.Struct, kw_only=True):
    alert: str
    state: str
    acknowledged: bool
    unknown: bool
    disposition: str | None
    severity: int
    family: str
    condition: str
    grid: str
    device: str
    rule: str
    revision: int
    reminders: int
    delivery: str
    held_by: str
    over_budget: bool
    raised: str
    updated: str
    recorded: str
    event: msgspec.Raw


class _Alerts(msgspec.Struct):
    alerts: list[_Alert]
    next: str | None
    stream: int


class _AlertWithEvents(msgspec.Struct):
    alert: _Alert
    events: list[msgspec.Raw]


class _Receiver(msgspec.Struct, kw_only=True):
    name: str
    waiting: int
    disabled: str
    failures: int
    failing_since: str | None
    last_ok: str | None
    error: str


def alerts(rows: Sequence[sqlite3.Row], more: str | None, position: int) -> bytes:
    """next: cursor of the following page, null = this is the last. stream: the live stream's
    number before this answer; send it as Last-Event-ID to miss nothing."""
    return msgspec.json.encode(_Alerts([_alert(row) for row in rows], more, position))


def alert_with_events(row: sqlite3.Row, events: Sequence[sqlite3.Row]) -> bytes:
    bodies = [msgspec.Raw(event["body"]) for event in events]
    return msgspec.json.encode(_AlertWithEvents(_alert(row), bodies))


def rules(rows: Sequence[sqlite3.Row]) -> bytes:
    return msgspec.json.encode({"rules": [dict(row) for row in rows]})


def notices(rows: Sequence[sqlite3.Row], more: str | None) -> bytes:
    """next: cursor of the following page, null = this is the last."""
    return msgspec.json.encode(
        {"notices": [msgspec.Raw(row["body"]) for row in rows], "next": more}
    )


def receivers(rows: Sequence[sqlite3.Row]) -> bytes:
    return msgspec.json.encode(
        {
            "receivers": [
                _Receiver(
                    name=row["name"],
                    waiting=row["open"],
                    disabled=row["disabled"],
                    failures=row["failures"],
                    failing_since=_time(row["failing_since_ms"]),
                    last_ok=_time(row["last_ok_ms"]),
                    error=row["error"],
                )
                for row in rows
            ]
        }
    )


def time_ms(text: str, field: str) -> int | None:
    """A time of a query: RFC 3339 or unix milliseconds; "" = none."""
    if not text:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        message = "write RFC 3339 (2026-03-01T00:00:00Z) or unix milliseconds"
        raise RequestValidationError([{"loc": ("query", field), "msg": message}]) from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _alert(row: sqlite3.Row) -> _Alert:
    return _Alert(
        alert=row["alert"],
        state=row["state"],
        acknowledged=bool(row["acknowledged"]),
        unknown=bool(row["unknown"]),
        disposition=row["disposition"],
        severity=row["severity"],
        family=row["family"],
        condition=row["condition"],
        grid=row["grid"],
        device=row["device"],
        rule=row["rule"],
        revision=row["revision"],
        reminders=row["reminders"],
        delivery=row["delivery"],
        held_by=row["held_by"],
        over_budget=bool(row["over_budget"]),
        raised=timestamp(row["raised_ms"]),
        updated=timestamp(row["updated_ms"]),
        recorded=timestamp(row["recorded_ms"]),
        event=msgspec.Raw(row["body"]),
    )


def _time(ms: int | None) -> str | None:
    return None if ms is None else timestamp(ms)


# Examples

_ALERT_EXAMPLE: dict[str, Any] = {
    "alert": "7anusig4bviue4ipewdodhpa4i",
    "state": "active",
    "acknowledged": False,
    "unknown": False,
    "disposition": None,
    "severity": 1,
    "family": "smoke",
    "condition": "fire",
    "grid": "340111002003001",
    "device": "sd-1",
    "rule": "smoke.fire",
    "revision": 1,
    "reminders": 0,
    "delivery": "deliver",
    "held_by": "",
    "over_budget": False,
    "raised": "2026-03-01T00:00:00.000Z",
    "updated": "2026-03-01T00:00:00.000Z",
    "recorded": "2026-03-01T00:00:00.231Z",
    "event": {
        "specversion": "1.0",
        "id": "7anusig4bviue4ipewdodhpa4i-1",
        "type": "io.gridwarden.smoke.fire.raised",
        "source": "/grid/340111002003001/smoke/sd-1",
        "subject": "7anusig4bviue4ipewdodhpa4i",
        "time": "2026-03-01T00:00:00.000Z",
        "gridcode": "340111002003001",
        "data": {"reason": {"zh": "烟感 sd-1 报火警。", "en": "Smoke detector sd-1 reports fire."}},
    },
}
_ERROR = {"error": {"code": "no_key", "message": "send a known key", "field": ""}}

Responses = dict[int | str, dict[str, Any]]


def _example(text: str, value: object, media: str = "application/json") -> dict[str, Any]:
    return {"description": text, "content": {media: {"example": value}}}


_REFUSED: Responses = {
    401: _example("No key, or an unknown one", _ERROR),
    422: _example("Malformed request", _ERROR),
}
ALERTS: Responses = {
    200: _example(
        "Alerts, newest first", {"alerts": [_ALERT_EXAMPLE], "next": "1041", "stream": 2077}
    ),
    **_REFUSED,
}
ALERT: Responses = {
    200: _example(
        "The alert and its events", {"alert": _ALERT_EXAMPLE, "events": [_ALERT_EXAMPLE["event"]]}
    ),
    404: _example("No such alert", _ERROR),
    **_REFUSED,
}
RULES: Responses = {
    200: _example(
        "Rules by id",
        {
            "rules": [
                {
                    "rule": "efire.residual_high",
                    "alerts": 31,
                    "open": 1,
                    "real": 2,
                    "false": 9,
                    "drill": 0,
                    "inhibited": 4,
                    "shadow": 0,
                    "over_budget": 3,
                }
            ]
        },
    ),
    **_REFUSED,
}
NOTICES: Responses = {
    200: _example("Notices, newest first", {"notices": [], "next": None}),
    **_REFUSED,
}
COMMAND: Responses = {
    202: _example("In the log", {"command": "platform:7f3c", "repeated": False}),
    403: _example("The key may only read", _ERROR),
    404: _example("No such alert", _ERROR),
    409: _example("Nothing to reset, or the key was used for something else", _ERROR),
    503: _example("Not taken: send it again with the same key", _ERROR),
    **_REFUSED,
}
STREAM: Responses = {
    200: _example(
        "Events as they are recorded",
        'id: 1042\nevent: alert\ndata: {"specversion":"1.0", ...}\n\n',
        "text/event-stream",
    ),
    **_REFUSED,
}
HEALTH: Responses = {
    200: _example("Well", {"ok": True, "ready": True}),
    503: _example("Not well", {"ok": False, "ready": True}),
}
READY: Responses = {
    200: _example("Ready", {"ready": True}),
    503: _example("Not ready", {"ready": False}),
}
