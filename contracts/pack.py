"""The pack: the wire form of a batch. Binary, columnar, self-describing, versioned.

Layout, little-endian::

    0   4  magic "GWPK"
    4   1  version (1)
    5   1  flags: 1 alarm, 2 tombstone, 4 tracklets
    6   2  number of sections
    8   4  length of the whole pack in bytes
    12  4  CRC-32 (as in zlib) of all bytes but these four
    16  8  boot (u64): boot number << 32 | random, so that boots of one agent sort by age;
           the number is below 2**23, so that (boot number << 40 | seq) fits in an i64
    24  8  seq (u64), from 1 in each boot, below 2**40
    32  8  wall clock of the agent when the pack was closed (i64, unix ms)
    40  8  monotonic clock of the agent at the same moment (i64, ms since its boot)
    48  4  number of rows
    52  4  zero
    56  .. sections: u16 id, u16 encoding, u32 length, then the bytes, padded with zeros to 8

A reader skips sections whose id it doesn't know, and refuses an encoding that it doesn't know of
a section it needs: so columns may be added by newer writers without harm to older readers.
The ids in the device dictionary are checked by the reader, row by row: one bad id is no reason
to lose the fire beside it.
Tracklets of cameras (`contracts.tracklets`) ride in a pack as a section of their own, so that they
are stored, confirmed and asked for again as readings are.
A tombstone is a pack without rows that says which sequences of which boot were evicted.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts import sections
from contracts.batch import SENDER_FLAGS, ReadingBatch
from contracts.rejects import Reason, Refused
from contracts.sections import BLOB, F64, I32, I64, U8, U16, U32, UTF8, Table
from contracts.topics import ID

MAGIC = b"GWPK"
VERSION = 1
HEADER = struct.Struct("<4sBBHIIQQqqII")
SECTION = sections.SECTION
MAX_BYTES = 4 << 20
MAX_ROWS = 100_000
MAX_DEVICES = 100_000
MAX_QUANTITIES = 4096
MAX_SEQ = 2**40 - 1
MAX_BOOT = 2**55 - 1

ALARM = 1
TOMBSTONE = 2
TRACKS = 4

# Sections.
_GATEWAY, _DEVICES, _QUANTITIES, _DEVICE, _QUANTITY, _TS, _VALUE, _FLAGS, _EVICTED = range(1, 10)
_TRACKS = 10


@dataclass(frozen=True, slots=True)
class PackHeader:
    """What a pack says of itself beside its rows."""

    gateway: str
    boot: int
    seq: int
    wall_ms: int
    mono_ms: int
    alarm: bool = False
    tombstone: bool = False


@dataclass(frozen=True, slots=True)
class Evicted:
    """Sequences `first..last` of `boot` that the agent gave up, with what they held.

    from_ms, to_ms: event times covered (unix ms). readings: how many were lost.
    """

    boot: int
    first: int
    last: int
    from_ms: int
    to_ms: int
    readings: int


@dataclass(frozen=True, slots=True)
class Pack:
    """tracks: encoded tracklets, or nothing."""

    header: PackHeader
    batch: ReadingBatch
    evicted: tuple[Evicted, ...] = ()
    tracks: bytes = b""


_EVICTED_DTYPE = np.dtype(
    [("boot", "<u8"), ("first", "<u8"), ("last", "<u8"), ("from_ms", "<i8"), ("to_ms", "<i8"),
     ("readings", "<u8")]
)  # fmt: skip


def boot_text(boot: int) -> str:
    """A boot id as it stands in JSON messages: 16 hexadecimal digits."""
    return f"{boot:016x}"


def encode(pack: Pack) -> bytes:
    """Encode; the caller keeps within the `MAX_` bounds (ValueError otherwise)."""
    header, batch = pack.header, pack.batch
    rows = len(batch)
    _within_bounds(header, batch)
    parts = [b""]
    sections.add(parts, _GATEWAY, UTF8, header.gateway.encode())
    if rows:
        devices = "\n".join(f"{d}\t{f}" for d, f in zip(batch.devices, batch.families, strict=True))
        quantities = "\n".join(batch.quantities)
        tabs, lines, names = devices.count("\t"), devices.count("\n"), quantities.count("\n")
        if (tabs, lines + 1, names + 1) != (
            len(batch.devices),
            len(batch.devices),
            len(batch.quantities),
        ):
            raise ValueError("a name in the batch holds a tab or a line break")
        sections.add(parts, _DEVICES, UTF8, devices.encode())
        sections.add(parts, _QUANTITIES, UTF8, quantities.encode())
        wide = len(batch.devices) > 0xFFFF
        sections.add_column(parts, _DEVICE, U32 if wide else U16, batch.device)
        sections.add_column(
            parts, _QUANTITY, U8 if len(batch.quantities) <= 0xFF else U16, batch.quantity
        )
        offset = batch.ts_ms - header.wall_ms
        near = int(offset.min()) >= -(2**31) and int(offset.max()) < 2**31
        sections.add_column(parts, _TS, I32 if near else I64, offset if near else batch.ts_ms)
        sections.add_column(parts, _VALUE, F64, batch.value)
        sections.add_column(parts, _FLAGS, U8, batch.flags & SENDER_FLAGS)
    if pack.evicted:
        table = np.array(
            [(e.boot, e.first, e.last, e.from_ms, e.to_ms, e.readings) for e in pack.evicted],
            _EVICTED_DTYPE,
        )
        sections.add(parts, _EVICTED, I64, table.tobytes())
    if pack.tracks:
        sections.add(parts, _TRACKS, BLOB, pack.tracks)
    body = b"".join(parts)
    length = HEADER.size + len(body)
    if length > MAX_BYTES:
        raise ValueError(f"a pack holds at most {MAX_BYTES} bytes, not {length}")
    flags = (ALARM if header.alarm else 0) | (TOMBSTONE if header.tombstone else 0)
    flags |= TRACKS if pack.tracks else 0
    count = (len(parts) - 1) // 2
    head = HEADER.pack(
        MAGIC, VERSION, flags, count, length, 0, header.boot, header.seq,
        header.wall_ms, header.mono_ms, rows, 0,
    )  # fmt: skip
    crc = zlib.crc32(body, zlib.crc32(head[16:], zlib.crc32(head[:12])))
    return head[:12] + struct.pack("<I", crc) + head[16:] + body


def _within_bounds(header: PackHeader, batch: ReadingBatch) -> None:
    for count, limit, what in (
        (len(batch), MAX_ROWS, "rows"),
        (len(batch.devices), MAX_DEVICES, "devices"),
        (len(batch.quantities), MAX_QUANTITIES, "quantities"),
    ):
        if count > limit:
            raise ValueError(f"a pack holds at most {limit} {what}, not {count}")
    if not 1 <= header.seq <= MAX_SEQ or not 0 <= header.boot <= MAX_BOOT:
        raise ValueError(f"seq {header.seq} or boot {header.boot:x} is out of bounds")
    if not ID.fullmatch(header.gateway):
        raise ValueError(f"{header.gateway!a} is no gateway id")


def peek(data: bytes) -> tuple[int, int, bool, bool]:
    """(boot, seq, alarm, tombstone) of a pack whose checksum is right; Refused otherwise."""
    fields = _check(data)
    return fields[6], fields[7], bool(fields[2] & ALARM), bool(fields[2] & TOMBSTONE)


def holds_tracks(data: bytes) -> bool:
    """Whether one of our own packs, whole and checked, says that it holds tracklets."""
    return bool(data[5] & TRACKS)


def read_tracks(data: bytes) -> bytes:
    """The encoded tracklets of a pack, empty when it holds none. Raises `Refused`."""
    fields = _check(data)
    found = sections.table(data, HEADER.size, fields[3])
    if _TRACKS not in found:
        return b""
    encoding, start, length = found[_TRACKS]
    if encoding != BLOB:
        raise Refused(Reason.BAD_VERSION, field="tracks", detail=f"encoding {encoding}")
    return data[start : start + length]


def peek_header(data: bytes) -> tuple[PackHeader, int]:
    """(header, number of rows) of a pack whose checksum is right; Refused otherwise.

    The columns stay unread: this is what acceptance needs before it writes a pack to the log.
    """
    fields = _check(data)
    return _header(data, fields, sections.table(data, HEADER.size, fields[3])), fields[10]


def _header(data: bytes, fields: tuple[int, ...], found: Table) -> PackHeader:
    return PackHeader(
        gateway=_gateway(data, found),
        boot=fields[6],
        seq=fields[7],
        wall_ms=fields[8],
        mono_ms=fields[9],
        alarm=bool(fields[2] & ALARM),
        tombstone=bool(fields[2] & TOMBSTONE),
    )


def _check(data: bytes) -> tuple[int, ...]:
    if len(data) < HEADER.size:
        raise Refused(Reason.TRUNCATED, field="header", detail=f"{len(data)} bytes")
    if len(data) > MAX_BYTES:
        raise Refused(Reason.TOO_LARGE, field="length", detail=f"{len(data)} bytes")
    fields = HEADER.unpack_from(data)
    if fields[0] != MAGIC:
        raise Refused(Reason.BAD_MAGIC, field="magic", detail=fields[0].hex())
    if fields[1] != VERSION:
        raise Refused(Reason.BAD_VERSION, field="version", detail=str(fields[1]))
    if fields[4] != len(data):
        reason = Reason.TRUNCATED if fields[4] > len(data) else Reason.BAD_STRUCTURE
        raise Refused(reason, field="length", detail=f"says {fields[4]}, has {len(data)}")
    if zlib.crc32(memoryview(data)[16:], zlib.crc32(data[:12])) != fields[5]:
        raise Refused(Reason.BAD_CHECKSUM, field="crc")
    if not 1 <= fields[7] <= MAX_SEQ:
        raise Refused(Reason.BAD_FIELD, field="seq", detail=str(fields[7]))
    if fields[6] > MAX_BOOT:
        raise Refused(Reason.BAD_FIELD, field="boot", detail=boot_text(fields[6]))
    return fields


@dataclass(frozen=True, slots=True)
class RawPack:
    """A checked pack whose columns still refer to its own dictionaries, undecoded.

    `dictionary` is the raw bytes of the device and quantity dictionaries: equal bytes mean equal
    dictionaries, so a reader may keep what it made of them. `device` and `quantity` are checked
    against the counts of dictionary entries by `entries`.
    """

    header: PackHeader
    devices_raw: bytes
    quantities_raw: bytes
    device: NDArray[np.generic]
    quantity: NDArray[np.generic]
    ts_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    flags: NDArray[np.uint16]
    evicted: tuple[Evicted, ...]

    def __len__(self) -> int:
        return len(self.ts_ms)


def decode_raw(data: bytes) -> RawPack:
    """Check everything but the dictionaries' texts. Raises `Refused`.

    The index columns are checked against the number of lines of their dictionaries, so that a
    reader that has seen the same dictionary bytes before need not look at them again.
    """
    fields = _check(data)
    rows = fields[10]
    if rows > MAX_ROWS:
        raise Refused(Reason.TOO_LARGE, field="rows", detail=str(rows))
    found = sections.table(data, HEADER.size, fields[3])
    header = _header(data, fields, found)
    evicted = _evicted(data, found)
    if rows == 0:
        none = np.empty(0, np.int64)
        return RawPack(
            header, b"", b"", np.empty(0, np.uint16), np.empty(0, np.uint8), none,
            np.empty(0, np.float64), np.empty(0, np.uint16), evicted,
        )  # fmt: skip
    devices = sections.text(data, found, _DEVICES)
    quantities = sections.text(data, found, _QUANTITIES)
    device = sections.column(data, found, _DEVICE, rows, (U16, U32))
    quantity = sections.column(data, found, _QUANTITY, rows, (U8, U16))
    _bounded(device, devices.count(b"\n") + 1, MAX_DEVICES, "device")
    _bounded(quantity, quantities.count(b"\n") + 1, MAX_QUANTITIES, "quantity")
    sent = sections.column(data, found, _TS, rows, (I32, I64))
    ts = sent.astype(np.int64)
    if sent.dtype.itemsize == 4:
        ts += header.wall_ms
    value = sections.column(data, found, _VALUE, rows, (F64,))
    sent_flags = sections.column(data, found, _FLAGS, rows, (U8, U16))
    flags = sent_flags.astype(np.uint16) & np.uint16(SENDER_FLAGS)
    return RawPack(
        header, devices, quantities, device, quantity, ts,
        value.astype(np.float64, copy=False), flags, evicted,
    )  # fmt: skip


def split_devices(raw: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(devices, families) of a device dictionary. Raises `Refused`."""
    try:
        pairs = [line.split("\t") for line in raw.decode("utf-8").split("\n")]
        devices, families = zip(*((d, f) for d, f in pairs), strict=True)
    except ValueError as error:
        raise Refused(Reason.BAD_STRUCTURE, field="devices", detail=str(error)[:80]) from None
    return devices, families


def split_quantities(raw: bytes) -> tuple[str, ...]:
    """The names of a quantity dictionary. Raises `Refused`."""
    try:
        return tuple(raw.decode("utf-8").split("\n"))
    except ValueError as error:
        raise Refused(Reason.BAD_STRUCTURE, field="quantities", detail=str(error)[:80]) from None


def decode(data: bytes) -> Pack:
    """Decode and check a whole pack. Raises `Refused` with the reason, never anything else."""
    raw = decode_raw(data)
    if len(raw) == 0:
        devices: tuple[str, ...] = ()
        families: tuple[str, ...] = ()
        quantities: tuple[str, ...] = ()
    else:
        devices, families = split_devices(raw.devices_raw)
        quantities = split_quantities(raw.quantities_raw)
    batch = ReadingBatch(
        devices,
        families,
        quantities,
        raw.device.astype(np.int32),
        raw.quantity.astype(np.int16),
        raw.ts_ms,
        raw.value,
        raw.flags,
    )
    return Pack(raw.header, batch, raw.evicted, read_tracks(data))


def _gateway(data: bytes, found: Table) -> str:
    gateway = sections.text(data, found, _GATEWAY)[:80].decode("ascii", "backslashreplace")
    if not ID.fullmatch(gateway):
        raise Refused(Reason.BAD_FIELD, field="gateway", detail=ascii(gateway)[:80])
    return gateway


def _bounded(column: NDArray[np.generic], entries: int, limit: int, field: str) -> None:
    if entries > limit:
        raise Refused(Reason.TOO_LARGE, field=field, detail=f"{entries} names")
    if int(column.max()) >= entries:
        raise Refused(Reason.BAD_STRUCTURE, field=field, detail="outside its dictionary")


def _evicted(data: bytes, found: Table) -> tuple[Evicted, ...]:
    if _EVICTED not in found:
        return ()
    encoding, start, length = found[_EVICTED]
    if encoding != I64:
        raise Refused(Reason.BAD_VERSION, field="evicted", detail=f"encoding {encoding}")
    if length % _EVICTED_DTYPE.itemsize:
        raise Refused(Reason.BAD_STRUCTURE, field="evicted", detail=f"{length} bytes")
    table = np.frombuffer(data, _EVICTED_DTYPE, length // _EVICTED_DTYPE.itemsize, start)
    first, last = table["first"], table["last"]
    if np.any((first < 1) | (first > last) | (last > MAX_SEQ) | (table["boot"] > MAX_BOOT)):
        raise Refused(Reason.BAD_FIELD, field="evicted", detail="no range of sequences")
    return tuple(Evicted(*row) for row in table.tolist())
