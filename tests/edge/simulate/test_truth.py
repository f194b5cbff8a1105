"""What the truth says is what the readings show."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.batch import Flag, ReadingBatch
from edge.sources.simulate import District, Rates, Size
from edge.sources.simulate.catalogue import KINDS
from edge.sources.simulate.happened import Truth

HOUR = 3_600_000
RATES = Rates(incidents=900.0, near_misses=600.0, sensor_faults=300.0)


@pytest.fixture(scope="module")
def district() -> District:
    return District(11, Size(gateways=4, devices=800, grids=5), RATES)


@pytest.fixture(scope="module")
def truth(district: District) -> list[Truth]:
    return district.truth(district.start_ms, district.start_ms + HOUR)


@pytest.fixture(scope="module")
def batch(district: District) -> ReadingBatch:
    return district.readings(district.start_ms, district.start_ms + 5 * HOUR)


def series(
    batch: ReadingBatch, device: str, quantity: str, from_ms: int, to_ms: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(ts, value, flags) of one channel with from_ms <= ts <= to_ms."""
    mine = (
        (batch.device == batch.devices.index(device))
        & (batch.quantity == batch.quantities.index(quantity))
        & (batch.ts_ms >= from_ms)
        & (batch.ts_ms <= to_ms)
    )
    return batch.ts_ms[mine], batch.value[mine], batch.flags[mine]


def of_kind(truth: list[Truth], kind: str) -> list[Truth]:
    found = [told for told in truth if told.kind == kind]
    assert found, kind
    return found


def longest_run_ms(ts: np.ndarray, hit: np.ndarray) -> int:
    """The longest time from the first row that hits to the first that doesn't."""
    longest, since = 0, None
    for at, ok in zip(ts.tolist(), hit.tolist(), strict=True):
        if ok:
            since = at if since is None else since
        elif since is not None:
            longest, since = max(longest, at - since), None
    return longest


def test_every_kind_that_has_devices_happens(district: District) -> None:
    truth = district.truth(district.start_ms, district.start_ms + 40 * HOUR)
    assert {told.kind for told in truth} == {kind.name for kind in KINDS}


def test_happenings_of_a_device_never_overlap(district: District) -> None:
    told = district.truth(district.start_ms, district.start_ms + 20 * HOUR)
    ends: dict[str, int] = {}
    for one in told:
        assert one.start_ms > ends.get(one.device, 0), one
        ends[one.device] = one.end_ms
    assert len(told) > 1000


@pytest.mark.parametrize(
    ("kind", "quantity", "value"),
    [
        ("fire", "fire", 1.0),
        ("fire_under_test", "fire", 1.0),
        ("smoke_battery", "battery_low", 1.0),
        ("arc", "arc", 1.0),
        ("pump_fault", "pump_fault", 1.0),
        ("overload", "stop_reason", 6.0),
        ("over_current", "stop_reason", 12.0),
        ("shed_smoke", "smoke", 1.0),
        ("help_button", "help_button", 1.0),
        ("ebike_in_lift", "ebike_inside", 1.0),
        ("water_leak", "leak", 1.0),
        ("gas_leak", "leak", 1.0),
        ("lens_blocked", "lens_blocked", 1.0),
        ("lift_power_cut", "fault_code", 41.0),
    ],
)
def test_a_bit_is_set_from_start_to_end_and_not_around(
    truth: list[Truth], batch: ReadingBatch, kind: str, quantity: str, value: float
) -> None:
    for told in of_kind(truth, kind):
        ts, seen, flags = series(batch, told.device, quantity, told.start_ms, told.end_ms)
        assert ts[0] == told.start_ms
        assert ts[-1] == told.end_ms
        assert np.all(seen[:-1] == value)
        assert seen[-1] == 0.0
        assert np.all((flags[:-1] & Flag.ALARM) != 0)
        assert [expected.from_ms for expected in told.expect] == [told.start_ms]
        _, before, _ = series(
            batch, told.device, quantity, told.start_ms - 60_000, told.start_ms - 1
        )
        assert np.all(before == 0.0) or quantity == "stop_reason"


def test_a_fire_under_test_carries_the_test_flag(truth: list[Truth], batch: ReadingBatch) -> None:
    for told in of_kind(truth, "fire_under_test"):
        _, _, flags = series(batch, told.device, "fire", told.start_ms, told.start_ms)
        assert flags[0] & Flag.TEST


@pytest.mark.parametrize(
    ("kind", "quantity", "limit", "below", "for_ms"),
    [
        ("pressure_low", "static_pressure", 0.07, True, 60_000),
        ("pipe_break", "static_pressure", 0.07, True, 60_000),
        ("municipal_low", "static_pressure", 0.10, True, 60_000),
        ("pressure_high", "static_pressure", 1.0, False, 60_000),
        ("residual_rise", "residual_current", 500.0, False, 30_000),
        ("hot_cable", "cable_temperature", 70.0, False, 60_000),
        ("port_hot", "port_temperature", 80.0, False, 60_000),
        ("gas_leak", "gas_lel", 25.0, False, 60_000),
    ],
)
def test_an_incident_crosses_its_limit_for_long_enough_and_in_the_stated_time(
    truth: list[Truth], batch: ReadingBatch, kind: str, quantity: str, limit: float, below: bool,
    for_ms: int,
) -> None:  # fmt: skip
    for told in of_kind(truth, kind):
        ts, value, _ = series(batch, told.device, quantity, told.start_ms, told.end_ms + 60_000)
        hit = value < limit if below else value >= limit
        assert longest_run_ms(ts, hit) >= for_ms, told
        if quantity != "gas_lel":
            first = int(ts[hit][0])
            assert told.expect[0].from_ms <= first + for_ms <= told.expect[0].by_ms, told


@pytest.mark.parametrize(
    ("kind", "quantity", "limit", "below", "for_ms"),
    [
        ("pressure_dip", "static_pressure", 0.07, True, 60_000),
        ("pressure_spikes", "static_pressure", 0.07, True, 60_000),
        ("noisy_pressure", "static_pressure", 0.07, True, 60_000),
        ("residual_blip", "residual_current", 500.0, False, 30_000),
        ("current_spikes", "residual_current", 500.0, False, 30_000),
        ("warm_cable", "cable_temperature", 55.0, False, 1),
        ("noisy_cable", "cable_temperature", 70.0, False, 1),
        ("warm_port", "port_temperature", 80.0, False, 1),
        ("bird", "falling_object.storeys", 1.0, False, 1),
    ],
)
def test_a_near_miss_stays_shorter_than_the_delay(
    truth: list[Truth], batch: ReadingBatch, kind: str, quantity: str, limit: float, below: bool,
    for_ms: int,
) -> None:  # fmt: skip
    touched = False
    for told in of_kind(truth, kind):
        assert told.forbid
        assert not told.expect
        ts, value, _ = series(batch, told.device, quantity, told.start_ms, told.end_ms + 60_000)
        hit = value < limit if below else value >= limit
        touched |= bool(hit.any())
        assert longest_run_ms(ts, hit) < for_ms, told
    assert touched == (for_ms > 1 and kind != "noisy_pressure")


def trapped(batch: ReadingBatch, told: Truth) -> tuple[np.ndarray, np.ndarray]:
    """(ts, whether somebody is inside, off zone, behind a closed door) around the happening."""
    around = (told.start_ms - 120_000, told.end_ms + 120_000)
    states = {
        name: series(batch, told.device, name, *around)
        for name in ("passenger", "door_zone", "door_closed")
    }
    ts = states["passenger"][0]
    inside = states["passenger"][1] == 1
    return ts, inside & (states["door_zone"][1] == 2) & (states["door_closed"][1] == 1)


def test_trapped_lifts_hold_their_passenger_for_two_minutes(
    truth: list[Truth], batch: ReadingBatch
) -> None:
    for kind in ("trapped", "trapped_silently"):
        for told in of_kind(truth, kind):
            assert longest_run_ms(*trapped(batch, told)) >= 120_000
    for told in of_kind(truth, "trapped"):
        _, code, _ = series(batch, told.device, "fault_code", told.start_ms, told.end_ms)
        assert code[0] == 4
        assert 90 in code


def test_a_short_stop_is_no_entrapment(truth: list[Truth], batch: ReadingBatch) -> None:
    for told in of_kind(truth, "short_stop"):
        assert longest_run_ms(*trapped(batch, told)) < 120_000


def test_a_falling_object_reports_score_and_storeys_at_one_time(
    truth: list[Truth], batch: ReadingBatch
) -> None:
    for told in of_kind(truth, "falling_object"):
        at = (told.start_ms, told.start_ms)
        _, score, _ = series(batch, told.device, "falling_object.score", *at)
        _, storeys, _ = series(batch, told.device, "falling_object.storeys", *at)
        assert score[0] >= 0.8
        assert storeys[0] > 2


def test_a_silent_home_shows_nothing_but_that_its_sensors_live() -> None:
    district = District(11, Size(gateways=8, devices=200, grids=3, homes=40), RATES)
    told = next(
        one
        for one in district.truth(district.start_ms, district.start_ms + 40 * HOUR)
        if one.kind == "silent_home"
    )
    end = told.start_ms + 12 * HOUR
    batch = district.readings(told.start_ms, end, district.gateways.index(told.gateway))
    mine = batch.device == batch.devices.index(told.device)
    seen = {batch.quantities[q]: 0.0 for q in np.unique(batch.quantity[mine])}
    for name in seen:
        seen[name] = float(
            batch.value[mine & (batch.quantity == batch.quantities.index(name))].max()
        )
    assert seen["motion"] == 0.0
    assert "contact" not in seen
    assert seen["water_volume"] == 0.0
    assert seen["online"] == 1.0


def test_faulty_sensors_stand_still_fall_silent_or_lose_rows(
    truth: list[Truth], batch: ReadingBatch
) -> None:
    for told in of_kind(truth, "stuck_pressure"):
        if told.end_ms < batch.ts_ms[-1]:
            _, value, _ = series(
                batch, told.device, "static_pressure", told.start_ms, told.end_ms - 1
            )
            assert len(set(value.tolist())) == 1
    for told in of_kind(truth, "dropout"):
        ts, _, _ = series(batch, told.device, "temperature", told.start_ms, told.end_ms - 1)
        assert not len(ts)
    told = of_kind(truth, "thinned")[0]
    end = min(told.end_ms, int(batch.ts_ms[-1]))
    ts, _, _ = series(batch, told.device, "static_pressure", told.start_ms, end)
    assert 0.4 < len(ts) / ((end - told.start_ms) / 10_000) < 0.8


def test_the_first_incident_is_a_fire_after_the_stated_seconds() -> None:
    district = District(5, Size(), Rates(0, 0, 0, first_incident_s=5))
    told = district.truth(district.start_ms, district.start_ms + 10 * HOUR)
    assert [one.kind for one in told] == ["fire"]
    assert 5_000 <= told[0].start_ms - district.start_ms <= 5_001


def test_happenings_are_as_many_as_the_rates_say() -> None:
    district = District(5, Size(devices=2000), Rates(30, 20, 10, None))
    told = district.truth(district.start_ms, district.start_ms + 48 * HOUR)
    counts = {
        klass: sum(one.klass == klass for one in told)
        for klass in ("incident", "near_miss", "sensor_fault")
    }
    for klass, rate in (("incident", 30), ("near_miss", 20), ("sensor_fault", 10)):
        assert counts[klass] == pytest.approx(rate * 48, rel=0.05)
