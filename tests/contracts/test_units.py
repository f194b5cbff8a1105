"""Units become the canonical one, exactly, or are refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.quantities import QUANTITIES
from contracts.rejects import Reason, Refused
from contracts.units import UNITS, conversion, convert


@pytest.mark.parametrize(
    ("value", "unit", "quantity", "want"),
    [
        pytest.param(310, "kPa", "static_pressure", 0.31, id="kilopascal"),
        pytest.param(310_000, "Pa", "static_pressure", 0.31, id="pascal"),
        pytest.param(3.1, "bar", "static_pressure", 0.31, id="bar"),
        pytest.param(0.31, "MPa", "static_pressure", 0.31, id="canonical"),
        pytest.param(212, "degF", "temperature", 100.0, id="fahrenheit"),
        pytest.param(-40, "°F", "temperature", -40.0, id="where-both-scales-meet"),
        pytest.param(300.15, "K", "temperature", 27.0, id="kelvin"),
        pytest.param(21.5, "Cel", "cable_temperature", 21.5, id="senml-celsius"),
        pytest.param(0.3, "A", "residual_current", 300.0, id="ampere-to-milliampere"),
        pytest.param(300, "mA", "current", 0.3, id="milliampere-to-ampere"),
        pytest.param(1.2, "kW", "port_power", 1200.0, id="kilowatt"),
        pytest.param(3600, "mV", "battery", 3.6, id="millivolt"),
        pytest.param(60, "L/min", "flow", 1.0, id="litres-a-minute"),
        pytest.param(3.6, "m3/h", "flow", 1.0, id="cubic-metres-an-hour"),
        pytest.param(10, "l", "water_volume", 0.01, id="litres"),
        pytest.param(90, "min", "running_hours", 1.5, id="minutes-to-hours"),
        pytest.param(2, "h", "inactivity.minutes", 120.0, id="hours-to-minutes"),
        pytest.param(1.5, "s", "clock_skew", 1500.0, id="seconds-to-milliseconds"),
        pytest.param(-10, "dBW", "rssi", 20.0, id="decibel-watt"),
        pytest.param(80, "%", "outbox_fill", 0.8, id="per-cent"),
        pytest.param(1, "", "fire", 1.0, id="no-unit-for-a-pure-number"),
    ],
)
def test_convert(value: float, unit: str, quantity: str, want: float) -> None:
    assert convert(value, unit, quantity) == want


@pytest.mark.parametrize(
    ("unit", "quantity", "reason"),
    [
        pytest.param("MA", "residual_current", Reason.UNKNOWN_UNIT, id="letter-by-letter"),
        pytest.param("C", "temperature", Reason.UNKNOWN_UNIT, id="coulomb-is-no-celsius"),
        pytest.param("V", "static_pressure", Reason.UNKNOWN_UNIT, id="wrong-dimension"),
        pytest.param("", "static_pressure", Reason.UNKNOWN_UNIT, id="unit-missing"),
        pytest.param("%RH", "gas_lel", Reason.UNKNOWN_UNIT, id="shares-of-different-things"),
        pytest.param("%", "fire", Reason.UNKNOWN_UNIT, id="alarm-bit-in-per-cent"),
        pytest.param("Pa", "pressure", Reason.UNKNOWN_QUANTITY, id="no-such-quantity"),
    ],
)
def test_refused(unit: str, quantity: str, reason: Reason) -> None:
    with pytest.raises(Refused) as refused:
        convert(1.0, unit, quantity)
    assert refused.value.reject.reason is reason


@given(
    st.sampled_from([q.name for q in QUANTITIES]),
    st.sampled_from(sorted(UNITS)),
    st.floats(-1e9, 1e9),
)
def test_every_pair_is_refused_or_linear(quantity: str, unit: str, value: float) -> None:
    try:
        multiply, _, divide = conversion(unit, quantity)
    except Refused:
        with pytest.raises(Refused, match=Reason.UNKNOWN_UNIT.value):
            convert(value, unit, quantity)
        return
    assert multiply > 0
    assert divide > 0
    step = convert(value + 1, unit, quantity) - convert(value, unit, quantity)
    span = abs(convert(value, unit, quantity)) + multiply / divide
    assert math.isclose(step, multiply / divide, abs_tol=1e-12 * span + 1e-6 * multiply / divide)
    assert math.isnan(convert(math.nan, unit, quantity))
