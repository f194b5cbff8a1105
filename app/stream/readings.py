"""The telemetry store of a worker: what it refuses is in `letters` before a snapshot covers it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from app.stream.post import Post
from app.stream.records import KEPT_BYTES, DeadLetter, encode
from app.stream.settings import StreamSettings
from app.telemetry import open_telemetry
from contracts.rejects import Reject
from ingest.telemetry import TelemetryStore


class Readings:
    """Opens the store that the settings name; `store` is None where there is to be none.

    Its own threads hand over what is refused; `flush` waits until it is in Kafka too.
    """

    def __init__(self, settings: StreamSettings, post: Post, *, clock: Callable[[], int]) -> None:
        """In the event loop that `post` lives in. Raises `SettingsError`, `StoreError`."""
        self._post, self._topic = post, settings.layout.letters.name
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._on_their_way: list[Future[None]] = []
        self.store: TelemetryStore | None = open_telemetry(
            settings.telemetry, settings.data / "telemetry", clock=clock, letters=self._refused
        )

    def _refused(self, letters: Sequence[tuple[str, bytes, Reject]], at_ms: int) -> None:
        """From any thread."""
        records = [
            (self._topic, 0, source.encode(), encode(_letter(source, content, why, at_ms)))
            for source, content, why in letters
        ]
        going = asyncio.run_coroutine_threadsafe(self._post.send(records), self._loop)
        with self._lock:
            self._on_their_way = [one for one in self._on_their_way if not one.done()]
            self._on_their_way.append(going)

    def flush(self) -> None:
        """Not in the event loop: it waits for Kafka. All that was handed over before is safe."""
        if self.store is not None:
            self.store.flush()
        with self._lock:
            going, self._on_their_way = self._on_their_way, []
        for one in going:
            one.result()

    async def close(self) -> None:
        if self.store is not None:
            await asyncio.to_thread(self.store.close)


def _letter(source: str, content: bytes, why: Reject, at_ms: int) -> DeadLetter:
    return DeadLetter(
        by="worker",
        at_ms=at_ms,
        source=source,
        reason=why.reason.value,
        field=why.field,
        detail=why.detail,
        size=len(content),
        payload=content[:KEPT_BYTES],
    )
