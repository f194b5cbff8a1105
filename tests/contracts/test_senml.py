"""SenML packs: resolution, names, units, times and typed rejects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.batch import Flag
from contracts.rejects import Reason, Refused
from contracts.senml import decode, is_senml
from contracts.telemetry import MAX_BYTES

NOW = 1_772_323_200_000


def read(*records: dict[str, Any]) -> tuple[list[tuple[Any, ...]], list[tuple[Reason, str, int]]]:
    payload = json.dumps(records).encode()
    batch, rejects = decode(payload, now_ms=NOW, family="smoke", device="d1")
    return batch.rows(), [(r.reason, r.field, r.row) for r in rejects]


def test_the_example_of_the_rfc_with_base_fields() -> None:
    rows, rejects = read(  # RFC 8428 section 5.1.2, with names of ours
        {"bn": "urn:dev:ow:10e2073a01080063:", "bt": 1.276020076e9, "bu": "A", "bver": 5,
         "n": "voltage", "u": "V", "v": 120.1},
        {"n": "current", "t": -5, "v": 1.2},
        {"n": "current", "t": -4, "v": 1.3},
    )  # fmt: skip
    device = "10e2073a01080063"
    assert rows == [
        (device, "smoke", "voltage", 1_276_020_076_000, 120.1, 0),
        (device, "smoke", "current", 1_276_020_071_000, 1.2, 0),
        (device, "smoke", "current", 1_276_020_072_000, 1.3, 0),
    ]
    assert not rejects


def test_base_fields_hold_until_given_again() -> None:
    rows, _ = read(
        {"bn": "d1/", "bu": "kPa", "bv": 100, "bt": 1.8e9},
        {"n": "static_pressure", "v": 10},
        {"n": "static_pressure"},
        {"bn": "d2/", "bv": 0, "n": "static_pressure", "v": 10},
        {"n": "static_pressure", "u": "MPa", "v": 1},
    )
    assert [(r[0], r[4]) for r in rows] == [("d1", 0.11), ("d1", 0.1), ("d2", 0.01), ("d2", 1.0)]
    assert {r[3] for r in rows} == {1_800_000_000_000}


@pytest.mark.parametrize(
    ("base", "name", "device"),
    [
        pytest.param("", "fire", "d1", id="device-of-the-topic"),
        pytest.param("", "fw-0012/fire", "fw-0012", id="slash"),
        pytest.param("urn:dev:mac:0024befffe804ff1/", "fire", "0024befffe804ff1", id="mac-slash"),
        pytest.param("urn:dev:os:32473-", "12:fire", "32473-12", id="joined-before-cut"),
    ],
)
def test_names(base: str, name: str, device: str) -> None:
    rows, rejects = read({"bn": base, "n": name, "vb": True})
    assert (rows, rejects) == ([(device, "smoke", "fire", NOW, 1.0, Flag.ALARM)], [])


@pytest.mark.parametrize(
    ("time", "want"),
    [
        pytest.param({}, NOW, id="now"),
        pytest.param({"t": -10}, NOW - 10_000, id="ago"),
        pytest.param({"bt": 100, "t": -90.5}, NOW + 9_500, id="base-and-own"),
        pytest.param({"t": 2**28 - 1}, NOW + (2**28 - 1) * 1000, id="last-relative"),
        pytest.param({"t": 2**28}, 2**28 * 1000, id="first-absolute"),
        pytest.param({"t": 1_772_323_200.125}, NOW + 125, id="milliseconds"),
    ],
)
def test_times(time: dict[str, Any], want: int) -> None:
    rows, _ = read({"n": "fire", "vb": False, **time})
    assert [(r[3], r[5]) for r in rows] == [(want, 0)]


@pytest.mark.parametrize(
    ("record", "reason", "field"),
    [
        pytest.param({"n": "fire", "vs": "yes"}, Reason.BAD_FIELD, "vs", id="text"),
        pytest.param({"n": "fire", "vd": "AQ"}, Reason.BAD_FIELD, "vd", id="data"),
        pytest.param({"n": "fire", "s": 3}, Reason.BAD_FIELD, "s", id="sum-only"),
        pytest.param({"n": "fire"}, Reason.BAD_FIELD, "v", id="no-value"),
        pytest.param({"n": "fire", "v": 1, "vb": True}, Reason.BAD_FIELD, "vb", id="two-values"),
        pytest.param({"n": "fire", "v": True}, Reason.BAD_FIELD, "v", id="boolean-as-v"),
        pytest.param({"n": "fire", "vb": 1}, Reason.BAD_FIELD, "vb", id="number-as-vb"),
        pytest.param({"n": "battery", "vb": True}, Reason.BAD_FIELD, "vb", id="boolean-volts"),
        pytest.param({"n": "fire", "v": 1, "u": 3}, Reason.BAD_FIELD, "u", id="unit-number"),
        pytest.param({"n": "voltage", "v": 1}, Reason.UNKNOWN_UNIT, "voltage", id="no-unit"),
        pytest.param({"n": "voltage", "u": "A", "v": 1}, Reason.UNKNOWN_UNIT, "voltage", id="unit"),
        pytest.param({"n": "smell", "v": 1}, Reason.UNKNOWN_QUANTITY, "smell", id="quantity"),
        pytest.param({"n": "", "v": 1}, Reason.BAD_FIELD, "n", id="no-name"),
        pytest.param({"n": "_/fire", "v": 1}, Reason.BAD_FIELD, "n", id="name-starts-badly"),
        pytest.param({"n": "a b/fire", "v": 1}, Reason.BAD_FIELD, "n", id="blank-in-name"),
        pytest.param({"n": "a.b/fire", "v": 1}, Reason.BAD_FIELD, "n", id="device-is-no-id"),
        pytest.param({"n": "fire", "v": 1, "t": "x"}, Reason.BAD_FIELD, "t", id="time-text"),
        pytest.param({"n": "fire", "v": 1, "t": 1e300}, Reason.BAD_FIELD, "t", id="time-beyond"),
        pytest.param({"n": "fire", "v": 1, "t": -1e11}, Reason.BAD_FIELD, "t", id="before-year-1"),
        pytest.param({"n": "fire", "v": 10**400}, Reason.NON_FINITE, "v", id="beyond-float"),
    ],
)
def test_a_bad_record_leaves_the_others(record: dict[str, Any], reason: Reason, field: str) -> None:
    rows, rejects = read({"n": "fire", "vb": True}, record, {"n": "tamper", "v": 1})
    assert [r[2] for r in rows] == ["fire", "tamper"]
    assert rejects == [(reason, field, 1)]


def test_a_value_beside_a_sum_is_taken_and_the_sum_told() -> None:
    rows, rejects = read({"n": "fire", "v": 1, "s": 7})
    assert [r[4] for r in rows] == [1.0]
    assert rejects == [(Reason.BAD_FIELD, "s", 0)]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        pytest.param(b"", Reason.BAD_JSON, id="empty"),
        pytest.param(b'{"n":"fire","v":1}', Reason.BAD_JSON, id="no-array"),
        pytest.param(b"[1]", Reason.BAD_JSON, id="no-record"),
        pytest.param(b"[" * 9000, Reason.BAD_JSON, id="deep"),
        pytest.param(b" " * (MAX_BYTES + 1), Reason.TOO_LARGE, id="too-large"),
        pytest.param(b'[{"bver":11}]', Reason.BAD_VERSION, id="newer-version"),
        pytest.param(b'[{"bver":0}]', Reason.BAD_FIELD, id="version-0"),
        pytest.param(b'[{"bver":true}]', Reason.BAD_FIELD, id="version-true"),
        pytest.param(b'[{"bver":10},{"bver":5}]', Reason.BAD_VERSION, id="two-versions"),
        pytest.param(b'[{"n":"fire","v":1,"must_":1}]', Reason.BAD_VERSION, id="must-understand"),
        pytest.param(b'[{"n":"fire","v":1},{"bn":3}]', Reason.BAD_FIELD, id="base-name"),
        pytest.param(b'[{"bt":"x"}]', Reason.BAD_FIELD, id="base-time"),
        pytest.param(b'[{"bu":1}]', Reason.BAD_FIELD, id="base-unit"),
        pytest.param(b'[{"bs":null}]', Reason.BAD_FIELD, id="base-sum"),
        pytest.param(b'[{"bv":1e999}]', Reason.NON_FINITE, id="base-value"),
    ],
)
def test_whole_pack_refused(payload: bytes, reason: Reason) -> None:
    with pytest.raises(Refused) as refused:
        decode(payload, now_ms=NOW, family="smoke", device="d1")
    assert refused.value.reject.reason is reason


def test_families_come_from_the_resolver_first() -> None:
    payload = b'[{"n":"a/fire","v":1},{"n":"b/fire","v":1},{"n":"c/fire","v":1}]'
    known = {"a": "gas", "c": "toaster"}
    batch, rejects = decode(payload, now_ms=NOW, family="smoke", family_of=known.get)
    assert [(r[0], r[1]) for r in batch.rows()] == [("a", "gas"), ("b", "smoke")]
    assert [(r.reason, r.row) for r in rejects] == [(Reason.UNKNOWN_FAMILY, 2)]


def test_without_family_or_device_nothing_is_guessed() -> None:
    batch, rejects = decode(b'[{"n":"a/fire","v":1},{"n":"fire","v":1}]', now_ms=NOW)
    assert len(batch) == 0
    assert [r.reason for r in rejects] == [Reason.UNKNOWN_FAMILY, Reason.BAD_FIELD]


@pytest.mark.parametrize(
    ("payload", "want"),
    [
        pytest.param(b' [{"n":"fire","v":1}]', True, id="record"),
        pytest.param(b'[{"bn":"d1/"}]', True, id="base"),
        pytest.param(b'[{"deviceId":"d1","n":1}]', False, id="native"),
        pytest.param(b'{"n":"fire"}', False, id="object"),
        pytest.param(b"[]", False, id="empty"),
        pytest.param(b"[3]", False, id="numbers"),
        pytest.param(b"[{", False, id="cut"),
    ],
)
def test_is_senml(payload: bytes, want: bool) -> None:
    assert is_senml(payload) is want


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(-10_000, 0)), max_size=8))
def test_base_value_and_time_may_be_moved(records: list[tuple[float, int]]) -> None:
    """A pack says the same with and without base fields."""
    plain = [
        {"n": "d9/temperature", "u": "Cel", "v": v, "t": 1_800_000_000 + t} for v, t in records
    ]
    based = [{"n": "temperature", "v": v, "t": t} for v, t in records]
    base = {"bn": "d9/", "bu": "Cel", "bt": 1_800_000_000}
    assert read(base, *based) == read(*plain)
