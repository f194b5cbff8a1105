"""Bundles: what closes them, in which order, and what may be confirmed."""

from __future__ import annotations

from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from app.stream.bundles import Bundle, Bundler, Stamps, ranges
from contracts.log import RecordKind, decode_bundle
from contracts.messages import Confirm
from contracts.pack import PackHeader
from ingest.message import Message
from ingest.triage import Triaged

T0 = 1_780_000_000_000


def a_pack(gateway: str, seq: int, *, alarm: bool = False) -> Triaged:
    header = PackHeader(gateway=gateway, boot=5, seq=seq, wall_ms=T0, mono_ms=1, alarm=alarm)
    return Triaged(RecordKind.PACK, gateway, header, 1)


messages = st.tuples(
    st.integers(0, 2),  # partition
    st.sampled_from(["gw-a", "gw-b", "grid/v1/x/tele", "grid/v1/x/evt"]),
    st.integers(0, 60),  # bytes
    st.booleans(),  # alarm
    st.integers(0, 30),  # ms until the next
)


@given(st.lists(messages, max_size=40), st.sampled_from([1, 40, 100, 10_000]))
def test_all_comes_out_once_in_order_and_in_time(
    rows: list[tuple[int, str, int, bool, int]], max_bytes: int
) -> None:
    bundler = Bundler(max_bytes=max_bytes, max_age_ms=50)
    now_ms = 0.0
    out: list[Bundle] = []
    for seq, (partition, source, size, alarm, pause_ms) in enumerate(rows, 1):
        message = Message(source, bytes([seq]) * size, seq)
        foreign = source.startswith("grid")
        found = Triaged(RecordKind.FOREIGN, source) if foreign else a_pack(source, seq, alarm=alarm)
        urgent = source.endswith("/evt") if foreign else alarm
        bundler.add(partition, message, found, Stamps(T0 + seq, now_ms))
        ready = bundler.due(now_ms)
        assert not urgent or ready[-1].messages[-1] is message
        assert all(now_ms - one.opened_ms <= 50 + 30 for one in ready)
        out += ready
        now_ms += pause_ms
        wait_ms = bundler.wait_ms(now_ms)
        assert wait_ms is None or 0 <= wait_ms <= 50
        out += bundler.due(now_ms)
    out += bundler.rest()
    assert bundler.wait_ms(now_ms) is None
    for number in range(3):
        came = [one.mid for bundle in out if bundle.partition == number for one in bundle.messages]
        assert came == [n for n, row in enumerate(rows, 1) if row[0] == number]
    for bundle in out:
        records = decode_bundle(bundle.value(), 1)
        assert [one.payload for one in records] == [one.payload for one in bundle.messages]
        assert len(bundle.value()) == bundle.size
        assert bundle.size <= max_bytes or len(records) == 1
        sources = {"" if "/" in one.source else one.source for one in records}
        assert bundle.key() == (sources.pop().encode() if len(sources) == 1 else b"")
        told = {
            n
            for _, payload in bundle.confirms()
            for one in msgspec.json.decode(payload, type=Confirm).confirms
            for first, last in one.ranges
            for n in range(first, last + 1)
        }
        assert told == {one.mid for one in bundle.messages if not one.topic.startswith("grid")}


@given(st.lists(st.integers(1, 30)))
def test_ranges_hold_just_what_they_are_made_of(sequences: list[int]) -> None:
    found = ranges(sequences)
    assert [n for first, last in found for n in range(first, last + 1)] == sorted(set(sequences))
    assert all(a[1] + 1 < b[0] for a, b in pairwise(found))


def test_a_pack_taken_for_its_safety_signals_is_urgent_and_never_confirmed() -> None:
    bundler = Bundler(max_bytes=1000, max_age_ms=50)
    found = Triaged(RecordKind.PACK, "gw-a")
    bundler.add(0, Message("gw/v1/gw-a/pack", b"x", 1), found, Stamps(T0, 0))
    (bundle,) = bundler.due(0)
    assert bundle.confirms() == []
    assert bundle.key() == b"gw-a"
