"""What detectors hear of a partition, in the topics `tracks` and `homes`. Pure.

A worker that decides a partition takes out of each step what is of cameras and of homes, and puts
it into the partition of the same number: packs with tracklets and the readings beside them, and
readings of homes with the states of gateways. Time marks stand in both. Read in order, a detector
gets the same calls as on one box, and says the same.

Every item has its position in the partition's log. A worker that took over puts some in again, cut
otherwise: whoever reads passes over what he knows. Messages are changed by addition only.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.speaker import Fed
from contracts import pack
from contracts.batch import TaggedBatch
from contracts.detector import INNER_PREFIX
from contracts.directory import DeviceDirectory
from contracts.log import LogRecord, RecordKind, decode_bundle, encode_bundle
from contracts.quantities import FAMILY_INDEX, QUANTITIES, QUANTITY_INDEX
from contracts.rejects import Refused

VERSION = 1
CAMERAS, HOMES = "falling", "inactivity"
"""Names of the detectors, as in `app.runners`."""
PACKED_BYTES = 256 << 10
"""Larger values are compressed: rows of a full bundle of `log` take several times their packs."""
UNPACKED_BYTES = 128 << 20
"""Nobody makes more of a step."""
_ZLIB = b"\x78"
"""No map of MessagePack begins so."""
_COLUMNS = {
    "device": "<i4", "quantity": "<i2", "ts_ms": "<i8", "value": "<f8", "flags": "<u2",
    "heard_ms": "<i8", "position": "<i8", "row": "<i4", "order": "<i8",
}  # fmt: skip
_SCORES = np.array([bool(one.detector) for one in QUANTITIES])


class Rows(msgspec.Struct, frozen=True, kw_only=True):
    """Accepted rows as columns. devices: (id, family, gateway); columns: name -> bytes, little
    endian, of the types in `contracts.batch.TaggedBatch`; `device` and `quantity` index the lists.
    """

    devices: list[tuple[str, str, str]]
    quantities: list[str]
    columns: dict[str, bytes]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What came under one registry. registry: its hash, "" = none yet. records: a bundle, and the
    position of each."""

    registry: str
    records: bytes
    positions: list[int]
    rows: list[Rows] = []


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    """Value of `tracks` and `homes`. upto: everything up to this position is in it or before it."""

    version: int
    upto: int
    parts: list[Part]


class BadSignals(Exception):
    """Bytes that are no signals; the text says what is wrong."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One record to be sent. role: of the topic."""

    role: str
    key: bytes
    value: bytes


Found = tuple[list[LogRecord], list[TaggedBatch]]


@dataclass(frozen=True, slots=True)
class Interest:
    """What a detector hears. about: whether there is anybody to judge. heard: what it wants of a
    step's records and rows. named: whom a row is about, for the key."""

    role: str
    about: Callable[[DeviceDirectory], bool]
    heard: Callable[[Sequence[LogRecord], Sequence[TaggedBatch], DeviceDirectory], Found]
    named: Callable[[DeviceDirectory, int], str]


def _has_cameras(directory: DeviceDirectory) -> bool:
    return bool((directory.family == FAMILY_INDEX["camera"]).any())


def _has_homes(directory: DeviceDirectory) -> bool:
    inner = directory.gateway_row.get(INNER_PREFIX + HOMES, -1)
    return inner >= 0 and bool((directory.gateway == inner).any())


def _tracks(
    records: Sequence[LogRecord], batches: Sequence[TaggedBatch], directory: DeviceDirectory
) -> Found:
    """Packs with tracklets, and the readings that stand beside them."""
    del directory
    wanted = [record for record in records if _holds_tracks(record)]
    known = np.array([record.position for record in wanted], np.int64)
    return wanted, _only(batches, lambda batch: np.isin(batch.position, known))


def _holds_tracks(record: LogRecord) -> bool:
    if record.kind is not RecordKind.PACK or len(record.payload) < pack.HEADER.size:
        return False
    return pack.holds_tracks(record.payload)


def _homes(
    records: Sequence[LogRecord], batches: Sequence[TaggedBatch], directory: DeviceDirectory
) -> Found:
    """Readings of the family of homes that no detector gave, and states of gateways."""
    elderly = directory.family == FAMILY_INDEX["elderly"]
    wanted = [record for record in records if record.kind is RecordKind.STATUS]
    return wanted, _only(batches, lambda batch: elderly[batch.device] & ~_SCORES[batch.quantity])


def _only(
    batches: Sequence[TaggedBatch], wanted: Callable[[TaggedBatch], NDArray[np.bool_]]
) -> list[TaggedBatch]:
    taken = [batch.take(wanted(batch)) for batch in batches]
    return [batch for batch in taken if len(batch)]


def _home_of(directory: DeviceDirectory, row: int) -> str:
    known = row < directory.registered
    return directory.registry.devices.attribute("home", row) if known else ""


INTERESTS: Mapping[str, Interest] = {
    CAMERAS: Interest("tracks", _has_cameras, _tracks, lambda d, row: d.ids[row]),
    HOMES: Interest("homes", _has_homes, _homes, _home_of),
}
"""By the name of the detector."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One step of the engine: what came and what was accepted, under one registry."""

    registry: str
    directory: DeviceDirectory
    records: Sequence[LogRecord]
    batches: Sequence[TaggedBatch]


class Ear:
    """Takes what one detector hears out of the steps of one partition."""

    def __init__(self, detector: str) -> None:
        self._interest = INTERESTS[detector]
        self._seen: tuple[DeviceDirectory, int] | None = None
        self._is_about = False

    def signals(self, heard: Sequence[Heard]) -> Signal | None:
        """None = there is nothing for it."""
        interest, parts, names = self._interest, [], set[str]()
        for one in heard:
            if not self._about(one.directory):
                continue
            wanted, batches = interest.heard(one.records, one.batches, one.directory)
            marks = [record for record in one.records if record.kind is RecordKind.MARK]
            records = sorted(wanted + marks, key=lambda record: record.position)
            if not records and not batches:
                continue
            names |= _names(interest, batches, one.directory)
            parts.append(
                Part(
                    registry=one.registry,
                    records=encode_bundle(records),
                    positions=[record.position for record in records],
                    rows=[_packed(batch, one.directory) for batch in batches],
                )
            )
        if not parts:
            return None
        upto = max(record.position for one in heard for record in one.records)
        key = names.pop() if len(names) == 1 else ""
        value = msgspec.msgpack.encode(Signals(version=VERSION, upto=upto, parts=parts))
        if len(value) > PACKED_BYTES:
            value = zlib.compress(value, 1)
        return Signal(interest.role, key.encode(), value)

    def _about(self, directory: DeviceDirectory) -> bool:
        """Looked at anew when devices have come: in a large city that costs."""
        now = (directory, len(directory))
        if self._seen is None or self._seen[0] is not directory or self._seen[1] != now[1]:
            self._seen, self._is_about = now, self._interest.about(directory)
        return self._is_about


def _names(
    interest: Interest, batches: Sequence[TaggedBatch], directory: DeviceDirectory
) -> set[str]:
    return {
        interest.named(directory, row)
        for batch in batches
        for row in np.unique(batch.device).tolist()
    }


def _packed(batch: TaggedBatch, directory: DeviceDirectory) -> Rows:
    devices, device = np.unique(batch.device, return_inverse=True)
    quantities, quantity = np.unique(batch.quantity, return_inverse=True)
    columns = {name: getattr(batch, name) for name in _COLUMNS}
    columns |= {"device": device, "quantity": quantity}
    return Rows(
        devices=[
            (
                directory.ids[row],
                directory.family_name(row),
                directory.gateways[gateway] if gateway >= 0 else "",
            )
            for row, gateway in zip(
                devices.tolist(), directory.gateway[devices].tolist(), strict=True
            )
        ],
        quantities=[QUANTITIES[index].name for index in quantities.tolist()],
        columns={name: columns[name].astype(_COLUMNS[name]).tobytes() for name in _COLUMNS},
    )


_signals = msgspec.msgpack.Decoder(Signals)


def decode(value: bytes) -> Signals:
    """Raises `BadSignals`, with the reason. What a newer version adds is passed over."""
    try:
        found = _signals.decode(_whole(value) if value[:1] == _ZLIB else value)
    except zlib.error as error:
        raise BadSignals(str(error)[:200]) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadSignals(str(error)[:200]) from None
    if found.version > VERSION:
        raise BadSignals(f"version {found.version}, this worker reads up to {VERSION}")
    return found


def _whole(value: bytes) -> bytes:
    unpacker = zlib.decompressobj()
    found = unpacker.decompress(value, UNPACKED_BYTES)
    if not unpacker.eof:
        raise BadSignals("cut off, or too large")
    return found


def fed_of(part: Part, known: int, directory: DeviceDirectory) -> Fed:
    """What to feed a detector that knows everything up to the position `known`.

    Raises `BadSignals`.
    """
    try:
        records = decode_bundle(part.records, 1)
    except Refused as refused:
        raise BadSignals(str(refused)) from None
    if len(records) != len(part.positions):
        raise BadSignals(f"{len(part.positions)} positions of {len(records)} records")
    told = [
        LogRecord(one.kind, one.accepted_ms, one.source, one.payload, position)
        for one, position in zip(records, part.positions, strict=True)
        if position > known
    ]
    return Fed(told, list(_batches(part, known, directory)), directory)


def _batches(part: Part, known: int, directory: DeviceDirectory) -> Iterator[TaggedBatch]:
    for rows in part.rows:
        batch = _unpacked(rows, directory)
        batch = batch.take((batch.position > known) & (batch.device >= 0) & (batch.quantity >= 0))
        if len(batch):
            yield batch


def _unpacked(rows: Rows, directory: DeviceDirectory) -> TaggedBatch:
    """Devices and quantities that aren't known here are -1."""
    try:
        columns = {name: np.frombuffer(rows.columns[name], kind) for name, kind in _COLUMNS.items()}
        devices = np.array([_row_of(*one, directory) for one in rows.devices], np.int32)
        quantities = np.array([QUANTITY_INDEX.get(name, -1) for name in rows.quantities], np.int16)
        columns["device"] = devices[columns["device"]]
        columns["quantity"] = quantities[columns["quantity"]]
    except (KeyError, ValueError, IndexError) as error:
        raise BadSignals(f"rows: {type(error).__name__}: {error}"[:200]) from None
    if len({len(column) for column in columns.values()}) != 1:
        raise BadSignals("rows: columns of different length")
    return TaggedBatch(**columns)


def _row_of(device: str, family: str, gateway: str, directory: DeviceDirectory) -> int:
    row = directory.row_of.get(device)
    if row is not None:
        return row
    if family not in FAMILY_INDEX:
        return -1
    return directory.intern_device(device, family, directory.intern_gateway(gateway or device))
