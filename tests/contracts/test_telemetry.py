"""Native JSON to columns and back: what is good is kept, what is bad is told."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.batch import Flag, ReadingBatch
from contracts.quantities import FAMILIES, QUANTITIES, Kind
from contracts.rejects import Reason, Refused
from contracts.telemetry import (
    FIRST_MS,
    LAST_MS,
    MAX_BYTES,
    decode,
    decode_many,
    encode_messages,
)

T0 = 1_772_323_200_000  # 2026-03-01T08:00:00+08:00


def message(**fields: Any) -> bytes:
    whole = {"deviceId": "d1", "family": "smoke", "ts": T0, "metrics": {"fire": 1}, **fields}
    return json.dumps({k: v for k, v in whole.items() if v is not ...}).encode()


def test_the_example_of_the_format() -> None:
    batch, rejects = decode(
        b'{"deviceId": "fw-0012", "family": "firewater", "ts": "2026-03-01T08:00:00+08:00",'
        b'"seq": 17, "metrics": {"static_pressure": 0.31, "dynamic_pressure": null},'
        b'"quality": "good", "boot": "9f2c", "historical": false, "fw": "1.4.2",'
        b'"battery": 3.5, "rssi": -71}'
    )
    rows = batch.rows()

    assert not rejects
    assert math.isnan(rows[1][4])
    assert [(r[0], r[1], r[2], r[3], r[5]) for r in rows] == [
        ("fw-0012", "firewater", name, T0, 0)
        for name in ("static_pressure", "dynamic_pressure", "battery", "rssi")
    ]
    assert [rows[i][4] for i in (0, 2, 3)] == [0.31, 3.5, -71.0]


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        pytest.param({}, Flag.ALARM, id="a-signal-rings"),
        pytest.param({"metrics": {"fire": 0}}, 0, id="a-quiet-signal-does-not"),
        pytest.param({"metrics": {"fire": None}}, 0, id="no-value-is-no-alarm"),
        pytest.param({"metrics": {"fire": True}}, Flag.ALARM, id="true-is-1"),
        pytest.param({"metrics": {"battery": 3}}, 0, id="a-measure-does-not-ring"),
        pytest.param({"metrics": {"battery": 3}, "alarm": True}, Flag.ALARM, id="told-to-ring"),
        pytest.param({"quality": "bad"}, Flag.ALARM | Flag.BAD, id="bad"),
        pytest.param({"quality": "stale"}, Flag.ALARM | Flag.STALE, id="stale"),
        pytest.param({"historical": True}, Flag.ALARM | Flag.HISTORICAL, id="historical"),
        pytest.param({"test": True}, Flag.ALARM | Flag.TEST, id="test-still-rings"),
    ],
)
def test_flags(fields: dict[str, Any], want: int) -> None:
    batch, rejects = decode(message(**fields))
    assert batch.flags.tolist() == [want]
    assert not rejects


@pytest.mark.parametrize(
    ("ts", "want"),
    [
        pytest.param("2026-03-01T00:00:00Z", T0, id="utc"),
        pytest.param("2026-03-01T08:00:00.250+08:00", T0 + 250, id="milliseconds"),
        pytest.param(T0, T0, id="unix-milliseconds"),
        pytest.param(float(T0), T0, id="unix-milliseconds-as-float"),
        pytest.param("2099-01-01T00:00:00Z", 4_070_908_800_000, id="the-guard-judges-not-we"),
        pytest.param(LAST_MS, LAST_MS, id="last"),
        pytest.param(FIRST_MS, FIRST_MS, id="first"),
    ],
)
def test_times(ts: str | float, want: int) -> None:
    assert decode(message(ts=ts))[0].ts_ms.tolist() == [want]


@pytest.mark.parametrize(
    ("payload", "reason", "field"),
    [
        pytest.param(b"", Reason.BAD_JSON, "", id="empty"),
        pytest.param(b"{", Reason.BAD_JSON, "", id="cut"),
        pytest.param(b"3", Reason.BAD_JSON, "", id="no-object"),
        pytest.param(b"[" * 5000, Reason.BAD_JSON, "", id="deep"),
        pytest.param(b'{"metrics":' * 5000, Reason.BAD_JSON, "", id="deep-objects"),
        pytest.param(b" " * (MAX_BYTES + 1), Reason.TOO_LARGE, "payload", id="too-large"),
        pytest.param(message(deviceId=...), Reason.BAD_FIELD, "deviceId", id="no-device"),
        pytest.param(message(deviceId="a/b"), Reason.BAD_FIELD, "deviceId", id="bad-device"),
        pytest.param(message(deviceId="a\n"), Reason.BAD_FIELD, "deviceId", id="line-break"),
        pytest.param(message(deviceId="a" * 65), Reason.BAD_FIELD, "deviceId", id="long-device"),
        pytest.param(message(deviceId=7), Reason.BAD_FIELD, "deviceId", id="number-for-device"),
        pytest.param(message(family="toaster"), Reason.UNKNOWN_FAMILY, "family", id="family"),
        pytest.param(message(ts=...), Reason.BAD_FIELD, "ts", id="no-time"),
        pytest.param(message(ts="2026-03-01T08:00:00"), Reason.BAD_FIELD, "ts", id="no-offset"),
        pytest.param(message(ts="yesterday"), Reason.BAD_FIELD, "ts", id="time-in-words"),
        pytest.param(message(ts=True), Reason.BAD_FIELD, "ts", id="time-true"),
        pytest.param(message(ts=LAST_MS + 1), Reason.BAD_FIELD, "ts", id="year-10000"),
        pytest.param(message(ts=10**30), Reason.BAD_FIELD, "ts", id="no-int64"),
        pytest.param(message(metrics=[1]), Reason.BAD_FIELD, "metrics", id="metrics-array"),
        pytest.param(message(metrics=...), Reason.BAD_FIELD, "metrics", id="no-metrics"),
        pytest.param(message().replace(b"d1", b"d\xff"), Reason.BAD_FIELD, "deviceId", id="utf8"),
    ],
)
def test_whole_message_refused(payload: bytes, reason: Reason, field: str) -> None:
    with pytest.raises(Refused) as refused:
        decode(payload)
    assert (refused.value.reject.reason, refused.value.reject.field) == (reason, field)


@pytest.mark.parametrize(
    ("bad", "reason", "field"),
    [
        pytest.param('"metrics":{"fire":1,"x":1}', Reason.UNKNOWN_QUANTITY, "x", id="unknown"),
        pytest.param(
            '"metrics":{"x":"?","fire":1}', Reason.UNKNOWN_QUANTITY, "x", id="unknown-text"
        ),
        pytest.param(
            '"metrics":{"fire":1,"battery":1e999}',
            Reason.NON_FINITE,
            "metrics.battery",
            id="beyond-float",
        ),
        pytest.param(
            '"metrics":{"fire":1,"battery":"low"}',
            Reason.BAD_FIELD,
            "metrics.battery",
            id="text",
        ),
        pytest.param(
            '"metrics":{"fire":1,"battery":true}', Reason.BAD_FIELD, "battery", id="true-volts"
        ),
        pytest.param(
            '"metrics":{"fire":1},"battery":[]', Reason.BAD_FIELD, "battery", id="battery"
        ),
        pytest.param('"metrics":{"fire":1},"rssi":true', Reason.BAD_FIELD, "rssi", id="rssi"),
        pytest.param('"metrics":{"fire":1},"test":3', Reason.BAD_FIELD, "test", id="test"),
    ],
)
def test_a_bad_metric_does_not_silence_the_fire(bad: str, reason: Reason, field: str) -> None:
    batch, rejects = decode(f'{{"deviceId":"d1","family":"smoke","ts":{T0},{bad}}}'.encode())
    assert batch.rows() == [("d1", "smoke", "fire", T0, 1.0, Flag.ALARM)]
    assert [(r.reason, r.field, r.row) for r in rejects] == [(reason, field, 0)]


def test_a_quality_that_cannot_be_read_counts_as_bad() -> None:
    batch, rejects = decode(message(quality="so-so"))
    assert batch.flags.tolist() == [Flag.ALARM | Flag.BAD]
    assert [r.field for r in rejects] == ["quality"]


def test_an_unused_field_of_another_type_costs_nothing() -> None:
    batch, rejects = decode(message(seq="seventeen", boot=3, extra={"a": [1]}))
    assert (len(batch), rejects) == (1, [])


def test_array_of_messages_with_a_bad_one() -> None:
    payload = b"[" + message() + b"," + message(deviceId="?") + b"," + message(ts=T0 + 1) + b"]"
    batch, rejects = decode(payload)
    assert batch.ts_ms.tolist() == [T0, T0 + 1]
    assert [(r.reason, r.field, r.row) for r in rejects] == [(Reason.BAD_FIELD, "deviceId", 1)]


def test_array_with_something_else_in_it() -> None:
    batch, rejects = decode(b" [" + message() + b',3,{"a":1}]')
    assert len(batch) == 1
    assert [(r.reason, r.row) for r in rejects] == [(Reason.BAD_JSON, 1), (Reason.BAD_FIELD, 2)]


def test_many_payloads_keep_their_origin() -> None:
    payloads = [
        message(metrics={"fire": 1, "battery": 3.1}),
        b"nonsense",
        message(deviceId="d2", metrics={"battery": 2}),
        message(metrics={"x": 1}),
        message(family="ebike", metrics={"smoke": 1}),
    ]
    batch, origin, rejects = decode_many(payloads)

    assert origin.dtype == np.int32
    assert origin.tolist() == [0, 0, 2, 4]
    assert [(i, r.reason) for i, r in rejects] == [
        (1, Reason.BAD_JSON),
        (3, Reason.UNKNOWN_QUANTITY),
    ]
    assert batch.rows() == [
        ("d1", "smoke", "fire", T0, 1.0, Flag.ALARM),
        ("d1", "smoke", "battery", T0, 3.1, 0),
        ("d2", "smoke", "battery", T0, 2.0, 0),
        ("d1", "ebike", "smoke", T0, 1.0, Flag.ALARM),
    ]
    assert set(batch.quantities) == {"fire", "battery", "smoke"}


def test_nothing_in_gives_nothing_out() -> None:
    batch, origin, rejects = decode_many([])
    assert (len(batch), len(origin), rejects) == (0, 0, [])
    assert encode_messages(batch) == b""


_SIGNALS = {q.name for q in QUANTITIES if q.kind is Kind.SIGNAL}


@st.composite
def _rows(draw: st.DrawFn) -> list[tuple[str, str, str, int, float, int]]:
    rows = []
    for _ in range(draw(st.integers(0, 12))):
        device = draw(st.sampled_from(["d1", "d2", "x_-9"]))
        family = FAMILIES[len(device) % len(FAMILIES)]
        name = draw(st.sampled_from([q.name for q in QUANTITIES]))
        value = draw(st.floats(allow_infinity=False, width=64))
        quality = draw(st.sampled_from([0, Flag.BAD, Flag.STALE]))
        others = draw(st.sampled_from([0, Flag.HISTORICAL, Flag.TEST, Flag.ALARM]))
        flags = int(quality | others)
        if name in _SIGNALS and value != 0 and not math.isnan(value):
            flags |= Flag.ALARM
        rows.append((device, family, name, draw(st.integers(FIRST_MS, LAST_MS)), value, flags))
    return rows


@given(_rows())
def test_round_trip(rows: list[tuple[str, str, str, int, float, int]]) -> None:
    lines = encode_messages(ReadingBatch.of(rows)).splitlines()
    batch, _, rejects = decode_many(lines)
    assert not rejects
    np.testing.assert_equal(batch.rows(), rows)


def test_infinity_is_written_as_no_value_of_bad_quality() -> None:
    line = encode_messages(ReadingBatch.of([("d1", "smoke", "battery", T0, math.inf, 0)]))
    assert json.loads(line)["metrics"] == {"battery": None}
    assert json.loads(line)["quality"] == "bad"


def test_neighbouring_rows_share_a_line() -> None:
    batch, _ = decode(message(metrics={"fire": 0, "battery": 3.5}, rssi=-70))
    assert json.loads(encode_messages(batch)) == {
        "deviceId": "d1",
        "family": "smoke",
        "ts": T0,
        "metrics": {"fire": 0.0, "battery": 3.5, "rssi": -70.0},
    }
