"""The catalogue: every kind of incident, near miss and sensor fault.

What must ring is written from the thresholds in `docs/simulator.md`, independent of rule files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from contracts.batch import Flag
from edge.sources.simulate.courses import (
    HOUR,
    MINUTE,
    SECOND,
    Moment,
    dropout,
    falling,
    gas_leak,
    noisy,
    pipe_break,
    power_cut,
    ramp,
    running_tap,
    self_test,
    short_stop,
    signal,
    silent_home,
    spikes,
    stopped_charge,
    stuck,
    thinned,
    trapped,
    trapped_silently,
    water_leak,
)
from edge.sources.simulate.happened import Class, Course
from edge.sources.simulate.layout import Device


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. weight: its share of happenings of its class. where: device attributes that it
    asks for. least_ms, most_ms: how long it lasts."""

    name: str
    klass: Class
    family: str
    weight: float
    least_ms: int
    most_ms: int
    course: Callable[[Moment], Course]
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def fits(self, device: Device) -> bool:
        return device.family == self.family and all(
            device.attributes.get(name) in values for name, values in self.where
        )


_WORST = (
    ("point", ("worst",)),
    ("building_class", ("highrise_residential",)),
)
_TEST = int(Flag.TEST)

KINDS: tuple[Kind, ...] = (
    # incidents
    Kind("fire", "incident", "smoke", 6, 3 * MINUTE, 15 * MINUTE, signal("fire", "smoke.fire")),
    Kind(
        "fire_under_test", "incident", "smoke", 1, 2 * MINUTE, 5 * MINUTE,
        signal("fire", "smoke.fire", flags=_TEST),
    ),
    Kind(
        "smoke_battery", "incident", "smoke", 3, HOUR, 4 * HOUR,
        signal("battery_low", "smoke.battery_low"),
    ),
    Kind("smoke_tamper", "incident", "smoke", 2, MINUTE, 10 * MINUTE,
         signal("tamper", "smoke.tamper")),
    Kind("smoke_fault", "incident", "smoke", 2, MINUTE, 30 * MINUTE,
         signal("fault", "smoke.fault")),
    Kind(
        "pressure_low", "incident", "firewater", 4, 4 * MINUTE, 20 * MINUTE,
        ramp("static_pressure", 0.03, 0.055, 30 * SECOND, 0.0008, 3,
              expect=(("firewater.pressure_low", 120 * SECOND),)),
        _WORST,
    ),
    Kind("pipe_break", "incident", "firewater", 2, 5 * MINUTE, 30 * MINUTE, pipe_break, _WORST),
    Kind(
        "municipal_low", "incident", "firewater", 2, 4 * MINUTE, 20 * MINUTE,
        ramp("static_pressure", 0.05, 0.08, 30 * SECOND, 0.0008, 3,
              expect=(("firewater.pressure_low", 120 * SECOND),)),
        (("point", ("municipal",)),),
    ),
    Kind(
        "pressure_high", "incident", "firewater", 1, 4 * MINUTE, 10 * MINUTE,
        ramp("static_pressure", 1.06, 1.15, 30 * SECOND, 0.0008, 3,
              expect=(("firewater.pressure_high", 120 * SECOND),)),
        (("point", ("indoor",)),),
    ),
    Kind("pump_fault", "incident", "firewater", 1, 5 * MINUTE, 30 * MINUTE,
         signal("pump_fault", "firewater.pump_fault"), (("point", ("pump_room",)),)),
    Kind(
        "residual_rise", "incident", "efire", 4, 3 * MINUTE, 10 * MINUTE,
        ramp("residual_current", 580, 800, 20 * SECOND, 4, 0,
              expect=(("efire.residual_high", 75 * SECOND),)),
    ),
    Kind(
        "hot_cable", "incident", "efire", 3, 10 * MINUTE, 30 * MINUTE,
        ramp("cable_temperature", 78, 90, 5 * MINUTE, 0.3, 1,
              expect=(("efire.temp_high", 7 * MINUTE),)),
    ),
    Kind("arc", "incident", "efire", 1, MINUTE, 3 * MINUTE, signal("arc", "efire.arc")),
    Kind("trapped", "incident", "elevator", 3, 5 * MINUTE, 25 * MINUTE, trapped),
    Kind("trapped_silently", "incident", "elevator", 1, 5 * MINUTE, 25 * MINUTE,
         trapped_silently),
    Kind("lift_power_cut", "incident", "elevator", 1, 5 * MINUTE, 30 * MINUTE, power_cut),
    Kind("ebike_in_lift", "incident", "elevator", 1, 20 * SECOND, MINUTE,
         signal("ebike_inside", "elevator.ebike_inside")),
    Kind(
        "port_hot", "incident", "ebike", 3, 5 * MINUTE, 20 * MINUTE,
        ramp("port_temperature", 86, 97, 2 * MINUTE, 0.3, 1,
              expect=(("ebike.over_temp", 4 * MINUTE),)),
    ),
    Kind("overload", "incident", "ebike", 2, MINUTE, 5 * MINUTE,
         stopped_charge(6.0, "ebike.overload")),
    Kind("over_current", "incident", "ebike", 1, MINUTE, 5 * MINUTE,
         stopped_charge(12.0, "ebike.over_current")),
    Kind("shed_smoke", "incident", "ebike", 2, 3 * MINUTE, 15 * MINUTE,
         signal("smoke", "ebike.smoke")),
    Kind("water_in_port", "incident", "ebike", 1, 2 * MINUTE, 20 * MINUTE,
         signal("water_ingress", "ebike.water")),
    Kind("falling_object", "incident", "camera", 3, SECOND, 2 * SECOND,
         falling(0.82, 0.98, 3.0, "camera.falling_object")),
    Kind("lens_blocked", "incident", "camera", 1, 10 * MINUTE, HOUR,
         signal("lens_blocked", "camera.lens_blocked")),
    Kind("help_button", "incident", "elderly", 2, MINUTE, 5 * MINUTE,
         signal("help_button", "elderly.help_button")),
    Kind("silent_home", "incident", "elderly", 0.2, 30 * HOUR, 40 * HOUR, silent_home),
    Kind("running_tap", "incident", "elderly", 0.2, 26 * HOUR, 30 * HOUR, running_tap),
    Kind("water_leak", "incident", "water", 2, 10 * MINUTE, 2 * HOUR, water_leak),
    Kind("gas_leak", "incident", "gas", 1, 5 * MINUTE, 30 * MINUTE, gas_leak),
    # near misses: must stay quiet
    Kind(
        "pressure_dip", "near_miss", "firewater", 3, 20 * SECOND, 40 * SECOND,
        ramp("static_pressure", 0.03, 0.05, 1, 0.0008, 3,
              forbid=("firewater.pressure_low",)),
        _WORST,
    ),
    Kind(
        "residual_blip", "near_miss", "efire", 3, 10 * SECOND, 18 * SECOND,
        ramp("residual_current", 560, 700, 1, 3, 0, forbid=("efire.residual_high",)),
    ),
    Kind(
        "warm_cable", "near_miss", "efire", 2, 10 * MINUTE, 30 * MINUTE,
        ramp("cable_temperature", 48, 52, 3 * MINUTE, 0.2, 1,
              forbid=("efire.temp_high", "efire.temp_warn")),
    ),
    Kind(
        "warm_port", "near_miss", "ebike", 2, 5 * MINUTE, 20 * MINUTE,
        ramp("port_temperature", 62, 74, 2 * MINUTE, 0.2, 1, forbid=("ebike.over_temp",)),
    ),
    Kind("unplugged", "near_miss", "ebike", 2, MINUTE, 3 * MINUTE, stopped_charge(5.0, "")),
    Kind("short_stop", "near_miss", "elevator", 2, 10 * SECOND, 20 * SECOND, short_stop),
    Kind("bird", "near_miss", "camera", 2, SECOND, 2 * SECOND, falling(0.35, 0.45, 0.9, "")),
    Kind("self_test", "near_miss", "smoke", 2, 10 * SECOND, 30 * SECOND, self_test),
    # sensor faults
    Kind("stuck_pressure", "sensor_fault", "firewater", 2, 10 * MINUTE, 3 * HOUR,
         stuck("static_pressure"), (("point", ("worst", "municipal", "indoor")),)),
    Kind("stuck_current", "sensor_fault", "efire", 2, 10 * MINUTE, 3 * HOUR,
         stuck("residual_current")),
    Kind("dropout", "sensor_fault", "smoke", 2, 10 * MINUTE, 2 * HOUR, dropout),
    Kind("thinned", "sensor_fault", "firewater", 2, 10 * MINUTE, 2 * HOUR, thinned),
    Kind("pressure_spikes", "sensor_fault", "firewater", 2, 10 * MINUTE, HOUR,
         spikes("static_pressure", 0.0, 11 * SECOND, "firewater.pressure_low"), _WORST),
    Kind("current_spikes", "sensor_fault", "efire", 2, 10 * MINUTE, HOUR,
         spikes("residual_current", 950.0, 11 * SECOND, "efire.residual_high")),
    Kind("noisy_pressure", "sensor_fault", "firewater", 1, 10 * MINUTE, HOUR,
         noisy("static_pressure", 0.008, 3, "firewater.pressure_low"), _WORST),
    Kind("noisy_cable", "sensor_fault", "efire", 1, 10 * MINUTE, HOUR,
         noisy("cable_temperature", 2.0, 1, "efire.temp_high")),
)  # fmt: skip
"""Every kind. The weights are proposals."""
