"""The HTTP API: list, read and decide alerts; the live stream; health and metrics; the page.

Every answer but the page, `/health`, `/ready` and the OpenAPI document wants a key:
`Authorization: Bearer gwk_…`. Errors have one shape: `{"error": {"code", "message", "field"}}`.
"""

# No postponed annotations here: FastAPI reads them, and they name local objects.

import json
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Query, Response
from fastapi import Path as PathParam
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import Field

from contracts.messages import OperatorCommand
from dispatch import documents as doc
from dispatch.deliver.live import Broadcaster, Listener, Notice, TooManyListeners
from dispatch.gate import ApiError, Guard, install
from dispatch.keys import Holder, KeyRing
from dispatch.queries import Selection
from dispatch.store import Store

_log = logging.getLogger("gridwarden.api")

STREAM_ALIVE_S = 5.0
"""How often a silent stream says that it lives; the page calls it lost after three."""

_ID = re.compile(r"[A-Za-z0-9_.:/-]{1,64}")
_GRID = "^[0-9A-Za-z]{0,32}$"
Level = Annotated[int, Field(ge=1, le=4)]
_JSON = "application/json"
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
PAGE_FILES = {
    "/": "page.html",
    "/page.js": "page.js",
    "/words.js": "words.js",
    "/page.css": "page.css",
}


def create_api(
    store: Store,
    submit: Callable[[OperatorCommand], None],
    live: Broadcaster,
    health: Callable[[], dict[str, Any]],
    metrics: Callable[[], bytes],
    keys: KeyRing,
    page_dir: Path | None,
    *,
    enable: Callable[[str], bool] | None = None,
    rules: Callable[[], dict[str, Any]] | None = None,
) -> FastAPI:
    """The application.

    submit: writes a command to the log; its effect is seen when the engine has come to it.
    health: JSON document with `ok` and `ready`. metrics: Prometheus text. page_dir: the folder
    of the plain live page, None = no page. enable: enables a disabled receiver again. rules:
    which rules are in force, which are coming, and what was refused.
    """
    api = FastAPI(
        title="gridwarden dispatch",
        version="1",
        description=doc.DESCRIPTION,
        docs_url=None,
        redoc_url=None,
    )
    install(api)
    guard = Guard(keys)
    _read_routes(api, store, guard)
    _rule_routes(api, store, guard)
    _command_routes(api, store, submit, guard)
    _stream_route(api, store, live, guard)
    _health_routes(api, health, metrics, guard)
    if enable is not None:
        _receiver_routes(api, store, enable, guard)
    if rules is not None:
        _change_route(api, rules, guard)
    if page_dir is not None:
        _page_routes(api, page_dir)
    return api


# Reading


def _read_routes(api: FastAPI, store: Store, guard: Guard) -> None:
    @api.get("/api/v1/alerts", responses=doc.ALERTS, dependencies=[Depends(guard.read)])
    def list_alerts(
        grid: Annotated[str, Query(pattern=_GRID, examples=["340111002"])] = "",
        family: Annotated[list[str] | None, Query()] = None,
        severity: Annotated[list[Level] | None, Query(max_length=4)] = None,
        state: Annotated[list[doc.State] | None, Query()] = None,
        delivery: Annotated[list[doc.Delivery] | None, Query()] = None,
        rule: Annotated[list[str] | None, Query(max_length=64)] = None,
        start: Annotated[str, Query(alias="from", examples=["2026-03-01T00:00:00Z"])] = "",
        end: Annotated[str, Query(alias="to")] = "",
        cursor: Annotated[str, Query(pattern="^[0-9]{0,18}$")] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> Response:
        """Alerts, newest first. `grid` is a prefix: 6, 9, 12 or 15 digits for the four levels.

        `delivery`: whether receivers are told of it, or it is inhibited or of a rule in shadow.
        """
        position = store.queries.last_seq()
        rows = store.queries.alerts(
            Selection(
                grid_prefix=grid,
                families=tuple(family or ()),
                severities=tuple(severity or ()),
                states=tuple(state or ()),
                deliveries=tuple(delivery or ()),
                rules=tuple(rule or ()),
                from_ms=doc.time_ms(start, "from"),
                to_ms=doc.time_ms(end, "to"),
                before=int(cursor) if cursor else None,
                limit=limit + 1,
            )
        )
        more = str(rows[limit - 1]["first_seq"]) if len(rows) > limit else None
        return _json(doc.alerts(rows[:limit], more, position))

    @api.get("/api/v1/alerts/{alert}", responses=doc.ALERT, dependencies=[Depends(guard.read)])
    def read_alert(alert: Annotated[str, PathParam(max_length=64)]) -> Response:
        """One alert with all of its events and reminders, oldest first."""
        row = store.queries.alert(alert)
        if row is None:
            raise ApiError(404, "unknown_alert", "no alert has this id", "alert")
        return _json(doc.alert_with_events(row, store.queries.events_of(alert)))


def _rule_routes(api: FastAPI, store: Store, guard: Guard) -> None:
    @api.get("/api/v1/rules", responses=doc.RULES, dependencies=[Depends(guard.read)])
    def list_rules(
        grid: Annotated[str, Query(pattern=_GRID)] = "",
        start: Annotated[str, Query(alias="from", examples=["2026-03-01T00:00:00Z"])] = "",
        end: Annotated[str, Query(alias="to")] = "",
    ) -> Response:
        """How often each rule has raised, what people said it was, and what wasn't told.

        `false` is its count of false alarms. Rules that never raised aren't listed.
        """
        chosen = Selection(
            grid_prefix=grid, from_ms=doc.time_ms(start, "from"), to_ms=doc.time_ms(end, "to")
        )
        return _json(doc.rules(store.queries.rules(chosen)))

    @api.get("/api/v1/notices", responses=doc.NOTICES, dependencies=[Depends(guard.read)])
    def list_notices(
        cursor: Annotated[str, Query(pattern="^[0-9]{0,18}$")] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> Response:
        """Notices that are no alerts (a budget is used up), newest first."""
        rows = store.queries.notices(int(cursor) if cursor else None, limit + 1)
        more = str(rows[limit - 1]["seq"]) if len(rows) > limit else None
        return _json(doc.notices(rows[:limit], more))


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type=_JSON)


def _change_route(api: FastAPI, rules: Callable[[], dict[str, Any]], guard: Guard) -> None:
    @api.get("/api/v1/rules/change", dependencies=[Depends(guard.read)])
    def read_change() -> Response:
        """The last change of rules: what became of each rule's state, what was refused and why."""
        return _json(json.dumps(rules(), ensure_ascii=False).encode())


# Deciding


def _submit(submit: Callable[[OperatorCommand], None], command: OperatorCommand) -> None:
    try:
        submit(command)
    except Exception as error:
        _log.exception("command %s: the log didn't take it", command.id)
        raise ApiError(503, "not_taken", "the log didn't take it; send it again") from error


def _command_routes(
    api: FastAPI, store: Store, submit: Callable[[OperatorCommand], None], guard: Guard
) -> None:
    key_name = "Idempotency-Key"

    def order(
        alert: str, action: str, holder: Holder, key: str | None, body: doc.Remark
    ) -> Response:
        row = store.queries.alert(alert)
        if row is None:
            raise ApiError(404, "unknown_alert", "no alert has this id", "alert")
        if key is not None and not _ID.fullmatch(key):
            raise ApiError(422, "bad_request", "1 to 64 of A-Z a-z 0-9 _ . : / -", key_name)
        command = OperatorCommand(
            id=f"{holder.name}:{key or uuid.uuid4().hex}",
            action=action,  # type: ignore[arg-type]  # one of the three, by the routes
            alert=alert,
            at_ms=time.time_ns() // 1_000_000,
            by=f"{holder.name}/{body.by}" if body.by else holder.name,
            disposition=body.disposition if isinstance(body, doc.Judgement) else None,
            note=body.note,
        )
        known = store.queries.one("SELECT 1 FROM commands WHERE id = ?", [command.id])
        if known is None:
            if action == "reset" and row["state"] == "cleared":
                raise ApiError(409, "already_cleared", "there is nothing to reset", "alert")
            _submit(submit, command)
        # Kept only after the log has it: a repeat of a request that failed is a first one.
        if not store.audit(command):
            raise ApiError(409, "key_reused", "this key was used for another request", key_name)
        answer = {"command": command.id, "repeated": known is not None}
        return _json(json.dumps(answer).encode(), 202)

    key_header = Header(alias=key_name, description=doc.KEY_TEXT, examples=["7f3c"])

    @api.post("/api/v1/alerts/{alert}/acknowledge", status_code=202, responses=doc.COMMAND)
    def acknowledge(
        alert: str,
        holder: Annotated[Holder, Depends(guard.operate)],
        body: doc.Remark | None = None,
        key: Annotated[str | None, key_header] = None,
    ) -> Response:
        """Somebody has taken it: reminders end."""
        return order(alert, "acknowledge", holder, key, body or doc.Remark())

    @api.post("/api/v1/alerts/{alert}/reset", status_code=202, responses=doc.COMMAND)
    def reset(
        alert: str,
        holder: Annotated[Holder, Depends(guard.operate)],
        body: doc.Remark | None = None,
        key: Annotated[str | None, key_header] = None,
    ) -> Response:
        """End an alert. One that still holds comes back at once, as on a fire panel."""
        return order(alert, "reset", holder, key, body or doc.Remark())

    @api.post("/api/v1/alerts/{alert}/disposition", status_code=202, responses=doc.COMMAND)
    def disposition(
        alert: str,
        body: doc.Judgement,
        holder: Annotated[Holder, Depends(guard.operate)],
        key: Annotated[str | None, key_header] = None,
    ) -> Response:
        """Say what it was: real, false, or a drill."""
        return order(alert, "disposition", holder, key, body)


# The live stream


def _stream_route(api: FastAPI, store: Store, live: Broadcaster, guard: Guard) -> None:
    @api.get("/api/v1/events/stream", responses=doc.STREAM, dependencies=[Depends(guard.read)])
    async def stream(
        last: Annotated[str | None, Header(alias="Last-Event-ID")] = None,
    ) -> StreamingResponse:
        """Server-sent events. `id` rises by one order for all; send it back to resume."""
        if last and not (last.isascii() and last.isdigit()):
            raise ApiError(422, "bad_request", "not a number of this stream", "Last-Event-ID")
        try:
            listener = live.listen()
        except TooManyListeners:
            raise ApiError(503, "too_many_listeners", "too many open streams") from None
        seen = int(last[:18]) if last else await run_in_threadpool(store.queries.last_seq)
        return StreamingResponse(
            _stream(store, live, listener, seen),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )


async def _stream(
    store: Store, live: Broadcaster, listener: Listener, seen: int
) -> AsyncIterator[bytes]:
    """First what the store has behind `seen`, then what is recorded from now on."""
    try:
        yield b"retry: 1000\n: gridwarden\n\n"
        while rows := await run_in_threadpool(store.queries.events_after, seen):
            for row in rows:
                seen = row["seq"]
                yield _sse(row["kind"], row["body"], seen)
        while True:
            try:
                item = await listener.next(STREAM_ALIVE_S)
            except TimeoutError:
                yield b": alive\n\n"
                continue
            if item is None:
                return
            if isinstance(item, Notice):
                yield _sse(item.kind, item.body)
            elif item.seq > seen:
                seen = item.seq
                yield _sse(item.kind, item.body, seen)
    finally:
        live.leave(listener)


def _sse(kind: str, body: bytes, seq: int | None = None) -> bytes:
    """kind: event -> `alert`; reminder and notices under their own names. body has no newline."""
    name = b"alert" if kind == "event" else kind.encode()
    number = b"" if seq is None else b"id: %d\n" % seq
    return number + b"event: " + name + b"\ndata: " + body + b"\n\n"


# Health, receivers, page


def _health_routes(
    api: FastAPI, health: Callable[[], dict[str, Any]], metrics: Callable[[], bytes], guard: Guard
) -> None:
    @api.get("/health", responses=doc.HEALTH)
    def read_health() -> Response:
        """How it is. 503 when something that people rely on doesn't work."""
        found = health()
        return _json(json.dumps(found).encode(), 200 if found.get("ok", False) else 503)

    @api.get("/ready", responses=doc.READY)
    def read_ready() -> Response:
        """Whether it takes readings and requests yet."""
        ready = bool(health().get("ready", True))
        return _json(json.dumps({"ready": ready}).encode(), 200 if ready else 503)

    @api.get("/metrics", dependencies=[Depends(guard.read)])
    def read_metrics() -> Response:
        """Prometheus text format."""
        return Response(metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _receiver_routes(
    api: FastAPI, store: Store, enable: Callable[[str], bool], guard: Guard
) -> None:
    @api.get("/api/v1/receivers", dependencies=[Depends(guard.read)])
    def receivers() -> Response:
        """Who gets events, what waits for them, and what is wrong. No addresses."""
        return _json(doc.receivers(store.queries.receivers()))

    @api.post(
        "/api/v1/receivers/{name}/enable",
        status_code=202,
        dependencies=[Depends(guard.operate)],
    )
    def enable_receiver(name: str) -> Response:
        """Send to a receiver again that was disabled by its answer 410."""
        if not enable(name):
            raise ApiError(404, "unknown_receiver", "no receiver has this name", "name")
        return _json(b"{}", 202)


def _page_routes(api: FastAPI, page_dir: Path) -> None:
    def serve(file: Path) -> Callable[[], FileResponse]:
        def page() -> FileResponse:
            return FileResponse(file, headers=PAGE_HEADERS)

        return page

    for route, name in PAGE_FILES.items():
        api.get(route, include_in_schema=False)(serve(page_dir / name))
