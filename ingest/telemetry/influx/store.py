"""The telemetry store in InfluxDB, written by a thread of its own.

Rows wait in memory for a moment, become lines, and are sent. What the server can't take goes to
disk (`spill`), synced, and is worked off when it can; fresh rows go first. After `flush` every
row handed over before is with the server or on disk.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from contracts.batch import TaggedBatch
from contracts.directory import DeviceDirectory
from ingest.storage import StoreDamaged, StoreError, make_folder
from ingest.telemetry.buffer import Buffer, Drained
from ingest.telemetry.contract import Sample, TelemetryState
from ingest.telemetry.influx.answers import Answer, Fate, wait_s
from ingest.telemetry.influx.lines import Body, Encoder, Refusal
from ingest.telemetry.influx.reader import InfluxReader
from ingest.telemetry.influx.spill import Shed, Spill
from ingest.telemetry.influx.wire import Address, TokenUnreadable, Wire

FLUSH_S = 0.5
FORGET_TURNS = 600
"""A directory that nobody wrote from for so long is let go: another registry is in force."""
WAITING_ROWS = 1_000_000
"""More than this between two turns are thinned to the last of each series (proposal: 40 MB)."""
WAKE_ROWS = 20_000
CROWDED_ROWS = 200_000
"""With so many rows waiting the server is too slow: the rest goes to disk (proposal)."""
SPILL_BYTES = 1 << 30
UNSETTLED_BYTES = 64 << 20
MAX_CUTS = 256
"""Cuts that are made in one body to find the lines that are refused; what is left in pieces then
is kept as it is."""


@dataclass(slots=True)
class _Source:
    """Rows of one directory: a partition has its own. `encoder` keeps the directory, so that no
    other can come to its id."""

    encoder: Encoder
    buffer: Buffer = field(default_factory=lambda: Buffer(WAITING_ROWS))
    idle_turns: int = 0


class InfluxTelemetry:
    """`write` is for one thread; the rest may be called by any."""

    def __init__(
        self,
        folder: Path,
        address: Address,
        *,
        refused: Callable[[Sequence[Refusal], int], None],
        jitter: Callable[[], float],
        spill_bytes: int = SPILL_BYTES,
        settle_s: float = 0.0,
    ) -> None:
        """refused: gets lines that will never be taken, with the accepted_ms of what they came
        with. jitter: random in [0, 1). settle_s: what was acknowledged so shortly before the
        server went is sent again; for servers that acknowledge before they sync.

        Raises `StoreError`, `TokenUnreadable`.
        """
        make_folder(folder)
        self._refuse, self._jitter, self._settle_s = refused, jitter, settle_s
        self._wire, self._reader = Wire(address), InfluxReader(address)
        self._spill = Spill(folder / "spill.db", spill_bytes)
        self._lock, self._flushing = threading.Lock(), threading.Lock()
        self._sources: dict[int, _Source] = {}
        self._recent: deque[tuple[float, Body]] = deque()
        self._recent_bytes = 0
        self._connections = 0
        self._handed = self._stored = self._thinned = self._lost = self._refused = 0
        self._failures = self._retries = 0
        self._heard_ms = self._stored_ms = 0
        self._lost_from_ms = self._lost_to_ms = 0
        self._retry_at = 0.0
        self._problem = self._disk_problem = ""
        self._stopping, self._wake, self._asked = (threading.Event() for _ in range(3))
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def write(self, batch: TaggedBatch, directory: DeviceDirectory) -> None:
        """Hand rows over; they are sent within a second where the server can take them."""
        if not len(batch):
            return
        with self._lock:
            source = self._sources.get(id(directory))
            if source is None:
                source = self._sources[id(directory)] = _Source(Encoder(directory))
            source.buffer.put(batch, directory.family)
            source.idle_turns = 0
            self._handed += len(batch)
            self._heard_ms = max(self._heard_ms, source.buffer.heard_ms)
            if self._waiting() >= WAKE_ROWS:
                self._wake.set()

    def _waiting(self) -> int:
        """Rows in memory."""
        return sum(source.buffer.put_rows for source in list(self._sources.values()))

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait(FLUSH_S)
            self._wake.clear()
            with self._flushing:
                self._deliver(self._drained())
            works = True
            while works and self._may_go_on():
                with self._flushing:
                    works = self._work_off()

    def _may_go_on(self) -> bool:
        """Whether the thread may work off what is on disk: nobody else waits for it."""
        waits = self._stopping.is_set() or self._asked.is_set() or self._wake.is_set()
        return not waits and len(self._spill) > 0 and self._may_send()

    def flush(self) -> None:
        """All that waits is sent now, or is on disk."""
        self._asked.set()
        with self._flushing:
            self._asked.clear()
            self._deliver(self._drained())

    def _drained(self) -> list[Body]:
        work: list[tuple[Drained, Encoder]] = []
        with self._lock:
            for key, source in list(self._sources.items()):
                if source.buffer.put_rows:
                    family = source.encoder.directory.family
                    work.append((source.buffer.drain(family, thin_next=False), source.encoder))
                    continue
                source.idle_turns += 1
                if source.idle_turns > FORGET_TURNS:
                    del self._sources[key]
        bodies: list[Body] = []
        for drained, encoder in work:
            self._thinned += drained.thinned
            for rows in drained.parts:
                encoded, refused = encoder.encode(rows, drained.heard_ms)
                bodies += encoded
                self._keep_refused(refused, drained.heard_ms)
        return bodies

    def _deliver(self, bodies: list[Body]) -> None:
        for at, body in enumerate(bodies):
            if not self._may_send() or self._waiting() > CROWDED_ROWS:
                self._to_disk(bodies[at:])
                return
            left = self._send(body)
            if left:
                self._to_disk([*left, *bodies[at + 1 :]])
                return

    def _work_off(self) -> bool:
        """Send the oldest body on disk; False where the disk refuses."""
        try:
            spilled = self._spill.oldest()
            if spilled is not None:
                left = self._send(spilled.body)
                if left == [spilled.body]:
                    return True
                if left:
                    self._lose(self._spill.put(left))
                self._spill.remove(spilled)
            self._disk_problem = ""
        except StoreDamaged as error:
            self._disk_problem = str(error)
            self._lose(self._spill.shed(1, at_once=1))
            return False
        except StoreError as error:
            self._disk_problem = str(error)
            return False
        return True

    def _send(self, body: Body) -> list[Body]:
        """Send a body, in pieces where some line of it is refused; returns what has to wait."""
        pieces, cuts = deque([body]), 0
        while pieces:
            piece = pieces[0]
            answer = self._post(piece)
            if answer.stays:
                return list(pieces)
            pieces.popleft()
            if answer.fate is Fate.STORED:
                self._count_stored(piece)
                continue
            halves = _halves(piece) if cuts < MAX_CUTS else None
            if halves is None:
                self._keep_refused(
                    [Refusal(piece.data.rstrip(b"\n"), answer.detail, piece.rows)], piece.heard_ms
                )
            else:
                cuts += 1
                pieces.extendleft(reversed(halves))
        return []

    def _post(self, body: Body) -> Answer:
        answer = self._wire.post(body.data)
        connections = self._wire.connections
        if answer.fate is Fate.AWAY or connections != self._connections:
            # A new connection may be one to a server that was started anew.
            self._unsettle()
            self._connections = connections
        if not answer.stays:
            self._failures, self._problem = 0, ""
            return answer
        self._failures += 1
        self._retries += 1
        self._retry_at = time.monotonic() + wait_s(
            self._failures, answer.retry_after_s, self._jitter()
        )
        self._problem = f"{self._wire.host}: {answer.fate.value}: {answer.detail}"
        if answer.fate is Fate.DENIED:
            self._renew()
        return answer

    def _renew(self) -> None:
        """The token may have been changed since it was read."""
        try:
            self._wire.renew()
            self._reader.renew()
        except TokenUnreadable as error:
            self._problem = str(error)

    def _may_send(self) -> bool:
        return not self._failures or time.monotonic() >= self._retry_at

    def _count_stored(self, body: Body) -> None:
        self._stored += body.rows
        self._stored_ms = max(self._stored_ms, body.heard_ms)
        if not self._settle_s:
            return
        now = time.monotonic()
        self._recent.append((now, body))
        self._recent_bytes += len(body.data)
        while self._recent and (
            self._recent[0][0] < now - self._settle_s or self._recent_bytes > UNSETTLED_BYTES
        ):
            self._recent_bytes -= len(self._recent.popleft()[1].data)

    def _unsettle(self) -> None:
        """What was acknowledged a moment ago may not be there any more: it is sent again."""
        if not self._recent:
            return
        since = time.monotonic() - self._settle_s
        again = [body for at, body in self._recent if at >= since]
        self._recent.clear()
        self._recent_bytes = 0
        self._stored -= sum(body.rows for body in again)
        self._to_disk(again)

    def _to_disk(self, bodies: Sequence[Body]) -> None:
        try:
            self._lose(self._spill.put(bodies))
            self._disk_problem = ""
        except StoreError as error:
            # This store may miss rows and says so; acceptance and rules go on.
            self._disk_problem = str(error)
            times = [body.heard_ms for body in bodies]
            self._lose(Shed(sum(body.rows for body in bodies), 0, min(times), max(times)))

    def _lose(self, shed: Shed) -> None:
        if shed.rows:
            self._lost += shed.rows
            self._lost_from_ms = min(self._lost_from_ms or shed.from_ms, shed.from_ms)
            self._lost_to_ms = max(self._lost_to_ms, shed.to_ms)

    def _keep_refused(self, refused: Sequence[Refusal], heard_ms: int) -> None:
        if refused:
            self._refused += sum(one.rows for one in refused)
            self._refuse(refused, heard_ms)

    def range(self, device: str, quantity: str, from_ms: int, to_ms: int) -> list[Sample]:
        """Samples with from_ms <= ts < to_ms in time order. Raises `Unreadable`."""
        return self._reader.range(device, quantity, from_ms, to_ms)

    def latest(self, device: str) -> dict[str, Sample]:
        """Quantity -> newest stored sample. Raises `Unreadable`."""
        return self._reader.latest(device)

    def history(self, device: str, from_ms: int, to_ms: int) -> list[tuple[str, Sample]]:
        """(quantity, sample) with from_ms <= ts < to_ms in time order. Raises `Unreadable`."""
        return self._reader.history(device, from_ms, to_ms)

    def state(self) -> TelemetryState:
        spilled = self._spill.state()
        with self._lock:
            thinning = any(source.buffer.thinning for source in self._sources.values())
        problem = self._problem
        if problem and spilled.rows:
            problem += f"; {spilled.rows} rows wait on disk"
        if self._disk_problem:
            problem = f"{problem}; {self._disk_problem}".removeprefix("; ")
        return TelemetryState(
            mode="thinned" if thinning else "full",
            interval_ms=int(FLUSH_S * 1000),
            lag_ms=max(0, self._heard_ms - self._stored_ms) if self._stored_ms else 0,
            kept_from_ms=None,
            handed_rows=self._handed,
            stored_rows=self._stored,
            thinned_rows=self._thinned,
            lost_rows=self._lost,
            refused_rows=self._refused,
            retries=self._retries,
            spilled_rows=spilled.rows,
            spilled_bytes=spilled.bytes,
            spilled_from_ms=spilled.from_ms,
            lost_from_ms=self._lost_from_ms or None,
            lost_to_ms=self._lost_to_ms or None,
            problem=problem,
        )

    def shed(self, wanted_bytes: int) -> int:
        """Give back disk space: what waits is lost, oldest first; returns the bytes."""
        shed = self._spill.shed(wanted_bytes)
        self._lose(shed)
        return shed.bytes

    def sheddable(self) -> int:
        """Bytes that wait on disk."""
        return self._spill.state().bytes

    def bytes(self) -> int:
        """Bytes on this machine's disk."""
        return self._spill.bytes()

    def close(self) -> None:
        """Send what waits, or leave it on disk for the next start."""
        self._stopping.set()
        self._wake.set()
        self._thread.join()
        self.flush()
        self._spill.close()
        self._wire.close()
        self._reader.close()


def _halves(body: Body) -> tuple[Body, Body] | None:
    """The lines in two; None for a single line."""
    lines = body.data.splitlines(keepends=True)
    if len(lines) < 2:
        return None
    middle = len(lines) // 2
    # A line's fields are its readings; nothing in them holds a space.
    rows = sum(line.rsplit(b" ", 2)[1].count(b",") + 1 for line in lines[:middle])
    first, second = b"".join(lines[:middle]), b"".join(lines[middle:])
    return Body(first, rows, body.heard_ms), Body(second, body.rows - rows, body.heard_ms)
