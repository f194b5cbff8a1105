"""The district's readings: cut anywhere, per gateway, over all families, at the stated rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.batch import Flag, ReadingBatch
from contracts.quantities import QUANTITIES, QUANTITY_INDEX, URGENT
from edge.sources.simulate import QUIET, District, Rates, Size, demo_district

HOUR = 3_600_000
BUSY = Rates(incidents=600.0, near_misses=400.0, sensor_faults=200.0)
SMALL = Size(gateways=3, devices=150, grids=3)

Row = tuple[str, str, str, int, float, int]


@pytest.fixture(scope="module")
def busy() -> District:
    return District(7, SMALL, BUSY)


@pytest.fixture(scope="module")
def day() -> ReadingBatch:
    district = District(3, Size(gateways=2, devices=100, grids=2), QUIET)
    return district.readings(district.start_ms, district.start_ms + 24 * HOUR)


def rows_of(district: District, from_ms: int, to_ms: int, gateway: int | None = None) -> list[Row]:
    return district.readings(from_ms, to_ms, gateway).rows()


@settings(max_examples=25, deadline=None)
@given(
    start=st.integers(0, 2 * HOUR),
    cuts=st.lists(st.integers(1, 90_000), min_size=1, max_size=6),
)
def test_a_span_gives_the_same_rows_however_it_is_cut(
    busy: District, start: int, cuts: list[int]
) -> None:
    at = busy.start_ms + start
    end = at + sum(cuts)
    pieces: list[Row] = []
    for cut in cuts:
        pieces += rows_of(busy, at, at + cut)
        at += cut
    assert pieces == rows_of(busy, end - sum(cuts), end)


def test_a_cut_at_a_rows_own_time_neither_loses_nor_repeats_it(busy: District) -> None:
    start, end = busy.start_ms, busy.start_ms + 600_000
    whole = rows_of(busy, start, end)
    happened = {told.start_ms for told in busy.truth(start, end)}
    for at in sorted({row[3] for row in whole[:: len(whole) // 40]} | happened):
        assert rows_of(busy, start, at) + rows_of(busy, at, end) == whole, at


def test_a_new_district_of_the_seed_asked_backwards_gives_the_same_rows(busy: District) -> None:
    again = District(7, SMALL, BUSY)
    start = busy.start_ms
    late = rows_of(again, start + HOUR, start + HOUR + 60_000)
    early = rows_of(again, start, start + 60_000)
    assert early == rows_of(busy, start, start + 60_000)
    assert late == rows_of(busy, start + HOUR, start + HOUR + 60_000)


def test_another_seed_gives_other_rows(busy: District) -> None:
    other = District(8, SMALL, BUSY)
    start = busy.start_ms
    assert rows_of(other, start, start + 60_000) != rows_of(busy, start, start + 60_000)


def test_the_gateways_share_out_the_rows(busy: District) -> None:
    start, end = busy.start_ms, busy.start_ms + 120_000
    each = [rows_of(busy, start, end, gateway) for gateway in range(3)]
    split = [batch.rows() for batch in busy.split(start, end, range(3))]
    assert each == split
    together = [row for rows in each for row in rows]
    assert sorted(together, key=repr) == sorted(rows_of(busy, start, end), key=repr)
    gateway = {d.id: d.gateway for d in busy.layout.devices}
    assert all(gateway[row[0]] == i for i, rows in enumerate(each) for row in rows)


def test_rows_rise_in_time_and_none_is_sent_twice(busy: District) -> None:
    batch = busy.readings(busy.start_ms, busy.start_ms + HOUR)
    assert np.all(np.diff(batch.ts_ms) >= 0)
    rows = batch.rows()
    assert len(set(rows)) == len(rows)


def test_quantities_belong_to_the_families_and_alarms_are_marked(busy: District) -> None:
    batch = busy.readings(busy.start_ms, busy.start_ms + HOUR)
    for device, family, quantity, _, value, flags in batch.rows():
        allowed = QUANTITIES[QUANTITY_INDEX[quantity]].families
        assert not allowed or family in allowed, (device, quantity)
        assert bool(flags & Flag.ALARM) == (quantity in URGENT and value != 0), (device, quantity)


def test_every_family_speaks_within_ten_minutes() -> None:
    district = demo_district(1)
    batch = district.readings(district.start_ms, district.start_ms + 10 * 60_000)
    assert set(batch.families) == {
        "smoke", "firewater", "efire", "elevator", "ebike", "camera", "elderly", "water", "gas",
    }  # fmt: skip


def test_the_demo_has_its_size() -> None:
    layout = demo_district(1).layout
    assert len(layout.gateways) == 8
    assert len(layout.devices) == 600
    assert [grid.kind for grid in layout.grids].count("dedicated") == 1
    assert len(layout.grids) >= 4
    assert {device.gateway for device in layout.devices} == set(range(8))
    assert {device.grid for device in layout.devices} == set(range(len(layout.grids)))


@pytest.mark.parametrize(
    ("quantity", "low", "high"),
    [
        ("static_pressure", 0.145, 0.89),
        ("residual_current", 0.0, 299.0),
        ("cable_temperature", 0.0, 54.9),
        ("port_temperature", 0.0, 79.9),
        ("port_power", 0.0, 799.0),
        ("gas_lel", 0.0, 4.9),
        ("position", 1.0, 32.0),
        ("fire", 0.0, 0.0),
        ("fault_code", 0.0, 0.0),
        ("falling_object.storeys", 0.0, 0.99),
    ],
)
def test_a_quiet_day_stays_inside_the_limits(
    day: ReadingBatch, quantity: str, low: float, high: float
) -> None:
    values = day.value[day.quantity == day.quantities.index(quantity)]
    assert len(values)
    assert values.min() >= low
    assert values.max() <= high


def of(batch: ReadingBatch, quantity: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(device rows, local hour, value) of one quantity."""
    mine = batch.quantity == batch.quantities.index(quantity)
    hour = (batch.ts_ms[mine] + 8 * HOUR) % (24 * HOUR) / HOUR
    return batch.device[mine], hour, batch.value[mine]


def test_the_day_has_its_rhythms(day: ReadingBatch) -> None:
    _, hour, power = of(day, "port_power")
    assert power[(hour > 19) & (hour < 22)].mean() > 20 * (
        power[(hour > 8) & (hour < 16)].mean() + 1
    )
    _, hour, moving = of(day, "car_moving")
    assert moving[(hour > 7) & (hour < 9)].mean() > 3 * moving[(hour > 2) & (hour < 5)].mean()
    _, hour, current = of(day, "residual_current")
    assert current[(hour > 19) & (hour < 21)].mean() > current[(hour > 2) & (hour < 5)].mean() + 15
    _, hour, seen = of(day, "motion")
    assert seen[(hour > 9) & (hour < 21)].sum() > 5 * seen[(hour > 0) & (hour < 5)].sum()


def test_no_quiet_home_uses_less_than_ten_litres_in_twelve_hours(day: ReadingBatch) -> None:
    home, _, water = of(day, "water_volume")
    elderly = np.array([family == "elderly" for family in day.families])[home]
    for device in np.unique(home[elderly]):
        used = water[home == device]
        assert len(used) == 48
        assert min(used[k : k + 24].sum() for k in range(25)) >= 0.01


def test_counters_never_fall(day: ReadingBatch) -> None:
    device, _, trips = of(day, "trip_counter")
    for lift in np.unique(device):
        assert np.all(np.diff(trips[device == lift]) >= 0)
    assert trips.max() > trips.min()


def test_a_lift_only_moves_with_its_door_closed_and_changes_floor_only_on_its_way(
    day: ReadingBatch,
) -> None:
    device, _, moving = of(day, "car_moving")
    _, _, closed = of(day, "door_closed")
    _, _, floor = of(day, "position")
    assert np.all(closed[moving == 1] == 1)
    assert (closed == 0).any()
    for lift in np.unique(device):
        steps = np.abs(np.diff(floor[device == lift]))
        assert steps.max() <= 4  # 5 s between rows, 1.5 s a floor


def test_rates_are_those_of_the_layout() -> None:
    district = demo_district(1)
    batch = district.readings(district.start_ms, district.start_ms + HOUR)
    pressure = [d for d in district.layout.devices if d.attributes.get("point") == "worst"]
    device = batch.devices.index(pressure[0].id)
    mine = (batch.device == device) & (batch.quantity == batch.quantities.index("static_pressure"))
    assert int(mine.sum()) in range(350, 362)
    assert 60 <= len(batch) / 3600 <= 120
