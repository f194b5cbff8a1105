"""Recorded time: a server whose clock is that of the readings that come in.

For rehearsals: an agent plays a recording as fast as it can, and all else happens as it would have
when it was recorded, minute for minute, the detectors included. So months are seen in minutes, with
the same alerts as live. Nothing real may be connected: the server says that it is simulated.

The clock moves on only when everything that came before is decided, detectors and their scores
included. A pack counts as sent at its last reading, so agents play with packs of one reading
(`[pack] rows = 1`); between two packs time passes in minutes, each with its time mark. At the end
of the recording time stands still, as in a replay.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

import msgspec

from app.runners.acceptance import Inlet
from contracts import pack
from contracts.messages import GatewayStatus
from contracts.rejects import Refused
from ingest.message import Message

MINUTE_MS = 60_000
LAG_MS = 2_000
"""Behind each full minute, as timed rules and detectors wait for rows that are on their way."""
TOGETHER_MS = 1_000
AHEAD_MS = 31 * 86_400_000
"""A reading so far ahead has a wrong clock: time doesn't run there, and ingest judges it."""
LOOK_S = 0.0002
_PACKS = ("/pack", "/tracks")
_status = msgspec.json.Decoder(GatewayStatus)


class Rehearsal:
    """The clock of a server in recorded time. The inlet moves it on; any thread may ask."""

    def __init__(self, begin_ms: int) -> None:
        """begin_ms: not later than the recording's first reading."""
        self.begin_ms = self._now_ms = begin_ms

    def clock(self) -> int:
        return self._now_ms

    def reach(self, at_ms: int) -> None:
        """Time never runs back."""
        self._now_ms = max(self._now_ms, at_ms)


class RehearsedInlet:
    """See `app.runners.acceptance.Inlet`: messages of `inner` in recorded time, each with the
    clocks that its gateway would have had."""

    def __init__(self, rehearsal: Rehearsal, inner: Inlet, settled: Callable[[], bool]) -> None:
        """settled: whether all that was accepted is decided."""
        self._rehearsal, self._inner, self._settled = rehearsal, inner, settled
        self._waiting: deque[tuple[int, Message]] = deque()

    def take(self, max_messages: int, max_wait_ms: int, gather_ms: int = 0) -> list[Message]:
        """What came at one moment of recorded time; nothing where only time has passed."""
        if not self._settled():
            time.sleep(LOOK_S)
            return []
        if not self._waiting:
            for message in self._inner.take(max_messages, max_wait_ms, gather_ms):
                self._waiting.append((self._time_of(message), message))
        if not self._waiting:
            return []
        at_ms, now_ms = self._waiting[0][0], self._rehearsal.clock()
        minute_ms = (now_ms - LAG_MS) // MINUTE_MS * MINUTE_MS + MINUTE_MS + LAG_MS
        if at_ms > minute_ms:
            self._rehearsal.reach(minute_ms)
            return []
        found: list[Message] = []
        until_ms = min(minute_ms, max(at_ms, now_ms) + TOGETHER_MS)
        while self._waiting and self._waiting[0][0] <= until_ms and len(found) < max_messages:
            at_ms, message = self._waiting.popleft()
            self._rehearsal.reach(at_ms)
            found.append(self._stamped(message, at_ms))
        return found

    def ack(self, messages: Iterable[Message]) -> None:
        self._inner.ack(messages)

    def publish(self, topic: str, payload: bytes) -> None:
        self._inner.publish(topic, payload)

    # When it was, and the clocks that a gateway would have had then

    def _time_of(self, message: Message) -> int:
        """Of the last reading of a pack; everything else comes now."""
        if not message.topic.endswith(_PACKS):
            return self._rehearsal.clock()
        try:
            found = pack.decode(message.payload)
        except Refused:
            return self._rehearsal.clock()
        now_ms = self._rehearsal.clock()
        at_ms = int(found.batch.ts_ms.max()) if len(found.batch) else now_ms
        return at_ms if at_ms - now_ms < AHEAD_MS else now_ms

    def _stamped(self, message: Message, at_ms: int) -> Message:
        """What can't be read is left as it is, for ingest to refuse."""
        try:
            return message._replace(payload=self._with_clocks(message, at_ms))
        except (Refused, msgspec.DecodeError):
            return message

    def _with_clocks(self, message: Message, at_ms: int) -> bytes:
        mono_ms = max(0, at_ms - self._rehearsal.begin_ms)
        if message.topic.endswith(_PACKS):
            found = pack.decode(message.payload)
            header = replace(found.header, wall_ms=at_ms, mono_ms=mono_ms)
            return pack.encode(replace(found, header=header))
        if message.topic.startswith("gw/v1/") and message.topic.endswith("/state"):
            status = _status.decode(message.payload)
            now_ms = self._rehearsal.clock()
            # What it holds is asked for by a patience that runs in real time.
            told = msgspec.structs.replace(
                status, wall_ms=now_ms, mono_ms=max(0, now_ms - self._rehearsal.begin_ms), boots=()
            )
            return msgspec.json.encode(told)
        return message.payload
