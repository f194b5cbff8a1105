"""What stands before every route of the API: keys, bounds, and the one shape of errors."""

# No postponed annotations here: FastAPI reads them.

import json
import logging
from typing import Annotated

from fastapi import FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from dispatch.keys import Holder, KeyRing

MOST_BODY = 65_536
_METHODS_WITH_BODY = ("POST", "PUT", "PATCH", "DELETE")
_log = logging.getLogger("gridwarden.api")


class ApiError(Exception):
    """Becomes an answer of the one error shape."""

    def __init__(self, status: int, code: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.field = status, code, message, field


class Guard:
    """Dependencies of routes: who asks, and may they."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def read(self, authorization: Annotated[str | None, Header()] = None) -> Holder:
        holder = self._keys.check(authorization)
        if holder is None:
            raise ApiError(401, "no_key", "send a known key: Authorization: Bearer gwk_...")
        return holder

    def operate(self, authorization: Annotated[str | None, Header()] = None) -> Holder:
        holder = self.read(authorization)
        if holder.role != "operate":
            raise ApiError(403, "not_allowed", "this key may only read")
        return holder


class BodyLimit:
    """Refuses large bodies, and bodies of unstated length, before anything reads them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in _METHODS_WITH_BODY:
            headers = dict(scope["headers"])
            length = headers.get(b"content-length", b"0")
            if b"transfer-encoding" in headers:
                await _answer(411, "no_length", "send content-length")(scope, receive, send)
                return
            if not length.isdigit() or int(length[:12]) > MOST_BODY:
                await _answer(413, "too_large", f"at most {MOST_BODY} bytes")(scope, receive, send)
                return
        await self._app(scope, receive, send)


def install(api: FastAPI) -> None:
    """The error shape and the bounds."""
    api.add_middleware(BodyLimit)

    @api.exception_handler(ApiError)
    async def refused(request: Request, error: ApiError) -> Response:
        del request
        return _answer(error.status, error.code, error.message, error.field)

    @api.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        del request
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])
        return _answer(422, "bad_request", str(first["msg"]), field)

    @api.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        del request
        return _answer(error.status_code, "http", str(error.detail))

    @api.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        _log.error("%s %s failed: %s", request.method, request.url.path, type(error).__name__)
        return _answer(500, "internal", "the server failed; its log says why")


def _answer(status: int, code: str, message: str, field: str = "") -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    body = json.dumps({"error": {"code": code, "message": message, "field": field}})
    return Response(body, status, headers, "application/json")
