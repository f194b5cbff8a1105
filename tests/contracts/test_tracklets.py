"""The tracklet codec: kept bytes, round trips, growth of the format, and hostile input."""

from __future__ import annotations

import random
import struct
import zlib
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import pack, tracklets
from contracts.rejects import Reason, Refused
from contracts.tracklets import CROP, TrackletBatch, Trait, decode, encode
from tests.contracts.examples import READINGS, T0
from tests.contracts.test_hostile import SEED, mutated

GOLDEN = Path(__file__).parent / "goldens" / "tracks_v1.bin"


def batch_of(*tracks: tuple[str, int, list[tuple[float, ...]]], crops: int = 0) -> TrackletBatch:
    """(camera, start_ms, [(dt_us, x, y, w, h, area, contrast, storey)]) of each."""
    cameras: dict[str, int] = {}
    camera = [cameras.setdefault(name, len(cameras)) for name, _, _ in tracks]
    points = np.array([point for _, _, track in tracks for point in track], np.float64)
    points = points.reshape(-1, 8)
    n = len(tracks)
    return TrackletBatch(
        tuple(cameras),
        np.array(camera, np.int32),
        np.arange(n, dtype=np.int64) + 7,
        np.array([start for _, start, _ in tracks], np.int64),
        np.full(n, 1280, np.int32),
        np.full(n, 720, np.int32),
        np.full(n, Trait.CALIBRATED | Trait.MASKED, np.uint8),
        np.arange(n, dtype=np.int32) * 3,
        np.array([len(track) for _, _, track in tracks], np.int32),
        points[:, 0].astype(np.int64),
        *points[:, 1:5].T.copy(),
        points[:, 5].astype(np.int32),
        *points[:, 6:].T.copy(),
        crop_point=np.arange(crops, dtype=np.int32),
        crops=(np.arange(crops * CROP * CROP) % 251).astype(np.uint8).reshape(-1, CROP, CROP),
    )


EXAMPLE = batch_of(
    ("cam-1", T0, [(0, 640.125, 50.5, 3, 4, 7, -21.25, 14.5), (40_000, 641, 58, 3, 5, 9, -20, 14)]),
    ("cam-2", T0 + 40, [(0, 1.5, 2, 40, 60.5, 900, 130.75, -0.25)]),
    ("cam-1", T0 + 90, [(0, 9, 9, 2, 2, 3, 11, 2), (33_367, 9, 12, 2, 2, 3, 11, 2.5)]),
    crops=2,
)


def same(a: TrackletBatch, b: TrackletBatch) -> None:
    assert a.cameras == b.cameras
    for column in fields(TrackletBatch)[1:]:
        left, right = getattr(a, column.name), getattr(b, column.name)
        assert left.dtype == right.dtype, column.name
        np.testing.assert_array_equal(left, right, column.name)


def sealed(data: bytes | bytearray) -> bytes:
    whole = bytearray(data)
    struct.pack_into("<I", whole, 8, len(whole))
    struct.pack_into("<I", whole, 12, zlib.crc32(memoryview(whole)[16:], zlib.crc32(whole[:12])))
    return bytes(whole)


def test_golden() -> None:
    kept = GOLDEN.read_bytes()
    assert encode(EXAMPLE) == kept
    same(decode(kept), EXAMPLE)


@st.composite
def _batches(draw: st.DrawFn) -> TrackletBatch:
    number = st.floats(-1e4, 1e4, width=32)
    point = st.tuples(
        st.integers(1, 10**6),
        number,
        number,
        number,
        number,
        st.integers(0, 70_000),
        number,
        number,
    )
    track = st.tuples(
        st.sampled_from(["cam-1", "cam-2", "x"]),
        st.integers(-(2**62), 2**62),
        st.lists(point, min_size=1, max_size=6),
    )
    tracks = [
        (name, start, [(0 if i == 0 else i * 10**6 + dt, *rest) for i, (dt, *rest) in enumerate(p)])
        for name, start, p in draw(st.lists(track, max_size=6))
    ]
    points = sum(len(track) for _, _, track in tracks)
    return batch_of(*tracks, crops=draw(st.integers(0, min(points, 3))))


@given(_batches())
def test_round_trip(batch: TrackletBatch) -> None:
    rounded = batch.quantised()
    same(decode(encode(rounded)), rounded)
    # Rounding is what the codec does anyway, and doing it twice changes nothing.
    assert encode(batch) == encode(rounded) if (batch.area <= 0xFFFF).all() else True
    same(rounded.quantised(), rounded)


@given(_batches(), st.randoms())
def test_any_cut_can_be_joined_again(batch: TrackletBatch, chance: Any) -> None:
    order = list(range(len(batch)))
    at = chance.randrange(len(batch) + 1)
    parts = [batch.take(np.array(rows, np.intp)) for rows in (order[:at], order[at:])]
    joined = TrackletBatch.join(parts)
    again = batch.take(np.array(order, np.intp))
    assert encode(joined.quantised()) == encode(again.quantised())


def test_rows_are_taken_with_their_points_and_crops() -> None:
    taken = EXAMPLE.take(np.array([2, 0]))
    assert taken.number.tolist() == [9, 7]
    assert taken.x.tolist() == [9, 9, 640.125, 641]
    assert taken.crop_point.tolist() == [2, 3]


def test_tracks_ride_in_a_pack() -> None:
    whole = replace(READINGS, tracks=encode(EXAMPLE))
    data = pack.encode(whole)
    assert pack.holds_tracks(data)
    assert not pack.holds_tracks(pack.encode(READINGS))
    assert pack.read_tracks(pack.encode(READINGS)) == b""
    same(decode(pack.read_tracks(data)), EXAMPLE)
    assert pack.decode(data).tracks == whole.tracks


def test_a_pack_with_tracks_of_an_unknown_encoding_is_refused() -> None:
    data = bytearray(pack.encode(replace(READINGS, tracks=b"12345678")))
    struct.pack_into("<H", data, len(data) - 14, 77)
    with pytest.raises(Refused) as refused:
        pack.read_tracks(sealed(data))
    assert refused.value.reject.reason is Reason.BAD_VERSION


def test_unknown_section_is_skipped() -> None:
    data = bytearray(encode(EXAMPLE) + struct.pack("<HHI", 200, 9, 3) + b"new" + bytes(5))
    struct.pack_into("<H", data, 6, struct.unpack_from("<H", data, 6)[0] + 1)
    same(decode(sealed(data)), EXAMPLE)


def with_column(name: str, column: Any) -> bytes:
    """The example with a column that `encode` would not let pass."""
    data = bytearray(encode(EXAMPLE))
    wanted, at = tracklets._ID[name], tracklets.HEADER.size
    while struct.unpack_from("<H", data, at)[0] != wanted:
        length = struct.unpack_from("<I", data, at + 4)[0]
        at += 8 + length + (-length % 8)
    raw = np.array(column, getattr(EXAMPLE, name).dtype)
    sent = raw.astype(tracklets.sections.DTYPES[tracklets._SENT[name]]).tobytes()
    data[at + 8 : at + 8 + len(sent)] = sent
    return sealed(data)


@pytest.mark.parametrize(
    ("data", "reason", "field"),
    [
        pytest.param(b"", Reason.TRUNCATED, "tracks", id="nothing"),
        pytest.param(b"{" * 80, Reason.BAD_MAGIC, "tracks", id="json"),
        pytest.param(bytes(tracklets.MAX_BYTES + 1), Reason.TOO_LARGE, "tracks", id="too-long"),
        pytest.param(encode(EXAMPLE)[:-8], Reason.TRUNCATED, "tracks", id="cut-short"),
        pytest.param(encode(EXAMPLE) + b"\0", Reason.BAD_STRUCTURE, "tracks", id="bytes-behind"),
        pytest.param(encode(EXAMPLE)[:-9] + bytes(9), Reason.BAD_CHECKSUM, "tracks", id="checksum"),
        pytest.param(with_column("count", [1, 1, 2]), Reason.BAD_STRUCTURE, "count", id="fewer"),
        pytest.param(with_column("count", [0, 3, 2]), Reason.BAD_STRUCTURE, "count", id="none"),
        pytest.param(with_column("camera", [0, 2, 0]), Reason.BAD_STRUCTURE, "camera", id="camera"),
        pytest.param(
            with_column("crop_point", [0, 5]), Reason.BAD_STRUCTURE, "crop_point", id="crop"
        ),
        pytest.param(
            with_column("dt_us", [0, 0, 0, 0, 9]), Reason.BAD_STRUCTURE, "dt_us", id="standing"
        ),
        pytest.param(
            with_column("dt_us", [0, 9, 1, 0, 9]), Reason.BAD_STRUCTURE, "dt_us", id="not-from-0"
        ),
    ],
)
def test_refused(data: bytes, reason: Reason, field: str) -> None:
    with pytest.raises(Refused) as refused:
        decode(data)
    assert (refused.value.reject.reason, refused.value.reject.field) == (reason, field)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"cameras": ("a b", "c")}, id="name"),
        pytest.param({"count": np.array([1, 1, 2], np.int32)}, id="count"),
        pytest.param({"x": EXAMPLE.x[1:]}, id="rows"),
    ],
)
def test_what_does_not_hang_together_is_not_encoded(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        encode(replace(EXAMPLE, **wrong))


@pytest.mark.parametrize("seal", [False, True])
def test_mutated_bytes_are_decoded_or_refused(seal: bool) -> None:
    chance = random.Random(SEED)
    whole, found = encode(EXAMPLE), Counter[str]()
    for _ in range(5_000):
        data = mutated(whole, chance)
        try:
            decode(sealed(data) if seal and len(data) > tracklets.HEADER.size else data)
            found["decoded"] += 1
        except Refused as refused:
            found[refused.reject.reason.value] += 1
    assert found["bad_structure" if seal else "bad_checksum"] > 100, found
