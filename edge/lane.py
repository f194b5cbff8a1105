"""One gateway's packs on their way over its connection."""

from __future__ import annotations

from dataclasses import dataclass, field

from contracts.pack import holds_tracks
from edge.connection import Connection
from edge.pack_table import Kind
from edge.shelf import FIRST, Key, Shelf
from edge.window import Window

ORDER = (Kind.ALARM, Kind.TOMBSTONE, Kind.DATA)
AT_ONCE = 64
"""Packs read from the shelf at once."""


@dataclass(slots=True)
class Lane:
    """gateway: its row. more: kinds of which the shelf may have packs that were never sent.
    sent_to: up to where of each kind. next_status_ms: when the next heartbeat is due."""

    gateway: int
    name: str
    topic: str
    tracks_topic: str
    state_topic: str
    window: Window
    more: set[Kind] = field(default_factory=lambda: set(ORDER))
    sent_to: dict[Kind, Key] = field(default_factory=lambda: dict.fromkeys(ORDER, FIRST))
    next_status_ms: float = 0.0
    sent: int = 0

    def send(self, connection: Connection, shelf: Shelf, now_ms: float) -> None:
        """Publish what the windows allow: alarms first, then tombstones, then data."""
        self._send_again(connection, shelf, now_ms, alarms=True)
        self._send_new(connection, shelf, Kind.ALARM)
        self._send_again(connection, shelf, now_ms, alarms=False)
        self._send_new(connection, shelf, Kind.TOMBSTONE)
        self._send_new(connection, shelf, Kind.DATA)

    def _send_again(
        self, connection: Connection, shelf: Shelf, now_ms: float, *, alarms: bool
    ) -> None:
        for key in self.window.due(now_ms, alarms=alarms):
            if not connection.pace.room(connection.owed, alarm=alarms):
                return
            data = shelf.pack(self.gateway, key)
            if data is None:
                # Confirmed or given up meanwhile; a tombstone tells of the latter.
                self.window.drop(key)
            elif not self._publish(connection, key, data, alarm=alarms):
                return

    def _send_new(self, connection: Connection, shelf: Shelf, kind: Kind) -> None:
        alarm = kind == Kind.ALARM
        while kind in self.more:
            room = min(
                self.window.room(kind),
                connection.pace.room(connection.owed, alarm=alarm),
                AT_ONCE,
            )
            if not room:
                return
            rows = shelf.after(self.gateway, kind, self.sent_to[kind], room)
            if len(rows) < room:
                self.more.discard(kind)
            for boot, seq, data in rows:
                if kind == Kind.DATA and not self.window.room(kind):
                    return  # By bytes; the rest is read again when there is room.
                self.sent_to[kind] = (boot, seq)
                if not self._publish(connection, (boot, seq), data, alarm=alarm):
                    return

    def _publish(self, connection: Connection, key: Key, data: bytes, *, alarm: bool) -> bool:
        self.window.sent(key, len(data), alarm=alarm)
        self.sent += 1
        topic = self.tracks_topic if holds_tracks(data) else self.topic
        return connection.send(self.gateway, topic, key, data)
