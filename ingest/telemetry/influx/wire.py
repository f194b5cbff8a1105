"""The connection to an InfluxDB server: the one door to `influxdb_client`.

Nothing here decides: bodies go out, answers come back as data, and no token is ever in a text.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from ingest.telemetry.influx.answers import Answer, Fate, judge

_GZIP = 31
"""zlib's word for "with gzip's head"."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to write. version: 2 = `/api/v2/write`; 1 = `/write`, of InfluxDB 1 (and kept by 2).

    url: scheme, host and port. org, token_file: of version 2; the file holds nothing but a token.
    gzip: bodies are packed, which saves network and costs CPU on both sides.
    """

    url: str
    bucket: str
    org: str = ""
    token_file: Path | None = None
    ca_file: Path | None = None
    version: Literal[1, 2] = 2
    gzip: bool = False
    timeout_s: float = 10.0


class NoAnswer(Exception):
    """A question that the server didn't answer; the text says why, without secrets."""


class TokenUnreadable(Exception):
    """The token's file can't be read; the text names it, never its content."""


class Wire:
    """One connection, opened anew when the token may have changed. For one thread at a time."""

    def __init__(self, address: Address) -> None:
        """Raises `TokenUnreadable`."""
        self.address = address
        self.connections = 0
        """Connections opened so far. A new one may lead to a server that was started anew."""
        self._client: Any = self._connect()

    @property
    def host(self) -> str:
        """Host and port, for people."""
        return urlsplit(self.address.url).netloc.rpartition("@")[2]

    def _connect(self) -> Any:
        address = self.address
        # The library has types for some of its calls only.
        client: Any = InfluxDBClient(
            url=address.url.rstrip("/"),
            token=_token(address.token_file),
            org=address.org,
            timeout=int(address.timeout_s * 1000),
            ssl_ca_cert=None if address.ca_file is None else str(address.ca_file),
        )
        self._count_connections(client.api_client.rest_client.pool_manager)
        return client

    def _count_connections(self, pools: Any) -> None:
        """The pool opens a connection anew without a word when the server has closed it."""
        wire, pool = self, pools.connection_from_url(self.address.url)

        class Counted(pool.ConnectionCls):  # type: ignore[misc, name-defined]
            def connect(self) -> None:
                wire.connections += 1
                super().connect()

        pool.ConnectionCls = Counted

    def renew(self) -> None:
        """Read the token again. Raises `TokenUnreadable`; then the old connection stays."""
        client, self._client = self._client, self._connect()
        client.close()

    def post(self, lines: bytes) -> Answer:
        """Write lines whose times are in milliseconds."""
        address = self.address
        place = {"bucket": address.bucket, "org": address.org}
        target, path = (
            (place, "/api/v2/write") if address.version == 2 else ({"db": address.bucket}, "/write")
        )
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if address.gzip:
            packer = zlib.compressobj(1, wbits=_GZIP)
            lines = packer.compress(lines) + packer.flush()
            headers["Content-Encoding"] = "gzip"
        try:
            self._call("POST", path, target | {"precision": "ms"}, headers, lines)
        except ApiException as error:
            headers_back: Any = error.headers
            # Without a status it is TLS that failed, before anything was sent.
            if not error.status:
                return Answer(Fate.AWAY, _cause(error))
            retry_after = (headers_back or {}).get("Retry-After")
            return judge(error.status, str(error.body or ""), retry_after)
        except (HTTPError, OSError) as error:
            return Answer(Fate.AWAY, _cause(error))
        return Answer(Fate.STORED)

    def ask(self, question: str) -> dict[str, Any]:
        """The document of an InfluxQL answer. Raises `NoAnswer`."""
        query = {"db": self.address.bucket, "epoch": "ms", "q": question}
        try:
            found = json.loads(self._call("GET", "/query", query, {}, None))
        except ApiException as error:
            told = " ".join(f"{error.status or ''} {error.body or ''}".split())[:300]
            raise NoAnswer(f"{self.host}: {told}") from None
        except (HTTPError, OSError, ValueError) as error:
            raise NoAnswer(f"{self.host}: {_cause(error)}") from None
        if not isinstance(found, dict):
            raise NoAnswer(f"{self.host}: no InfluxQL answer")
        return found

    def _call(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        headers: dict[str, str],
        body: bytes | None,
    ) -> str:
        api = self._client.api_client
        _, _, _ = api.call_api(
            path, method, None, list(query.items()), headers, body=body, response_type=None,
            _return_http_data_only=False,
        )  # fmt: skip
        return str(api.last_response.data)

    def close(self) -> None:
        self._client.close()


def _token(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = "no text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise TokenUnreadable(
            f"{path}: can't be read ({why}); name a file with the token"
        ) from None


def _cause(error: Exception) -> str:
    """The last cause, in short: urllib3 wraps addresses and pools around it."""
    reason = getattr(error, "reason", None)
    text = str(reason if reason else error) or type(error).__name__
    return " ".join(text.rpartition(">: ")[2].split())[:200]
