"""The load profile: as many rows as asked for, cut anywhere, inside every limit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.sources.simulate import LoadDistrict, LoadSize

START = 1_767_225_600_000
NAMES = tuple(f"gw-{i:03d}" for i in range(6))


def load(**options: int) -> LoadDistrict:
    return LoadDistrict(4, LoadSize(NAMES, **options), start_ms=START)


@pytest.mark.parametrize("quantities", [1, 2])
def test_every_device_sends_at_its_rate(quantities: int) -> None:
    district = load(devices_per_gateway=50, period_ms=100, quantities=quantities)
    batch = district.readings(START, START + 1_000)
    assert len(batch) == 6 * 50 * 10 * quantities
    assert len(batch.devices) == 300
    assert np.all(np.diff(batch.ts_ms) >= 0)
    assert batch.ts_ms[0] >= START
    assert batch.ts_ms[-1] < START + 1_000
    per_device = np.bincount(batch.device)
    assert set(per_device.tolist()) == {10 * quantities}
    assert not batch.flags.any()


@settings(max_examples=40, deadline=None)
@given(
    start=st.integers(0, 10_000),
    cuts=st.lists(st.integers(0, 1_500), min_size=1, max_size=6),
    period_ms=st.sampled_from([1, 70, 100, 1_000]),
    fire_every_ms=st.sampled_from([0, 130]),
)
def test_a_span_gives_the_same_rows_however_it_is_cut(
    start: int, cuts: list[int], period_ms: int, fire_every_ms: int
) -> None:
    district = LoadDistrict(
        4,
        LoadSize(NAMES[:2], 5, period_ms, 2, fire_every_ms=fire_every_ms),
        start_ms=START,
    )
    at = START + start
    pieces = []
    for cut in cuts:
        pieces += district.readings(at, at + cut, 1).rows()
        at += cut
    assert pieces == district.readings(START + start, at, 1).rows()


def test_a_gateway_alone_sends_its_share_of_all() -> None:
    district = load(devices_per_gateway=7, period_ms=90, quantities=2, fire_every_ms=200)
    together = district.readings(START, START + 2_000).rows()
    alone = [
        row
        for gateway in range(6)
        for row in district.readings(START, START + 2_000, gateway).rows()
    ]
    assert sorted(alone) == sorted(together)


@pytest.mark.parametrize(
    ("quantity", "low", "high"),
    [
        ("static_pressure", 0.11, 0.9),
        ("residual_current", 1.0, 299.0),
        ("cable_temperature", 1.0, 54.0),
    ],
)
def test_values_move_inside_the_limits(quantity: str, low: float, high: float) -> None:
    district = load(devices_per_gateway=30, period_ms=600_000, quantities=2)
    batch = district.readings(START, START + 86_400_000)
    values = batch.value[batch.quantity == batch.quantities.index(quantity)]
    assert values.min() >= low
    assert values.max() <= high
    assert len(np.unique(values)) > 10


def test_smoke_alarms_come_at_their_rate_and_are_in_the_truth() -> None:
    district = load(devices_per_gateway=30, period_ms=1_000, fire_every_ms=500)
    batch = district.readings(START, START + 20_000)
    fire = batch.quantity == batch.quantities.index("fire")
    raised = fire & (batch.value == 1)
    assert int(raised.sum()) == 40
    assert np.all(batch.flags[raised] == 1)
    told = district.truth(START, START + 20_000)
    assert [one.start_ms for one in told] == batch.ts_ms[raised].tolist()
    assert [one.device for one in told] == [batch.devices[d] for d in batch.device[raised]]
    families = {device.id: device.family for device in district.layout.devices}
    assert {families[one.device] for one in told} == {"smoke"}


def test_the_layout_names_the_devices_of_the_readings() -> None:
    district = load(devices_per_gateway=9)
    batch = district.readings(START, START + 2_000)
    planned = {d.id: (d.family, d.gateway) for d in district.layout.devices}
    assert set(planned) == set(batch.devices)
    for gateway in range(6):
        alone = district.readings(START, START + 2_000, gateway)
        for device, family in zip(alone.devices, alone.families, strict=True):
            assert planned[device] == (family, gateway)


@pytest.mark.parametrize(
    "options", [{"quantities": 3}, {"period_ms": 0}, {"devices_per_gateway": 0}]
)
def test_impossible_sizes_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        LoadSize(NAMES, **options)
