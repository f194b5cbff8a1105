"""Delivery by webhook, as Standard Webhooks words it: signed, one event a request."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import httpx

from dispatch.outbox import Delivery
from dispatch.receivers import Webhook
from dispatch.retry import Outcome, retry_after_ms
from dispatch.signature import sign

CONNECT_S = 5.0
KEPT_ALIVE_S = 120.0
"""Longer than the heartbeat's interval, so that a fire finds the connection open."""


class WebhookSender:
    """POSTs to one webhook over kept-alive connections. A redirect is a failure."""

    def __init__(self, webhook: Webhook, *, lanes: int = 4) -> None:
        self._webhook = webhook
        self._client = httpx.Client(
            timeout=httpx.Timeout(webhook.timeout_s, connect=CONNECT_S),
            limits=httpx.Limits(
                max_connections=lanes,
                max_keepalive_connections=lanes,
                keepalive_expiry=KEPT_ALIVE_S,
            ),
            trust_env=False,
            follow_redirects=False,
        )

    def send(self, delivery: Delivery) -> Outcome:
        return self._post(delivery.id, delivery.body)

    def beat(self, name: str, body: bytes) -> Outcome:
        return self._post(name, body)

    def close(self) -> None:
        self._client.close()

    def _post(self, message_id: str, body: bytes) -> Outcome:
        now = time.time()
        headers = {
            "content-type": "application/cloudevents+json; charset=utf-8",
            "user-agent": "gridwarden",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now)),
            "webhook-signature": sign(self._webhook.secrets, message_id, int(now), body),
        }
        try:
            answer = self._client.post(self._webhook.url, content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:
            # RuntimeError: the client was closed under way. Names only: a text may hold the URL.
            return Outcome(None, error=type(error).__name__)
        asked = _retry_after(answer, int(now * 1000))
        error_text = "" if answer.is_success else f"HTTP {answer.status_code}"
        return Outcome(answer.status_code, asked, error_text)


def _retry_after(answer: httpx.Response, now_ms: int) -> int | None:
    header = answer.headers.get("retry-after")
    if header is None:
        return None
    try:
        date_ms = round(parsedate_to_datetime(header).timestamp() * 1000)
    except (ValueError, OverflowError):
        date_ms = None
    return retry_after_ms(header, now_ms, date_ms)
