"""The live stream: whoever listens hears each event as it is recorded.

A listener that doesn't keep up is cut off, not waited for; it comes back with the last number it
saw and gets the rest from the store.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from contracts.alerts import timestamp
from dispatch.store import Stored

QUEUE = 512
MOST_LISTENERS = 200


class TooManyListeners(Exception):
    """The bound on listeners is reached."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the local page must show although it is no alert event."""

    kind: str
    body: bytes


Item = Stored | Notice | None
"""None = the listener was too slow and is cut off, or the stream ends."""


class Listener:
    """One open stream, in the event loop that asked for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: asyncio.Queue[Item] = asyncio.Queue(QUEUE)

    async def next(self, timeout_s: float) -> Item:
        """The next item. Raises `TimeoutError`."""
        return await asyncio.wait_for(self._queue.get(), timeout_s)

    def put(self, item: Item) -> None:
        """From any thread."""
        try:
            self._loop.call_soon_threadsafe(self._put, item)
        except RuntimeError:
            return  # The loop is gone, and the listener with it.

    def _put(self, item: Item) -> None:
        if self._queue.full():
            while not self._queue.empty():
                self._queue.get_nowait()
            item = None
        self._queue.put_nowait(item)


class Broadcaster:
    """Fans out to listeners. What tells it something may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: set[Listener] = set()
        self._closed = False
        self._failing: dict[str, Notice] = {}
        self._refused: Notice | None = None

    def __len__(self) -> int:
        return len(self._listeners)

    def listen(self) -> Listener:
        """A new listener of the running event loop. Raises `TooManyListeners`."""
        listener = Listener(asyncio.get_running_loop())
        with self._lock:
            if self._closed or len(self._listeners) >= MOST_LISTENERS:
                raise TooManyListeners
            self._listeners.add(listener)
            for standing in self._failing.values():
                listener.put(standing)
            if self._refused is not None:
                listener.put(self._refused)
        return listener

    def leave(self, listener: Listener) -> None:
        with self._lock:
            self._listeners.discard(listener)

    def publish(self, events: Sequence[Stored]) -> None:
        for listener in self._all():
            for event in events:
                listener.put(event)

    def delivery_failing(self, receiver: str, since_ms: int | None) -> None:
        """Say that level Ⅰ can't be delivered, or (None) can again; new listeners hear it too."""
        since = None if since_ms is None else timestamp(since_ms)
        body = msgspec.json.encode({"receiver": receiver, "since": since})
        notice = Notice("delivery_failing", body)
        with self._lock:
            if since_ms is None:
                self._failing.pop(receiver, None)
            else:
                self._failing[receiver] = notice
        self._tell(notice)

    def rules_refused(self, why: str | None) -> None:
        """Say that changed rules were refused, or (None) no longer; new listeners hear it too."""
        notice = Notice("rules_refused", msgspec.json.encode({"why": why}))
        with self._lock:
            self._refused = None if why is None else notice
        self._tell(notice)

    def close(self) -> None:
        """End all streams, so that a server can stop."""
        with self._lock:
            self._closed = True
        for listener in self._all():
            listener.put(None)

    def _tell(self, notice: Notice) -> None:
        for listener in self._all():
            listener.put(notice)

    def _all(self) -> list[Listener]:
        with self._lock:
            return list(self._listeners)
