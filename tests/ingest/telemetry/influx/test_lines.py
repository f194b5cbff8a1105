"""Lines hold exactly the rows: read back by a parser that knows nothing of the writer."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.batch import Flag
from contracts.directory import DeviceDirectory
from contracts.quantities import QUANTITY_INDEX
from contracts.registry import Registry
from ingest.telemetry.influx.lines import (
    BODY_ROWS,
    FIRST_MS,
    LAST_MS,
    Encoder,
    escaped,
    flag_names,
    flags_of,
)
from tests.ingest.packs import T0
from tests.ingest.telemetry.influx.line_protocol import parse
from tests.ingest.telemetry.influx.rows import GRID, rows, town

Row = tuple[int, str, int, float, int]
ROW = st.tuples(
    st.integers(0, 3),
    st.sampled_from(("static_pressure", "flow", "falling_object.score", "battery")),
    st.integers(T0, T0 + 3),
    st.floats(allow_infinity=False),
    st.sampled_from((0, 1, 256, 1 | 256 | 4096)),
)


def read_back(data: bytes) -> list[tuple[str, str, int, str, int]]:
    """(device, quantity, ts_ms, value as text, flags) in the order of the lines."""
    found = []
    for point in parse(data):
        assert point.measurement == "reading"
        flags = flags_of(point.tags.get("flags", ""))
        for field, value in point.fields.items():
            none = field.endswith(".none")
            assert not none or value == 1
            text = "nan" if none else repr(float(value))
            name = field.removesuffix(".none")
            found.append((point.tags["device"], name, point.ts_ms, text, flags))
    return found


@given(st.lists(ROW, max_size=60))
def test_every_row_is_written_as_it_is_and_in_order(listed: list[Row]) -> None:
    bodies, refused = Encoder(town()).encode(rows(listed), T0)

    assert not refused
    found = [one for body in bodies for one in read_back(body.data)]
    assert found == [(f"d{d}", q, t, repr(v), f) for d, q, t, v, f in listed]
    assert sum(body.rows for body in bodies) == len(listed)


@given(st.text(min_size=1))
def test_a_tag_reads_back_or_is_refused(text: str) -> None:
    try:
        written = escaped(text)
    except ValueError:
        assert any(letter == "\\" or ord(letter) < 32 or ord(letter) == 127 for letter in text)
        return
    (point,) = parse(f"m,{escaped('k')}={written} f=1 0\n".encode())
    assert point.tags == {"k": text}


@given(st.integers(0, 0xFFFF))
def test_flags_have_names(flags: int) -> None:
    known = flags & sum(Flag)
    assert flags_of(flag_names(flags)) == known


def test_tags_say_where_and_who() -> None:
    ((body,), _) = Encoder(town()).encode(
        rows([(0, "flow", T0, 1.5, 0), (1, "flow", T0, 2.5, int(Flag.ALARM | Flag.LATE))]), T0
    )
    inside, outside = parse(body.data)
    assert inside.tags == {
        "community": GRID[:12],
        "device": "d0",
        "family": "firewater",
        "gateway": "g1",
        "grid": GRID,
        "street": GRID[:9],
    }
    assert outside.tags == {
        "device": "d1",
        "family": "firewater",
        "flags": "alarm+late",
        "gateway": "g1",
    }


@pytest.mark.parametrize(
    ("grid", "want"),
    [
        pytest.param({}, [True, True, True], id="for-ever"),
        pytest.param({"valid_from_ms": T0}, [False, True, True], id="from"),
        pytest.param({"valid_to_ms": T0 + 1}, [True, True, False], id="to"),
        pytest.param({"void": True}, [False, False, False], id="void"),
        pytest.param({"void": True, "valid_to_ms": T0 + 1}, [True, True, False], id="void-later"),
    ],
)
def test_a_grid_is_named_while_its_code_may_be_used(grid: dict[str, int], want: list[bool]) -> None:
    directory = town(**grid)
    times = (T0 - 1, T0, T0 + 1)
    ((body,), _) = Encoder(directory).encode(rows([(0, "flow", t, 0.0, 0) for t in times]), T0)

    named = [point.tags.get("grid") == GRID for point in parse(body.data)]

    assert named == want
    assert named == [directory.place(0, t).grid == GRID for t in times]


def test_readings_of_one_moment_share_a_line() -> None:
    low, high = sorted(("static_pressure", "flow"), key=QUANTITY_INDEX.__getitem__)
    listed = [(0, low, T0, 1.0, 0), (0, high, T0, 2.0, 0), (0, high, T0, 3.0, 0)]
    ((body,), _) = Encoder(town()).encode(rows(listed), T0)

    assert [point.fields for point in parse(body.data)] == [{low: 1.0, high: 2.0}, {high: 3.0}]
    assert body.rows == 3


def test_what_no_server_takes_is_refused_alone() -> None:
    directory = DeviceDirectory(Registry())
    fine = directory.intern_device("fine", "smoke", -1)
    broken = directory.intern_device("bro\\ken", "smoke", -1)
    listed = [
        (fine, "battery", T0, math.inf, 0),
        (fine, "battery", FIRST_MS, 1.0, 0),
        (fine, "battery", LAST_MS, 1.0, 0),
        (broken, "battery", T0, 1.0, 0),
        (fine, "battery", T0, 3.5, 0),
        (broken, "rssi", T0, 1.0, 0),
    ]
    bodies, refused = Encoder(directory).encode(rows(listed), T0)

    assert [one for body in bodies for one in read_back(body.data)] == [
        ("fine", "battery", T0, "3.5", 0)
    ]
    assert len(refused) == 5
    assert refused[-1].content == f"bro\\ken rssi=1.0 {T0} flags=0".encode()
    assert "backslash" in refused[-1].detail


def test_strangers_that_come_later_are_written() -> None:
    directory = town()
    encoder = Encoder(directory)
    encoder.encode(rows([(0, "flow", T0, 1.0, 0)]), T0)
    stranger = directory.intern_device("new", "water", directory.intern_gateway("g9"))
    ((body,), _) = encoder.encode(rows([(stranger, "flow", T0, 1.0, 0)]), T0)

    (point,) = parse(body.data)
    assert point.tags == {"device": "new", "family": "water", "gateway": "g9"}


def test_bodies_are_bounded() -> None:
    listed = [(0, "flow", T0 + i, 1.0, 0) for i in range(2 * BODY_ROWS + 1)]
    bodies, _ = Encoder(town()).encode(rows(listed), T0 + 7)

    assert [(body.rows, body.heard_ms) for body in bodies] == [
        (BODY_ROWS, T0 + 7),
        (BODY_ROWS, T0 + 7),
        (1, T0 + 7),
    ]
