"""The sending side of the agent: one thread that owns all connections, windows and the shelf.

What is committed is read from the outbox and published: alarms first, then tombstones, then data,
each oldest first. Confirms and questions go to the writer, which owns the file.
"""

from __future__ import annotations

import logging
import random
import selectors
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from contracts import topics
from contracts.messages import BootConfirm, Command, Confirm, GatewayStatus, Resend
from contracts.pack import MAX_BOOT, boot_text
from edge.clock import Clock
from edge.connection import Connection, Will
from edge.lane import Lane
from edge.outbox import Outbox
from edge.pack_table import Kind
from edge.settings import Settings
from edge.shelf import Key, Shelf
from edge.window import Window

SCAN_MS = 100
GOODBYE_MS = 3000
VERSION = "0.1.0"

log = logging.getLogger("gridwarden.edge.link")

_confirms = msgspec.json.Decoder(Confirm)
_commands = msgspec.json.Decoder(Command)


@dataclass(slots=True)
class _Dial:
    """When a connection is tried next."""

    at_ms: float = 0.0
    wait_ms: float = 0.0


@dataclass(slots=True)
class Figures:
    """What the link has done since it was started."""

    acknowledged: int = 0
    refused: int = 0
    confirmed: int = 0
    connections: int = 0
    bad: Counter[str] = field(default_factory=Counter)


class Link:
    """`added` and `changed` may be called from any thread; everything else is its own.

    on_confirm, on_resend: called in the link's thread with the gateway's row.
    """

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        clock: Clock,
        *,
        on_confirm: Callable[[int, BootConfirm], None],
        on_resend: Callable[[int, Resend], None],
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._clock = clock
        self._on_confirm = on_confirm
        self._on_resend = on_resend
        self._random = random.Random()  # noqa: S311 - jitter, not a secret
        self._shelf = Shelf(outbox.path, [outbox.id_of(g) for g in range(len(outbox.gateways))])
        self._lanes = [self._lane(g, name) for g, name in enumerate(outbox.gateways)]
        self._heard_on: dict[str, tuple[Lane, Literal["ack", "cmd"]]] = {}
        for lane in self._lanes:
            self._heard_on[topics.ack(lane.name)] = (lane, "ack")
            self._heard_on[topics.cmd(lane.name)] = (lane, "cmd")
        self._connections = self._made_connections()
        self._of_lane = {g: c for c in self._connections for g in c.gateways}
        self._dials = {id(c): _Dial() for c in self._connections}
        self._ready: set[int] = set()
        self._events: deque[tuple[int, Kind]] = deque()
        self._status_due = False
        self._stopping = threading.Event()
        self._woken = False
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._registered: dict[int, tuple[Any, int]] = {}
        self.figures = Figures()

    def _lane(self, gateway: int, name: str) -> Lane:
        window = Window(self._settings.window_limits(), self._random.random)
        return Lane(
            gateway, name, topics.pack(name), topics.tracks(name), topics.state(name), window
        )

    def _made_connections(self) -> list[Connection]:
        broker = self._settings.broker
        count = min(broker.connections or len(self._lanes), len(self._lanes))
        shares: list[list[Lane]] = [self._lanes[i::count] for i in range(count)]
        return [
            Connection(
                share[0].name,
                [lane.gateway for lane in share],
                [
                    topic
                    for lane in share
                    for topic in (topics.ack(lane.name), topics.cmd(lane.name))
                ],
                settings=broker,
                port=self._settings.port(),
                listener=self,
                mono_ms=self._clock.mono_ms,
            )
            for share in shares
        ]

    # For other threads.

    def added(self, added: Iterable[tuple[int, Kind]]) -> None:
        """There are new packs in the outbox."""
        self._events.extend(added)
        self._wake()

    def changed(self) -> None:
        """The status has changed: say so at once."""
        self._status_due = True
        self._wake()

    def stop(self) -> None:
        """Say goodbye and end `run`."""
        self._stopping.set()
        self._wake()

    @property
    def is_up(self) -> bool:
        return all(connection.is_up for connection in self._connections)

    @property
    def unconfirmed(self) -> int:
        return sum(len(lane.window) for lane in self._lanes)

    @property
    def sent(self) -> int:
        return sum(lane.sent for lane in self._lanes)

    @property
    def resent(self) -> int:
        return sum(lane.window.resent for lane in self._lanes)

    def _wake(self) -> None:
        if self._woken:
            return
        self._woken = True
        try:
            self._wake_in.send(b"\0")
        except BlockingIOError:
            # The pipe is full of wakes already.
            return

    # The loop.

    def run(self) -> None:
        """Until `stop`: connect, send, listen."""
        scan_ms = 0.0
        try:
            while not self._stopping.is_set():
                self._poll(SCAN_MS / 1000)
                now_ms = self._clock.mono_ms()
                if now_ms >= scan_ms:
                    scan_ms = now_ms + SCAN_MS
                    self._scan(now_ms)
                self._send_ready(now_ms)
            self._say_goodbye()
        finally:
            self._close()

    def _poll(self, timeout_s: float) -> None:
        for connection in self._connections:
            self._sync(connection)
        by_socket = {sock: c for c in self._connections if (sock := c.socket) is not None}
        for key, mask in self._selector.select(timeout_s):
            if key.fileobj is self._wake_out:
                self._drain_wakes()
                continue
            connection = by_socket[key.fileobj]
            if mask & selectors.EVENT_READ:
                connection.readable()
            if mask & selectors.EVENT_WRITE and connection.socket is not None:
                connection.writable()
            self._ready.update(connection.gateways)

    def _drain_wakes(self) -> None:
        try:
            while self._wake_out.recv(4096):
                pass
        except BlockingIOError:
            pass  # Drained.
        # Only now: a wake between clearing and reading would be swallowed, and nobody would ever
        # wake this loop again.
        self._woken = False
        while self._events:
            gateway, kind = self._events.popleft()
            self._lanes[gateway].more.add(kind)
            self._ready.add(gateway)
        if self._status_due:
            self._status_due = False
            for lane in self._lanes:
                lane.next_status_ms = 0.0

    def _sync(self, connection: Connection) -> None:
        """Let the selector know the connection's socket as it is now."""
        sock = connection.socket
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.wants_write else 0)
        known = self._registered.get(id(connection))
        if known is not None and known[0] is not sock:
            self._selector.unregister(known[0])
            del self._registered[id(connection)]
            known = None
        if sock is None or known == (sock, mask):
            return
        if known is None:
            self._selector.register(sock, mask)
        else:
            self._selector.modify(sock, mask)
        self._registered[id(connection)] = (sock, mask)

    def _scan(self, now_ms: float) -> None:
        """What is due by the clock: dialling, keep-alive, statuses, packs to send again."""
        for connection in self._connections:
            connection.tick()
            self._sync(connection)
            if not connection.is_asked:
                self._dial(connection, now_ms)
                self._sync(connection)
        for lane in self._lanes:
            connection = self._of_lane[lane.gateway]
            if not connection.is_up:
                continue
            if now_ms >= lane.next_status_ms:
                self._say(lane, connection, "heartbeat", now_ms)
            if lane.more or lane.window.is_due(now_ms):
                self._ready.add(lane.gateway)

    def _dial(self, connection: Connection, now_ms: float) -> None:
        dial, broker = self._dials[id(connection)], self._settings.broker
        if now_ms < dial.at_ms:
            return
        grown = min(max(dial.wait_ms * 2, broker.reconnect_ms), broker.reconnect_most_ms)
        dial.wait_ms = grown
        lane = self._lanes[connection.gateways[0]]
        status = self._status(lane, "offline", connection.attempts + 1)
        connection.connect(Will(lane.state_topic, status))
        # Counted from the end of the attempt, which may have taken long.
        dial.at_ms = self._clock.mono_ms() + grown * (0.5 + self._random.random())

    # Sending.

    def _send_ready(self, now_ms: float) -> None:
        ready, self._ready = self._ready, set()
        for gateway in ready:
            lane, connection = self._lanes[gateway], self._of_lane[gateway]
            if connection.is_up:
                lane.send(connection, self._shelf, now_ms)

    # Statuses.

    def _status(
        self,
        lane: Lane,
        kind: Literal["birth", "heartbeat", "offline"],
        number: int,
    ) -> bytes:
        outbox = self._outbox
        return msgspec.json.encode(
            GatewayStatus(
                type=kind,
                gateway=lane.name,
                boot=boot_text(outbox.boot),
                wall_ms=self._clock.wall_ms(),
                mono_ms=self._clock.mono_ms(),
                connection=number,
                boots=self._shelf.boots(lane.gateway, outbox.boot),
                version=VERSION,
                outbox_bytes=outbox.held_bytes,
                outbox_limit=outbox.limits.bytes,
                evicted_packs=outbox.evicted_packs,
                tombstones=outbox.tombstones,
                disk_full=outbox.disk_full,
            )
        )

    def _say(
        self,
        lane: Lane,
        connection: Connection,
        kind: Literal["birth", "heartbeat", "offline"],
        now_ms: float,
    ) -> None:
        lane.next_status_ms = now_ms + self._settings.agent.heartbeat_ms
        status = self._status(lane, kind, connection.attempts)
        connection.say(lane.gateway, lane.state_topic, status)

    def _say_goodbye(self) -> None:
        up = [connection for connection in self._connections if connection.is_up]
        for connection in up:
            for gateway in connection.gateways:
                self._say(self._lanes[gateway], connection, "offline", self._clock.mono_ms())
        until_ms = self._clock.mono_ms() + GOODBYE_MS
        while self._clock.mono_ms() < until_ms:
            if not any(connection.is_up and connection.owes_status() for connection in up):
                break
            self._poll(0.05)
        for connection in up:
            connection.leave()

    def _close(self) -> None:
        for connection in self._connections:
            self._sync(connection)
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()
        self._shelf.close()

    # What connections tell (`Listener`).

    def up(self, connection: Connection, now_ms: float) -> None:
        self.figures.connections += 1
        self._dials[id(connection)].wait_ms = 0.0
        for gateway in connection.gateways:
            lane = self._lanes[gateway]
            lane.window.lost(now_ms)
            self._say(lane, connection, "birth", now_ms)
            self._ready.add(gateway)

    def down(self, connection: Connection, now_ms: float) -> None:
        dial = self._dials[id(connection)]
        dial.at_ms = now_ms + self._settings.broker.reconnect_ms * self._random.random()

    def acknowledged(self, gateway: int, key: Key, *, ok: bool, now_ms: float) -> None:
        # Refused or not: without ingest's confirm the pack goes again after its patience.
        self._lanes[gateway].window.acknowledged(key, now_ms)
        if ok:
            self.figures.acknowledged += 1
            return
        self.figures.refused += 1
        if self.figures.refused & (self.figures.refused - 1) == 0:
            log.error("broker refused a pack gateway=%s refused=%d; mend its access list or quota",
                      self._lanes[gateway].name, self.figures.refused)  # fmt: skip

    def heard(self, topic: str, payload: bytes) -> None:
        known = self._heard_on.get(topic)
        if known is None:
            self._count_bad("topic", topic)
            return
        lane, kind = known
        try:
            if kind == "ack":
                self._confirmed(lane, _confirms.decode(payload).confirms)
            else:
                self._asked(lane, _commands.decode(payload))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._count_bad(kind, str(error))

    def _confirmed(self, lane: Lane, confirms: Sequence[BootConfirm]) -> None:
        for confirm in confirms:
            if int(confirm.boot, 16) > MAX_BOOT:
                self._count_bad("ack", "a boot that is none of ours")
                continue
            self.figures.confirmed += lane.window.confirm(confirm)
            self._on_confirm(lane.gateway, confirm)
        self._ready.add(lane.gateway)

    def _asked(self, lane: Lane, resend: Resend) -> None:
        boot = int(resend.boot, 16)
        if boot > MAX_BOOT:
            self._count_bad("cmd", "a boot that is none of ours")
            return
        lane.window.ask(boot, resend.ranges, self._clock.mono_ms())
        self._on_resend(lane.gateway, resend)
        self._ready.add(lane.gateway)

    def _count_bad(self, what: str, why: str) -> None:
        self.figures.bad[what] += 1
        if self.figures.bad[what] & (self.figures.bad[what] - 1) == 0:
            log.warning("message not understood kind=%s count=%d why=%r",
                        what, self.figures.bad[what], why[:200])  # fmt: skip
