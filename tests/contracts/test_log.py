"""Bundles of log records: kept bytes, round trips, and damage that is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.log import LogRecord, RecordKind, decode_bundle, encode_bundle
from contracts.rejects import Reason, Refused
from tests.contracts.examples import BUNDLE

GOLDEN = Path(__file__).parent / "goldens" / "bundle_v1.bin"


def test_golden() -> None:
    assert encode_bundle(BUNDLE) == GOLDEN.read_bytes()
    assert decode_bundle(GOLDEN.read_bytes(), 41) == BUNDLE


_record = st.builds(
    LogRecord,
    st.sampled_from(RecordKind),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=20),
    st.binary(max_size=40),
)


@given(st.lists(_record, max_size=6), st.integers(1, 2**40))
def test_round_trip(records: list[LogRecord], first: int) -> None:
    back = decode_bundle(encode_bundle(records), first)
    assert [(r.kind, r.accepted_ms, r.source, r.payload) for r in back] == [
        (r.kind, r.accepted_ms, r.source, r.payload) for r in records
    ]
    assert [r.position for r in back] == list(range(first, first + len(records)))


def test_bundles_join() -> None:
    assert encode_bundle(BUNDLE[:1]) + encode_bundle(BUNDLE[1:]) == encode_bundle(BUNDLE)


def test_a_cut_leaves_whole_records_or_is_refused() -> None:
    data = encode_bundle(BUNDLE)
    ends = {len(encode_bundle(BUNDLE[:n])) for n in range(len(BUNDLE) + 1)}
    for end in range(len(data)):
        if end in ends:
            assert decode_bundle(data[:end], 41) == BUNDLE[: len(decode_bundle(data[:end], 41))]
        else:
            with pytest.raises(Refused, match="truncated"):
                decode_bundle(data[:end], 41)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"\x63" + bytes(15), Reason.BAD_STRUCTURE, id="unknown-kind"),
        pytest.param(
            b"\x04\0\x01\0" + bytes(12) + b"\xff", Reason.BAD_STRUCTURE, id="source-no-utf8"
        ),
        pytest.param(
            b"\x01\0\0\0\xff\xff\xff\xff" + bytes(8), Reason.TRUNCATED, id="four-gigabytes"
        ),
    ],
)
def test_damage(data: bytes, reason: Reason) -> None:
    with pytest.raises(Refused) as refused:
        decode_bundle(data, 1)
    assert refused.value.reject.reason is reason
