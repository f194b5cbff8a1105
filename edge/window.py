"""What is on its way: packs that were sent and are not confirmed. Pure: time is an argument.

Two windows. `Window` bounds what of one gateway ingest has not confirmed, and says when a pack is
to be sent again. `Pace` bounds what of one connection the broker has not acknowledged, and
follows the link: on a slow one few packs are in front of an alarm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from contracts.messages import BootConfirm
from edge.pack_table import Kind
from edge.shelf import Key


@dataclass(frozen=True, slots=True)
class WindowLimits:
    """packs, bytes: unconfirmed at most; alarms may go `alarm_packs` beyond. resend_ms: without
    a confirm for so long a pack is sent again, then after twice that, up to resend_most_ms."""

    packs: int = 32
    bytes: int = 2 << 20
    alarm_packs: int = 16
    resend_ms: int = 10_000
    resend_most_ms: int = 120_000


@dataclass(slots=True)
class _Flight:
    size: int
    alarm: bool
    tries: int = 1
    due_ms: float | None = None  # None: the broker has not acknowledged it yet


class Window:
    """The unconfirmed packs of one gateway. `jitter()` gives numbers in [0, 1)."""

    def __init__(self, limits: WindowLimits, jitter: Callable[[], float]) -> None:
        self._limits = limits
        self._jitter = jitter
        self._flights: dict[Key, _Flight] = {}
        self._bytes = 0
        self._earliest_ms = math.inf  # nothing is due before
        self.resent = 0

    def __len__(self) -> int:
        return len(self._flights)

    @property
    def bytes(self) -> int:
        return self._bytes

    def room(self, kind: Kind) -> int:
        """How many packs of a kind may be sent now."""
        packs = self._limits.packs
        if kind == Kind.ALARM:
            # An alarm doesn't wait for bulk data to be confirmed.
            return max(0, packs + self._limits.alarm_packs - len(self._flights))
        if self._bytes >= self._limits.bytes:
            return 0
        return max(0, packs - len(self._flights))

    def sent(self, key: Key, size: int, *, alarm: bool) -> None:
        """A pack was handed to the client, for the first time or again."""
        flight = self._flights.get(key)
        if flight is None:
            self._flights[key] = _Flight(size, alarm)
            self._bytes += size
            return
        flight.tries += 1
        flight.due_ms = None
        self.resent += 1

    def acknowledged(self, key: Key, now_ms: float) -> None:
        """The broker has it; that is no confirm, but from now on ingest's answer is awaited."""
        flight = self._flights.get(key)
        if flight is not None and flight.due_ms is None:
            flight.due_ms = now_ms + self._patience_ms(flight)
            self._earliest_ms = min(self._earliest_ms, flight.due_ms)

    def lost(self, now_ms: float) -> None:
        """There is a new connection: everything is to be sent again."""
        for flight in self._flights.values():
            flight.due_ms = now_ms
        self._earliest_ms = now_ms

    def ask(self, boot: int, ranges: Iterable[tuple[int, int]], now_ms: float) -> None:
        """Ingest asks for sequences: those on their way go again at once."""
        spans = tuple(ranges)
        self._earliest_ms = now_ms
        for (own, seq), flight in self._flights.items():
            asked = own == boot and any(first <= seq <= last for first, last in spans)
            if asked and flight.due_ms is not None:
                flight.due_ms = now_ms

    def due(self, now_ms: float, *, alarms: bool) -> list[Key]:
        """What is to be sent again, oldest first; only alarms, or only the rest."""
        if now_ms < self._earliest_ms:
            return []
        self._earliest_ms = min(
            (f.due_ms for f in self._flights.values() if f.due_ms is not None), default=math.inf
        )
        return sorted(
            key
            for key, flight in self._flights.items()
            if flight.alarm == alarms and flight.due_ms is not None and flight.due_ms <= now_ms
        )

    def is_due(self, now_ms: float) -> bool:
        """Whether `due` may have something."""
        return now_ms >= self._earliest_ms

    def confirm(self, confirm: BootConfirm) -> int:
        """Ingest has these; gives how many were on their way."""
        boot, upto, ranges = int(confirm.boot, 16), confirm.upto, confirm.ranges
        done = [
            key
            for key in self._flights
            if key[0] == boot
            and (key[1] <= upto or any(first <= key[1] <= last for first, last in ranges))
        ]
        for key in done:
            self.drop(key)
        return len(done)

    def drop(self, key: Key) -> None:
        """The pack is held no longer."""
        flight = self._flights.pop(key, None)
        if flight is not None:
            self._bytes -= flight.size

    def _patience_ms(self, flight: _Flight) -> float:
        limits = self._limits
        patience: int = min(
            limits.resend_ms * 2 ** min(flight.tries - 1, 16), limits.resend_most_ms
        )
        return patience * (0.8 + 0.4 * self._jitter())


SWIFT_MS = 500
SLOW_MS = 1500
"""Time to the broker's acknowledgement: below the first the pace grows, above the second it is
halved, so that an alarm meets about a second of other packs in front of it (a proposal)."""
START = 8.0
BEYOND = 4
"""Alarm packs that may go beyond the pace."""


class Pace:
    """Packs of one connection that the broker may owe an acknowledgement for."""

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._allowed = min(START, self._most)
        self._slow_since_ms = 0.0

    def limit(self, most: int) -> None:
        """The broker's Receive Maximum."""
        self._most = float(most)
        self._allowed = min(self._allowed, self._most)

    def room(self, owed: int, *, alarm: bool = False) -> int:
        allowed = int(self._allowed) + (BEYOND if alarm else 0)
        return max(0, min(allowed, int(self._most)) - owed)

    def acknowledged(self, sent_ms: float, now_ms: float) -> None:
        took_ms = now_ms - sent_ms
        if took_ms < SWIFT_MS:
            self._allowed = min(self._most, self._allowed + 1)
        elif took_ms > SLOW_MS and sent_ms >= self._slow_since_ms:
            # Once a round trip: packs sent before the last cut say nothing about it.
            self._allowed = max(1.0, self._allowed / 2)
            self._slow_since_ms = now_ms
