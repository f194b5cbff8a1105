"""Recorded files as a source, at their own pace, faster, or as fast as possible.

Options: `recordings` (native JSON lines, or mapping files for tables; played together in order of
time), `speed` (1 = as recorded, 60 = a minute a second, 0 = no waiting), `rebase` ("" = times as
recorded, "now" = the first row is now, "end" = the last row is now, or a time for the first row),
`rejects_file` (what gave no reading, one JSON line each).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.batch import ReadingBatch
from edge.clock import Clock
from edge.packer import cut
from edge.sources import Drawn, SourceError
from edge.sources.mapping import iso_ms
from edge.sources.recordings import Chunk, Recording, Refusal, Refuse, open_recording

REJECTS_BYTES = 16 << 20
"""Bound of the rejects file; what comes after is counted only."""
WAIT_MS = 1000
LONG_AGO_MS, FOREVER_MS = -(1 << 62), 1 << 62
_NONE = Chunk(ReadingBatch.of([]), np.empty(0, np.int64), 0)

log = logging.getLogger("gridwarden.edge.replay")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    recordings: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    speed: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    rebase: str = ""
    rejects_file: str = ""


class _Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """print: which recordings. shift_ms: added to their times. rows: input rows done of each;
    reach_ms: the latest time met in them."""

    print: str
    shift_ms: int
    rows: tuple[int, ...]
    reach_ms: tuple[int, ...]


def open_source(options: Mapping[str, Any], clock: Clock, gateways: Sequence[str]) -> Replay:
    """See `edge.sources.Opener`. All readings are the first gateway's."""
    try:
        checked = msgspec.convert(dict(options), Options)
    except msgspec.ValidationError as error:
        raise SourceError(f"source: {error}; mend that option") from None
    if len(gateways) > 1:
        raise SourceError("agent.gateways: replay speaks for one gateway; take gateways out")
    return Replay(checked, clock)


class Replay:
    """See `edge.sources.Source`. Files are read in pieces, never whole."""

    def __init__(self, options: Options, clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._recordings = [open_recording(Path(name)) for name in options.recordings]
        prints = "\n".join(recording.fingerprint() for recording in self._recordings)
        self._print = hashlib.sha256(prints.encode()).hexdigest()[:32]
        self._given_ms = _given(options.rebase)
        self._rejects = Rejects(Path(options.rejects_file) if options.rejects_file else None)

    def batches(self, resume: bytes | None) -> Iterator[Drawn]:
        cursor = self._cursor(resume)
        players = [
            _Player(recording, skip, reach_ms, self._rejects.refuse)
            for recording, skip, reach_ms in zip(
                self._recordings, cursor.rows, cursor.reach_ms, strict=True
            )
        ]
        rows, reach_ms = list(cursor.rows), list(cursor.reach_ms)
        pacing = _Pacing(self._clock, self._options.speed)
        while (turn := _next_turn(players)) is not None:
            player, until_ms = players[turn], _least_of_others(players, turn)
            if not pacing.wait_for(player.head_ms):
                return
            batch = player.take(min(until_ms, pacing.due_until_ms(player.head_ms)))
            rows[turn], reach_ms[turn] = player.rows_done, player.done_ms
            where = _Cursor(
                print=self._print,
                shift_ms=cursor.shift_ms,
                rows=tuple(rows),
                reach_ms=tuple(reach_ms),
            )
            yield Drawn(_shifted(batch, cursor.shift_ms), msgspec.json.encode(where))
        log.info("replay ended rejects=%d", self._rejects.count)

    def close(self) -> None:
        self._rejects.close()

    @property
    def rejects(self) -> int:
        """Rows and cells refused so far."""
        return self._rejects.count

    def _cursor(self, resume: bytes | None) -> _Cursor:
        if resume is not None:
            try:
                cursor = msgspec.json.decode(resume, type=_Cursor)
            except msgspec.MsgspecError as error:
                raise SourceError(f"the outbox's cursor can't be read: {error}") from None
            if cursor.print == self._print:
                return cursor
            log.warning("recordings changed, starting at their beginning")
        count = len(self._recordings)
        return _Cursor(
            print=self._print,
            shift_ms=self._shift_ms(),
            rows=(0,) * count,
            reach_ms=(LONG_AGO_MS,) * count,
        )

    def _shift_ms(self) -> int:
        rebase = self._options.rebase
        if not rebase:
            return 0
        first, last = self._span()
        if self._given_ms is not None:
            return self._given_ms - first
        return self._clock.wall_ms() - (last if rebase == "end" else first)

    def _span(self) -> tuple[int, int]:
        """First and last event time of all recordings; `rebase` needs a look beforehand."""
        ends = [
            (int(chunk.batch.ts_ms.min()), int(chunk.batch.ts_ms.max()))
            for recording in self._recordings
            for chunk in recording.chunks(0, lambda _: None)
            if len(chunk.batch)
        ]
        if not ends:
            return 0, 0
        return min(first for first, _ in ends), max(last for _, last in ends)


class _Player:
    """One recording that is being played; `head_ms` is the time of its next reading."""

    def __init__(self, recording: Recording, skip: int, reach_ms: int, refuse: Refuse) -> None:
        self._chunks = recording.chunks(skip, refuse)
        self._chunk = _NONE
        self._reach_ms = np.empty(0, np.int64)
        self._at = 0
        self.done_ms = reach_ms
        self.rows_done = skip
        self._advance()

    @property
    def is_over(self) -> bool:
        return self._chunk is _NONE

    @property
    def head_ms(self) -> int:
        return int(self._reach_ms[self._at])

    def take(self, until_ms: int) -> ReadingBatch:
        """Readings up to `until_ms`, at least those of one input row, never a part of a row."""
        chunk = self._chunk
        end = int(np.searchsorted(self._reach_ms, until_ms, side="right"))
        end = max(end, self._at + 1)
        last = int(chunk.row[end - 1])
        end = int(np.searchsorted(chunk.row, last, side="right"))
        whole = self._at == 0 and end == len(chunk.row)
        batch = chunk.batch if whole else cut(chunk.batch, self._at, end)
        self._at = end
        self.rows_done, self.done_ms = last + 1, int(self._reach_ms[end - 1])
        if end == len(chunk.row):
            self.rows_done = chunk.rows
            self._advance()
        return batch

    def _advance(self) -> None:
        for chunk in self._chunks:
            if len(chunk.batch):
                self._chunk, self._at = chunk, 0
                # A row that goes back in time is played when the file says: right after.
                self._reach_ms = np.maximum.accumulate(np.maximum(chunk.batch.ts_ms, self.done_ms))
                return
        self._chunk = _NONE


def _next_turn(players: Sequence[_Player]) -> int | None:
    """The player whose next reading is the earliest."""
    heads = [(player.head_ms, n) for n, player in enumerate(players) if not player.is_over]
    return min(heads)[1] if heads else None


def _least_of_others(players: Sequence[_Player], turn: int) -> int:
    """Up to where a player goes on before it is another's turn. Of equal times the player that
    stands first goes first, however the play is cut."""
    ends = [p.head_ms - (n < turn) for n, p in enumerate(players) if n != turn and not p.is_over]
    return min(ends, default=FOREVER_MS)


class _Pacing:
    """Turns recorded time into waiting. The first reading that is played is due at once."""

    def __init__(self, clock: Clock, speed: float) -> None:
        self._clock = clock
        self._speed = speed
        self._first: tuple[int, int] | None = None

    def wait_for(self, ts_ms: int) -> bool:
        """Wait until a reading is due; False when the agent is stopping."""
        if not self._speed:
            return self._clock.wait(0)
        if self._first is None:
            self._first = (ts_ms, self._clock.mono_ms())
        first_ms, mono_ms = self._first
        while True:
            left_ms = mono_ms + (ts_ms - first_ms) / self._speed - self._clock.mono_ms()
            if not self._clock.wait(min(left_ms, WAIT_MS)):
                return False
            if left_ms <= WAIT_MS:
                return True

    def due_until_ms(self, ts_ms: int) -> int:
        """The recorded time that has been reached: later readings wait."""
        if not self._speed or self._first is None:
            return FOREVER_MS
        first_ms, mono_ms = self._first
        return max(ts_ms, first_ms + int((self._clock.mono_ms() - mono_ms) * self._speed))


class Rejects:
    """Counts what was refused and writes it down, up to a bound."""

    def __init__(self, path: Path | None) -> None:
        self.count = 0
        self._file = None
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = path.open("ab")
            except OSError as error:
                raise SourceError(f"{path}: {error.strerror}; mend its folder") from None

    def refuse(self, refusal: Refusal) -> None:
        self.count += 1
        if self.count & (self.count - 1) == 0:
            log.warning("rows refused count=%d last=%s", self.count, refusal)
        if self._file is None or self._file.tell() > REJECTS_BYTES:
            return
        try:
            self._file.write(msgspec.json.encode(refusal) + b"\n")
            self._file.flush()
        except OSError as error:
            log.error("rejects can't be written why=%r; they are counted only", str(error))
            self._file = None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _shifted(batch: ReadingBatch, shift_ms: int) -> ReadingBatch:
    if not shift_ms:
        return batch
    ts_ms: NDArray[np.int64] = batch.ts_ms + np.int64(shift_ms)
    return ReadingBatch(
        batch.devices, batch.families, batch.quantities, batch.device, batch.quantity, ts_ms,
        batch.value, batch.flags,
    )  # fmt: skip


def _given(rebase: str) -> int | None:
    if rebase in ("", "now", "end"):
        return None
    try:
        return iso_ms(rebase, None)
    except ValueError as error:
        raise SourceError(
            f'source.rebase: {error}; use "now", "end" or a time with an offset'
        ) from None
