"""Gateway status: which connection is the living one, and what a status says as readings."""

from __future__ import annotations

from dataclasses import dataclass

from contracts.messages import GatewayStatus
from contracts.quantities import QUANTITY_INDEX
from ingest.clock import Timing

ONLINE = QUANTITY_INDEX["online"]
OUTBOX_FILL = QUANTITY_INDEX["outbox_fill"]
DISK_FULL = QUANTITY_INDEX["disk_full"]
CLOCK_SKEW = QUANTITY_INDEX["clock_skew"]


@dataclass(frozen=True, slots=True)
class Found:
    """One reading of the gateway itself, said by it or found out about it."""

    quantity: int
    ts_ms: int
    value: float
    flags: int = 0


class Sessions:
    """Per gateway row the (boot, connection) that was born last, and whether it is online."""

    def __init__(self) -> None:
        self._current: dict[int, tuple[str, int, bool]] = {}

    def note(
        self, gateway: int, status: GatewayStatus, timing: Timing, accepted_ms: int
    ) -> list[Found] | None:
        """The readings of one status; None when it is stale.

        A will speaks of the connection that it was left for: of an older one it says nothing
        about the gateway. It was written at connect, so its event time is when it was heard.
        """
        current = self._current.get(gateway)
        if current is not None:
            boot, connection, is_online = current
            if status.boot == boot and status.connection < connection:
                return None
            if status.type == "offline" and (
                (status.boot, status.connection) != (boot, connection) or not is_online
            ):
                return None
        is_online = status.type != "offline"
        self._current[gateway] = (status.boot, status.connection, is_online)
        if not is_online:
            return [Found(ONLINE, accepted_ms, 0.0)]
        at_ms = timing.true_ms
        found = [Found(ONLINE, at_ms, 1.0, timing.flags)]
        if status.outbox_limit > 0:
            fill = max(0, status.outbox_bytes) / status.outbox_limit
            found.append(Found(OUTBOX_FILL, at_ms, fill, timing.flags))
        found.append(Found(DISK_FULL, at_ms, float(status.disk_full), timing.flags))
        if timing.skew_ms is not None:
            found.append(Found(CLOCK_SKEW, at_ms, float(timing.skew_ms), timing.flags))
        return found

    def state(self) -> list[tuple[int, str, int, bool]]:
        return [(gateway, *current) for gateway, current in self._current.items()]

    def load(self, state: list[tuple[int, str, int, bool]], gateway_rows: list[int]) -> None:
        self._current = {gateway_rows[row]: (b, c, online) for row, b, c, online in state}
