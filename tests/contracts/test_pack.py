"""The pack codec: kept bytes, round trips, growth of the format, and bounds."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import pack
from contracts.batch import SENDER_FLAGS, ReadingBatch
from contracts.pack import Evicted, Pack, PackHeader, decode, decode_raw, encode, peek
from contracts.rejects import Reason, Refused
from tests.contracts.examples import BOOT, EMPTY, HEADER, NONE, PACKS, READINGS, T0, TOMBSTONE

GOLDENS = Path(__file__).parent / "goldens"


def sealed(data: bytes | bytearray) -> bytes:
    """The bytes with length and checksum made right again."""
    whole = bytearray(data)
    struct.pack_into("<I", whole, 8, len(whole))
    struct.pack_into("<I", whole, 12, zlib.crc32(memoryview(whole)[16:], zlib.crc32(whole[:12])))
    return bytes(whole)


def reason_of(data: bytes) -> Reason:
    with pytest.raises(Refused) as refused:
        decode(data)
    return refused.value.reject.reason


def section(number: int, encoding: int, data: bytes) -> bytes:
    return struct.pack("<HHI", number, encoding, len(data)) + data + bytes(-len(data) % 8)


def with_section(data: bytes, extra: bytes) -> bytes:
    whole = bytearray(data + extra)
    count = struct.unpack_from("<H", whole, 6)[0]
    struct.pack_into("<H", whole, 6, count + 1)
    return sealed(whole)


def same(a: Pack, b: Pack) -> None:
    assert a.header == b.header
    assert a.evicted == b.evicted
    np.testing.assert_equal(a.batch.rows(), b.batch.rows())


@pytest.mark.parametrize("name", PACKS)
def test_golden(name: str) -> None:
    kept = (GOLDENS / f"pack_v1_{name}.bin").read_bytes()
    assert encode(PACKS[name]) == kept
    same(decode(kept), PACKS[name])


def test_zero_keeps_its_sign_and_no_value_stays_none() -> None:
    value = decode(encode(READINGS)).batch.value
    assert np.signbit(value[4])
    assert np.isnan(value[3])


def test_columns_have_the_stated_types() -> None:
    batch = decode(encode(READINGS)).batch
    dtypes = [column.dtype for column in (batch.device, batch.quantity, batch.ts_ms, batch.value)]
    assert dtypes == [np.int32, np.int16, np.int64, np.float64]
    assert batch.flags.dtype == np.uint16


def test_peek_agrees_with_decode() -> None:
    data = encode(TOMBSTONE)
    assert peek(data) == (BOOT, 19, False, True)
    assert pack.peek_header(data) == (TOMBSTONE.header, 0)
    assert pack.peek_header(encode(READINGS)) == (READINGS.header, 5)


def test_flags_that_only_ingest_may_set_do_not_travel() -> None:
    batch = replace(READINGS.batch, flags=np.full(5, 0xFFFF, np.uint16))
    data = encode(replace(READINGS, batch=batch))
    assert set(decode(data).batch.flags.tolist()) == {SENDER_FLAGS}
    raw = pack.decode_raw(data)
    assert set(raw.flags.tolist()) == {SENDER_FLAGS}


_id = st.text("abcXYZ019_-", min_size=1, max_size=64)
_i64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def _packs(draw: st.DrawFn) -> Pack:
    header = PackHeader(
        gateway=draw(_id),
        boot=draw(st.integers(0, pack.MAX_BOOT)),
        seq=draw(st.integers(1, pack.MAX_SEQ)),
        wall_ms=draw(_i64),
        mono_ms=draw(_i64),
        alarm=draw(st.booleans()),
        tombstone=draw(st.booleans()),
    )
    devices = draw(st.lists(_id, max_size=5, unique=True))
    names = st.sampled_from(["fire", "battery", "static_pressure", "消息"])
    near = st.one_of(st.just(T0), _i64)
    row = st.tuples(
        st.sampled_from(devices or ["d"]),
        st.just("smoke"),
        names,
        near,
        st.floats(width=64),
        st.integers(0, SENDER_FLAGS),
    )
    first = draw(st.integers(1, pack.MAX_SEQ))
    evicted = Evicted(1 << 32, first, draw(st.integers(first, pack.MAX_SEQ)), -1, draw(_i64), 2)
    return Pack(
        header,
        ReadingBatch.of(draw(st.lists(row, max_size=20)) if devices else []),
        draw(st.sampled_from([(), (evicted,), (evicted, evicted)])),
    )


@given(_packs())
def test_round_trip(whole: Pack) -> None:
    data = encode(whole)
    same(decode(data), whole)
    assert encode(decode(data)) == data


def test_many_devices_and_quantities_round_trip() -> None:
    n = 70_000
    batch = ReadingBatch(
        tuple(f"d{i}" for i in range(n)),
        ("smoke",) * n,
        tuple(f"q{i}" for i in range(300)),
        np.arange(n, dtype=np.int32),
        (np.arange(n) % 300).astype(np.int16),
        np.arange(n, dtype=np.int64) + T0,
        np.zeros(n),
        np.zeros(n, np.uint16),
    )
    back = decode(encode(Pack(HEADER, batch))).batch
    assert back.devices == batch.devices
    np.testing.assert_array_equal(back.device, batch.device)
    np.testing.assert_array_equal(back.quantity, batch.quantity)


def test_unknown_section_is_skipped() -> None:
    data = with_section(encode(READINGS), section(200, 99, b"from the future"))
    same(decode(data), READINGS)


@pytest.mark.parametrize("number", range(1, 9))
def test_unknown_encoding_of_a_needed_section_is_refused(number: int) -> None:
    data = bytearray(encode(READINGS))
    at = pack.HEADER.size
    while struct.unpack_from("<H", data, at)[0] != number:
        length = struct.unpack_from("<I", data, at + 4)[0]
        at += 8 + length + (-length % 8)
    struct.pack_into("<H", data, at + 2, 77)
    assert reason_of(sealed(data)) in (Reason.BAD_VERSION, Reason.BAD_STRUCTURE)


def test_unknown_encoding_of_a_tombstone_is_refused() -> None:
    gateway = section(1, 0, b"gw")
    head = encode(EMPTY)[: pack.HEADER.size]
    whole = bytearray(head + gateway + section(9, 77, bytes(48)))
    struct.pack_into("<H", whole, 6, 2)
    assert reason_of(sealed(whole)) is Reason.BAD_VERSION


def test_another_version_is_refused() -> None:
    data = bytearray(encode(READINGS))
    data[4] = 2
    assert reason_of(sealed(data)) is Reason.BAD_VERSION


def header_with(**fields: Any) -> bytes:
    names = ("magic", "version", "flags", "count", "length", "crc", "boot", "seq", "wall_ms",
             "mono_ms", "rows", "zero")  # fmt: skip
    data = bytearray(encode(READINGS))
    values = dict(zip(names, pack.HEADER.unpack_from(data), strict=True)) | fields
    pack.HEADER.pack_into(data, 0, *values.values())
    return sealed(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", Reason.TRUNCATED, id="nothing"),
        pytest.param(b"{" * 80, Reason.BAD_MAGIC, id="json"),
        pytest.param(bytes(pack.MAX_BYTES + 1), Reason.TOO_LARGE, id="too-long"),
        pytest.param(encode(READINGS) + b"\0" * 8, Reason.BAD_STRUCTURE, id="bytes-behind"),
        pytest.param(sealed(encode(READINGS) + b"\0" * 8), Reason.BAD_STRUCTURE, id="unowned"),
        pytest.param(header_with(rows=pack.MAX_ROWS + 1), Reason.TOO_LARGE, id="rows"),
        pytest.param(header_with(rows=4), Reason.BAD_STRUCTURE, id="fewer-rows"),
        pytest.param(header_with(rows=6), Reason.BAD_STRUCTURE, id="more-rows"),
        pytest.param(header_with(count=0xFFFF), Reason.BAD_STRUCTURE, id="sections"),
        pytest.param(header_with(count=0), Reason.BAD_STRUCTURE, id="no-sections"),
        pytest.param(header_with(seq=0), Reason.BAD_FIELD, id="seq-0"),
        pytest.param(header_with(seq=pack.MAX_SEQ + 1), Reason.BAD_FIELD, id="seq-beyond"),
        pytest.param(header_with(boot=pack.MAX_BOOT + 1), Reason.BAD_FIELD, id="boot-beyond"),
        pytest.param(
            with_section(encode(READINGS), section(1, 0, b"gw-2")),
            Reason.BAD_STRUCTURE,
            id="gateway-twice",
        ),
    ],
)
def test_bounds(data: bytes, reason: Reason) -> None:
    assert reason_of(data) is reason


@pytest.mark.parametrize("gateway", [b"", b"gw\n", b"../x", b"gw+", b"g" * 65, "网关".encode()])
def test_gateway_must_be_an_id(gateway: bytes) -> None:
    whole = bytearray(encode(EMPTY)[: pack.HEADER.size] + section(1, 0, gateway))
    struct.pack_into("<H", whole, 6, 1)
    assert reason_of(sealed(whole)) is Reason.BAD_FIELD
    with pytest.raises(Refused):
        pack.peek_header(sealed(whole))


def replaced(number: int, content: bytes) -> bytes:
    """READINGS with the bytes of one section replaced."""
    data = encode(READINGS)
    at, parts = pack.HEADER.size, [data[: pack.HEADER.size]]
    while at < len(data):
        found, encoding, length = struct.unpack_from("<HHI", data, at)
        body = content if found == number else data[at + 8 : at + 8 + length]
        parts.append(section(found, encoding, body))
        at += 8 + length + (-length % 8)
    return sealed(b"".join(parts))


@pytest.mark.parametrize(
    ("number", "content", "reason"),
    [
        pytest.param(2, b"", Reason.BAD_STRUCTURE, id="no-devices"),
        pytest.param(2, b"sm-0001\tsmoke", Reason.BAD_STRUCTURE, id="device-missing"),
        pytest.param(2, b"a\nb", Reason.BAD_STRUCTURE, id="no-family"),
        pytest.param(2, b"a\tb\tc\nd\te", Reason.BAD_STRUCTURE, id="three-fields"),
        pytest.param(2, b"\xff\ta\nb\tc", Reason.BAD_STRUCTURE, id="devices-no-utf8"),
        pytest.param(2, b"\n" * (1 << 20), Reason.TOO_LARGE, id="a-million-devices"),
        pytest.param(3, b"\n" * 40_000, Reason.TOO_LARGE, id="quantities-beyond-int16"),
        pytest.param(3, b"\xff\n\n", Reason.BAD_STRUCTURE, id="quantities-no-utf8"),
        pytest.param(3, b"fire", Reason.BAD_STRUCTURE, id="quantity-missing"),
        pytest.param(4, b"\xff" * 10, Reason.BAD_STRUCTURE, id="device-outside"),
        pytest.param(5, b"\xff" * 5, Reason.BAD_STRUCTURE, id="quantity-outside"),
        pytest.param(7, b"\xff" * 39, Reason.BAD_STRUCTURE, id="values-cut"),
    ],
)
def test_hostile_sections(number: int, content: bytes, reason: Reason) -> None:
    assert reason_of(replaced(number, content)) is reason


@pytest.mark.parametrize("wall_ms", [-(2**63), 2**63 - 1])
def test_offsets_beyond_int64_do_not_break_out(wall_ms: int) -> None:
    assert len(decode(header_with(wall_ms=wall_ms)).batch) == 5


@pytest.mark.parametrize(
    "row",
    [(1, 0, 5, 0, 0, 1), (1, 6, 5, 0, 0, 1), (1, 1, 2**41, 0, 0, 1), (2**60, 1, 5, 0, 0, 1)],
    ids=["from-0", "backwards", "beyond", "boot"],
)
def test_tombstones_name_ranges(row: tuple[int, ...]) -> None:
    table = struct.pack("<QQQqqQ", *row)
    whole = bytearray(
        encode(EMPTY)[: pack.HEADER.size] + section(1, 0, b"gw") + section(9, 5, table)
    )
    struct.pack_into("<H", whole, 6, 2)
    assert reason_of(sealed(whole)) is Reason.BAD_FIELD


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(Pack(replace(HEADER, seq=0), NONE), id="seq"),
        pytest.param(Pack(replace(HEADER, boot=1 << 60), NONE), id="boot"),
        pytest.param(Pack(replace(HEADER, gateway="a b"), NONE), id="gateway"),
        pytest.param(
            Pack(HEADER, ReadingBatch.of([("a\tb", "smoke", "fire", 0, 0.0, 0)])), id="tab"
        ),
        pytest.param(
            Pack(HEADER, ReadingBatch.of([("a", "smoke", "fire\nx", 0, 0.0, 0)])), id="line-break"
        ),
    ],
)
def test_encode_refuses_what_decode_would(bad: Pack) -> None:
    with pytest.raises(ValueError, match=r"bounds|id|holds"):
        encode(bad)


def test_encode_keeps_within_rows() -> None:
    batch = READINGS.batch.take(np.zeros(pack.MAX_ROWS + 1, np.intp))
    with pytest.raises(ValueError, match="at most 100000 rows"):
        encode(Pack(HEADER, batch))


def test_raw_columns_match_decoded_ones() -> None:
    raw = decode_raw(encode(READINGS))
    devices, families = pack.split_devices(raw.devices_raw)
    assert (devices, families) == (READINGS.batch.devices, READINGS.batch.families)
    assert pack.split_quantities(raw.quantities_raw) == READINGS.batch.quantities
    assert len(raw) == len(READINGS.batch)
