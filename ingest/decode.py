"""From log records to arrivals: a message's columns with its names looked up and its time judged.

What can't be decoded is a `RowReject` with its payload; nothing here raises on the bytes of a
record. Looking up names and learning clocks happens record by record, in log order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts import senml
from contracts.batch import Flag, ReadingBatch
from contracts.detector import INNER_PREFIX
from contracts.log import LogRecord, RecordKind
from contracts.messages import GatewayStatus
from contracts.pack import RawPack, decode_raw
from contracts.quantities import QUANTITY_INDEX
from contracts.rejects import Reason, Refused, Reject
from contracts.topics import parse_foreign
from ingest.binding import NO_MEASURANDS, Binding, Measurands, Speakers, measurands
from ingest.clock import ClockGuard, ClockSample, Timing
from ingest.judged import Judged
from ingest.limits import AdmissionSettings
from ingest.native import Natives
from ingest.refusal import RowReject
from ingest.sessions import Found, Sessions

_EVICTED = QUANTITY_INDEX["packs_evicted"]
_STATUS_LIMIT = 1 << 53

_status_decoder = msgspec.json.Decoder(GatewayStatus)
_STATUS_FAULTS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(slots=True)
class Arrival:
    """One record's rows as they were sent, with what ingest knows of the sender.

    gateway: row of the gateway that spoke. order: see `TaggedBatch.order`. own: the directory
    row of the gateway as a device, for `found` and other findings about it; -1 = it has none,
    None = it is no gateway of ours, so there is nobody to tell. device and quantity refer to
    `speakers` and `measurands`.
    """

    record: LogRecord
    gateway: int
    order: int
    timing: Timing
    speakers: Speakers
    measurands: Measurands
    device: NDArray[np.generic]
    quantity: NDArray[np.generic]
    ts_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    flags: NDArray[np.uint16]
    own: int | None = None
    found: list[Found] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ts_ms)


@dataclass(slots=True)
class Decoded:
    """Arrivals in log order, what was refused as a whole message, and what was passed over.

    index: per arrival, its record's place in the call. plain: rows of messages that need no
    judgement, None = none; see `native`.
    """

    plain: Judged | None = None
    arrivals: list[Arrival] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    rejects: list[RowReject] = field(default_factory=list)
    stale_statuses: int = 0


_NO_INDEX = np.empty(0, np.int32)
_NO_TS = np.empty(0, np.int64)
_NO_VALUE = np.empty(0, np.float64)
_NO_FLAGS = np.empty(0, np.uint16)


class Decoder:
    """Decodes records; state is what it knows of clocks and connections."""

    def __init__(self, binding: Binding, settings: AdmissionSettings) -> None:
        self.clocks = ClockGuard(settings)
        self.sessions = Sessions()
        self._binding = binding
        self._settings = settings

    def decode(self, records: Sequence[LogRecord]) -> Decoded:
        natives = Natives(records)
        decoded = Decoded(natives.plain(self._binding, self._settings))
        rest: Iterable[int] = range(len(records))
        if decoded.plain is not None:
            rest = sorted(set(rest).difference(decoded.plain.record.tolist()))
        for index in rest:
            record = records[index]
            try:
                if record.kind is RecordKind.PACK:
                    decoded.arrivals.append(self._pack(record))
                elif record.kind is RecordKind.FOREIGN:
                    self._foreign(record, natives, index, decoded)
                elif record.kind is RecordKind.STATUS:
                    self._status(record, decoded)
            except Refused as refused:
                decoded.rejects.append(_whole(record, refused.reject))
            if len(decoded.arrivals) > len(decoded.index):
                decoded.index.append(index)
        return decoded

    def _pack(self, record: LogRecord) -> Arrival:
        raw = decode_raw(record.payload)
        gateway = self._binding.gateway(record.source)
        own = self._binding.own_device(gateway)
        header = raw.header
        honest = header.gateway == record.source
        if len(raw):
            named = self._binding.of_pack(gateway, raw.devices_raw, honest=honest)
            counted = self._binding.of_quantities(raw.quantities_raw)
        else:
            named, counted = self._binding.nobody, NO_MEASURANDS
        sample = ClockSample(header.wall_ms, header.mono_ms, record.accepted_ms)
        # What a detector stamps was judged before; how late it says so tells nothing of a clock.
        if honest and not record.source.startswith(INNER_PREFIX):
            timing = self.clocks.observe(gateway, header.boot, sample)
        else:
            timing = self.clocks.distrust(sample)
        arrival = Arrival(
            record,
            gateway,
            (header.boot >> 32) << 40 | header.seq,
            timing,
            named,
            counted,
            raw.device,
            raw.quantity,
            raw.ts_ms,
            raw.value,
            raw.flags,
            own=own,
        )
        if raw.evicted and honest:
            arrival.found.append(_evicted(raw, timing))
        return arrival

    def _status(self, record: LogRecord, decoded: Decoded) -> None:
        status = _read_status(record)
        gateway = self._binding.gateway(record.source)
        own = self._binding.own_device(gateway)
        live = status.type != "offline"
        sample = ClockSample(status.wall_ms, status.mono_ms, record.accepted_ms, live=live)
        # A will was written when the connection began: it tells nothing about the clocks now.
        boot = int(status.boot, 16)
        timing = (
            self.clocks.observe(gateway, boot, sample) if live else self.clocks.distrust(sample)
        )
        found = self.sessions.note(gateway, status, timing, record.accepted_ms)
        if found is None:
            decoded.stale_statuses += 1
            return
        decoded.arrivals.append(
            Arrival(
                record,
                gateway,
                record.position,
                timing,
                self._binding.nobody,
                NO_MEASURANDS,
                _NO_INDEX,
                _NO_INDEX,
                _NO_TS,
                _NO_VALUE,
                _NO_FLAGS,
                own=own,
                found=found,
            )
        )

    def _foreign(self, record: LogRecord, natives: Natives, index: int, decoded: Decoded) -> None:
        if record.source:
            parse_foreign(record.source)  # A bad topic refuses the message before its rejects.
        if index in natives.place:
            rows, rejects = natives.rows(index)
            named = self._native_speakers(record, natives.batch, rows)
            columns = _slice(natives.batch, rows, named)
        else:
            batch, rejects = self._senml(record)
            named = self._senml_speakers(record, batch)
            columns = _Columns(
                measurands(batch.quantities), batch.device, batch.quantity, batch.ts_ms,
                batch.value, batch.flags,
            )  # fmt: skip
        decoded.rejects.extend(_whole(record, reject) for reject in rejects)
        if not len(columns.ts_ms):
            return
        latest_ms = record.accepted_ms + self._settings.future_ms
        timing = Timing(0, 0, True, record.accepted_ms, latest_ms, int(Flag.CLOCK_UNKNOWN))
        homes = named.home[named.home >= 0]
        decoded.arrivals.append(
            Arrival(
                record,
                int(homes[0]) if len(homes) else -1,
                record.position,
                timing,
                named,
                columns.measurands,
                columns.device,
                columns.quantity,
                columns.ts_ms,
                columns.value,
                columns.flags,
            )
        )

    def _native_speakers(self, record: LogRecord, batch: ReadingBatch, rows: slice) -> Speakers:
        names, families = _named(batch, rows)
        if record.source:
            return self._binding.of_topic(names, families, record.source)
        return self._binding.of_recording(names, families)

    def _senml(self, record: LogRecord) -> tuple[ReadingBatch, list[Reject]]:
        topic = parse_foreign(record.source) if record.source else None
        return senml.decode(
            record.payload,
            now_ms=record.accepted_ms,
            family=topic.family if topic else "",
            device=topic.device if topic else "",
            family_of=self._family_of,
        )

    def _family_of(self, device: str) -> str | None:
        row = self._binding.directory.row_of.get(device)
        return None if row is None else self._binding.directory.family_name(row)

    def _senml_speakers(self, record: LogRecord, batch: ReadingBatch) -> Speakers:
        if record.source:
            topic = parse_foreign(record.source)
            return self._binding.of_senml(batch.devices, batch.families, topic)
        return self._binding.of_recording(batch.devices, batch.families)


@dataclass(frozen=True, slots=True)
class _Columns:
    measurands: Measurands
    device: NDArray[np.int32]
    quantity: NDArray[np.int16]
    ts_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    flags: NDArray[np.uint16]


def _named(batch: ReadingBatch, rows: slice) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The devices and families of some rows of a batch, each once, in the batch's order."""
    used = sorted(set(batch.device[rows].tolist()))
    return tuple(batch.devices[k] for k in used), tuple(batch.families[k] for k in used)


def _slice(batch: ReadingBatch, rows: slice, named: Speakers) -> _Columns:
    device = batch.device[rows]
    if len(named.names) == 1:
        device = np.zeros(len(device), np.int32)
    else:
        device = np.searchsorted(np.unique(device), device).astype(np.int32)
    return _Columns(
        measurands(batch.quantities),
        device,
        batch.quantity[rows],
        batch.ts_ms[rows],
        batch.value[rows],
        batch.flags[rows],
    )


def _read_status(record: LogRecord) -> GatewayStatus:
    try:
        status = _status_decoder.decode(record.payload)
    except _STATUS_FAULTS as error:
        raise Refused(Reason.BAD_JSON, field="status", detail=str(error)[:120]) from None
    if status.gateway != record.source:
        raise Refused(Reason.WRONG_GATEWAY, field="gateway", detail=status.gateway)
    numbers = (
        status.wall_ms,
        status.mono_ms,
        status.connection,
        status.outbox_bytes,
        status.outbox_limit,
    )
    if max(abs(number) for number in numbers) > _STATUS_LIMIT:
        raise Refused(Reason.BAD_FIELD, field="status", detail="a number beyond 2**53")
    return status


def _evicted(raw: RawPack, timing: Timing) -> Found:
    """A tombstone as a reading: how many packs the gateway had to give up."""
    packs = sum(evicted.last - evicted.first + 1 for evicted in raw.evicted)
    return Found(_EVICTED, timing.true_ms, float(packs), int(Flag.ALARM) | timing.flags)


def _whole(record: LogRecord, reject: Reject) -> RowReject:
    return RowReject(record.position, record.source, reject, record.payload)
