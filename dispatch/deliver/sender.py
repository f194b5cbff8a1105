"""What every way of delivery offers to the dispatcher."""

from __future__ import annotations

from typing import Protocol

from dispatch.outbox import Delivery
from dispatch.retry import Outcome


class Sender(Protocol):
    """Sends to one receiver. Called from several threads; never raises for a failed delivery.

    send: one event, at least once, with its id as the idempotency key. beat: one heartbeat,
    which is never tried again. close: end, and fail what is under way.
    """

    def send(self, delivery: Delivery) -> Outcome: ...

    def beat(self, name: str, body: bytes) -> Outcome: ...

    def close(self) -> None: ...
