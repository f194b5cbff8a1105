"""Admission: from log records to rows that rules may trust, the same however a log is cut.

The order of steps, each in log order:

1. decode; look up names; learn and judge the gateway's clock    (`decode`, `binding`, `clock`)
2. judge rows: who may say it, can it have happened then         (`judge`)
3. drop row duplicates                                           (`dedup`)
4. flag late rows, move watermarks                               (`watermark`)
5. keep rows that timed rules want until a mark releases them    (`reorder`)

Safety signals pass every judgement; their flags say what was wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.batch import Flag, TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.log import LogRecord
from contracts.operator import Progress
from contracts.quantities import QUANTITIES, QUANTITY_INDEX
from ingest.binding import Binding
from ingest.decode import Decoded, Decoder
from ingest.dedup import RowDedup
from ingest.judge import Judge
from ingest.judged import Judged, merge
from ingest.limits import AdmissionSettings
from ingest.refusal import RowReject
from ingest.reorder import ReorderBuffer, as_blocks
from ingest.watermark import NEVER, TimedRows, Watermarks

__all__ = ["Admission", "AdmissionSettings", "Admitted", "RowReject"]

SNAPSHOT_VERSION = 3
_PLAIN_VERSION = 2
_UNBOUNDED_VERSION = 1

_COUNTED = {
    "late": Flag.LATE,
    "repaired": Flag.REPAIRED,
    "clock_unknown": Flag.CLOCK_UNKNOWN,
    "unverified": Flag.UNVERIFIED,
    "stranger": Flag.UNREGISTERED,
}


@dataclass(frozen=True, slots=True)
class Admitted:
    """What one call let in.

    batch: accepted rows in log order, without duplicates. rejects: for the dead letters, in log
    order. counts: rows by what became of them:
    `accepted`, `duplicate`, `rejected`; of the accepted `late`, `repaired`, `clock_unknown`,
    `unverified`, `stranger`; `stale_status` messages; `unlisted` findings about gateways that had
    no room in the directory. Counts of 0 are left out.
    """

    batch: TaggedBatch
    rejects: tuple[RowReject, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)


class SnapshotRefused(Exception):
    """A snapshot that this admission can't carry on from: another version or registry."""


class Admission:
    """The state of one partition's ingest: clocks, sessions, rings, watermarks, waiting rows.

    It also adds strangers to `directory`, in log order; a snapshot brings them back.
    """

    def __init__(
        self, directory: DeviceDirectory, settings: AdmissionSettings | None = None
    ) -> None:
        self._directory = directory
        self._settings = settings or AdmissionSettings()
        self._binding = Binding(directory)
        self._decoder = Decoder(self._binding, self._settings)
        self._judge = Judge(self._binding, self._settings)
        self._dedup = RowDedup(self._settings.dedup_depth)
        self._watermarks = Watermarks(self._settings)
        self._buffer = ReorderBuffer()
        self._wanted: NDArray[np.bool_] | None = None
        self._accepted_ms = NEVER

    def want(self, quantities: NDArray[np.bool_]) -> None:
        """bool[len(QUANTITIES)]: which quantities timed rules use; only their rows wait."""
        self._wanted = None if quantities.all() else quantities.copy()

    def admit(self, records: Sequence[LogRecord]) -> Admitted:
        """Let in PACK, FOREIGN and STATUS records in log order. Never raises on their bytes."""
        if not records:
            return Admitted(TaggedBatch.empty())
        self._accepted_ms = max(self._accepted_ms, records[-1].accepted_ms)
        decoded = self._decoder.decode(records)
        counts = Counter(stale_status=decoded.stale_statuses)
        batch = TaggedBatch.empty()
        judged, rejects = self._judged(decoded, counts)
        if judged is not None:
            judged = self._without_duplicates(judged, counts)
            heads = _Heads.of(records, decoded)
            self._flag_late(judged, heads)
            batch = _tagged(judged, heads)
            self._wait(batch, judged.home)
            _count(batch, counts)
        return Admitted(batch, tuple(rejects), {name: n for name, n in counts.items() if n})

    def _judged(
        self, decoded: Decoded, counts: Counter[str]
    ) -> tuple[Judged | None, list[RowReject]]:
        """Rows by record of the call, None = no record gave any; and rejects by position."""
        if not decoded.arrivals:
            return decoded.plain, decoded.rejects
        judged, refused, unlisted = self._judge.judge(decoded.arrivals)
        judged.record = np.array(decoded.index, np.int32)[judged.record]
        counts["rejected"] = len(refused)
        counts["unlisted"] = unlisted
        if decoded.plain is not None:
            judged = merge(judged, decoded.plain)
        return judged, sorted(decoded.rejects + refused, key=attrgetter("position"))

    def _without_duplicates(self, judged: Judged, counts: Counter[str]) -> Judged:
        same = self._dedup.duplicates(
            judged.device, judged.quantity, judged.ts_ms, judged.value, judged.flags
        )
        if same is None:
            return judged
        counts["duplicate"] = int(same.sum())
        return judged.take(~same)

    def _flag_late(self, judged: Judged, heads: _Heads) -> None:
        self._watermarks.grow(len(self._directory.gateways))
        late = self._watermarks.pass_rows(
            TimedRows(
                first=np.searchsorted(judged.record, np.arange(len(heads.accepted_ms) + 1)),
                accepted_ms=heads.accepted_ms,
                speaker=heads.speaker,
                ts_ms=judged.ts_ms,
                home=judged.home,
                counts_time=judged.counts_time,
            )
        )
        if late is not None:
            judged.flags[late] |= np.uint16(Flag.LATE)

    def _wait(self, batch: TaggedBatch, home: NDArray[np.int32]) -> None:
        if self._wanted is not None:
            wanted = np.flatnonzero(self._wanted[batch.quantity])
            if len(wanted) < len(batch):
                batch, home = batch.take(wanted), home[wanted]
        if len(batch):
            self._buffer.push(batch, home)

    def mark(self, record: LogRecord) -> tuple[TaggedBatch, Progress]:
        """Release rows for timed rules at a MARK record, by (ts_ms, order, position, row).

        A portion of them, where very many have become due at once (`reorder`): the progress told
        is that of the released rows, and `next_ms` asks for another mark at once. Which rows are
        late follows from the true watermarks alone, so nothing comes behind told progress but
        what is flagged late.
        """
        self._accepted_ms = max(self._accepted_ms, record.accepted_ms)
        gateways = len(self._directory.gateways)
        self._watermarks.grow(gateways)
        self._watermarks.pass_mark(record.accepted_ms)
        released = self._buffer.release(self._watermarks.at_ms[:gateways])
        progress_ms = self._buffer.progress_ms.copy()
        return released, Progress(record.position, record.accepted_ms, progress_ms)

    def next_ms(self) -> int | None:
        """The earliest `accepted_ms` at which a mark would release something; None = nothing waits.

        Never before the last record's `accepted_ms`. New records may make it earlier.
        """
        if not len(self._buffer):
            return None
        if self._buffer.has_late:
            return self._accepted_ms
        due = self._watermarks.due_ms(*self._buffer.heads())
        return max(self._accepted_ms, int(due.min()))

    @property
    def is_behind(self) -> bool:
        """The last mark left rows that were due: it's better decided before the next is made."""
        return self._buffer.is_behind

    def watermark_lag_ms(self, now_ms: int) -> int:
        """`now_ms` minus the least watermark of a gateway that moved its own in the last minute."""
        return self._watermarks.lag_ms(now_ms)

    @property
    def handed_over_ms(self) -> int:
        """The greatest event time up to which readings of any gateway were handed over."""
        return int(self._buffer.progress_ms.max(initial=NEVER))

    def snapshot(self) -> bytes:
        """All state, and the directory's strangers, as MessagePack with little-endian columns."""
        return self.freeze()()

    def freeze(self) -> Callable[[], bytes]:
        """`snapshot` of this moment, to be packed later and in any thread."""
        directory = self._directory
        head = {
            "version": SNAPSHOT_VERSION,
            "registered": directory.registered,
            "strangers": directory.strangers(),
            "adopted": _adopted(directory),
            "gateways": list(directory.gateways),
            "quantities": [quantity.name for quantity in QUANTITIES],
            "accepted_ms": self._accepted_ms,
            "clocks": self._decoder.clocks.state(),
            "sessions": self._decoder.sessions.state(),
            "dedup": self._dedup.state(),
            "watermarks": self._watermarks.state(len(directory.gateways)),
        }
        # Encoded here, since what it is made of goes on changing; the waiting rows are the bulk.
        encode = msgspec.msgpack.encode
        packed = {name: msgspec.Raw(encode(value)) for name, value in head.items()}
        waiting = self._buffer.freeze()
        return lambda: encode(packed | {"waiting": waiting()})

    def restore(self, blob: bytes, remap: NDArray[np.int32] | None = None) -> None:
        """Carry on from a snapshot; this admission and its directory are newly built.

        Without `remap` the registry must be the same. With it, `remap[old row]` is the new row
        or -1, and the strangers have been added to the directory before. Raises `SnapshotRefused`.
        """
        state: dict[str, Any] = msgspec.msgpack.decode(blob)
        if state["version"] == _UNBOUNDED_VERSION:
            # It released up to the watermarks at each mark, so progress isn't beyond them.
            state["waiting"] |= {"came": 0, "progress": state["watermarks"]["at"]}
        if state["version"] in (_UNBOUNDED_VERSION, _PLAIN_VERSION):
            state["waiting"] = as_blocks(state["waiting"])
        elif state["version"] != SNAPSHOT_VERSION:
            raise SnapshotRefused(
                f"admission snapshot version {state['version']}, this is {SNAPSHOT_VERSION}"
            )
        gateway_rows = [self._directory.intern_gateway(name) for name in state["gateways"]]
        rows = self._bring_back(state) if remap is None else remap
        self._adopt(state["adopted"])
        quantities = np.array(
            [QUANTITY_INDEX.get(name, -1) for name in state["quantities"]], np.int16
        )
        self._accepted_ms = state["accepted_ms"]
        self._decoder.clocks.load(state["clocks"], gateway_rows)
        self._decoder.sessions.load(state["sessions"], gateway_rows)
        self._dedup.load(state["dedup"], rows, quantities)
        self._watermarks.load(state["watermarks"], gateway_rows, len(self._directory.gateways))
        self._buffer.load(state["waiting"], rows, quantities, gateway_rows, self._directory.gateway)

    def _bring_back(self, state: dict[str, Any]) -> NDArray[np.int32]:
        """Add the strangers again and check that they get the rows they had."""
        directory = self._directory
        row = state["registered"]
        for device, family, gateway in state["strangers"]:
            if directory.intern_device(device, family, directory.intern_gateway(gateway)) != row:
                raise SnapshotRefused(f"device {device} isn't row {row}: another registry?")
            row += 1
        if row != len(directory):
            raise SnapshotRefused(f"the snapshot has {row} devices, not {len(directory)}")
        return np.arange(row, dtype=np.int32)

    def _adopt(self, adopted: list[tuple[str, str, str]]) -> None:
        """Registered devices without a gateway stay with the one that first spoke for them."""
        directory = self._directory
        for device, family, gateway in adopted:
            if device in directory.row_of:
                directory.intern_device(device, family, directory.intern_gateway(gateway))


def _adopted(directory: DeviceDirectory) -> list[tuple[str, str, str]]:
    """Registered devices without a gateway of their own, with the one that first spoke."""
    registered = directory.registry.devices.gateway
    rows = np.flatnonzero((registered < 0) & (directory.gateway[: len(registered)] >= 0))
    return [
        (
            directory.ids[row],
            directory.family_name(row),
            directory.gateways[int(directory.gateway[row])],
        )
        for row in rows.tolist()
    ]


@dataclass(frozen=True, slots=True)
class _Heads:
    """Per record of a call. speaker: row of the gateway that spoke, 0 where there are no rows."""

    accepted_ms: list[int]
    position: list[int]
    order: list[int]
    speaker: list[int]

    @classmethod
    def of(cls, records: Sequence[LogRecord], decoded: Decoded) -> _Heads:
        position = [record.position for record in records]
        order, speaker = position.copy(), [0] * len(records)
        if decoded.plain is not None:
            plain = decoded.plain
            for index, home in zip(plain.record.tolist(), plain.home.tolist(), strict=True):
                speaker[index] = home
        for index, arrival in zip(decoded.index, decoded.arrivals, strict=True):
            order[index], speaker[index] = arrival.order, arrival.gateway
        return cls([record.accepted_ms for record in records], position, order, speaker)


def _tagged(judged: Judged, heads: _Heads) -> TaggedBatch:
    return TaggedBatch(
        judged.device,
        judged.quantity,
        judged.ts_ms,
        judged.value,
        judged.flags,
        np.array(heads.accepted_ms, np.int64)[judged.record],
        np.array(heads.position, np.int64)[judged.record],
        judged.row,
        np.array(heads.order, np.int64)[judged.record],
    )


def _count(batch: TaggedBatch, counts: Counter[str]) -> None:
    counts["accepted"] = len(batch)
    if not len(batch) or not int(np.bitwise_or.reduce(batch.flags)) >> 8:
        return
    for name, flag in _COUNTED.items():
        counts[name] = int(np.count_nonzero(batch.flags & np.uint16(flag)))
