"""The one table of device families and quantities, with canonical units.

Sources: the families and quantities follow the device standards' own lists; the canonical units
are MPa, degC, mA, A, W, V, m3, s, dBm. A quantity's name is global: `static_pressure` means
the same everywhere, in MPa. `safety` marks signals that mean a life may be at stake: they are
never dropped, whatever their age, clock, source or grid.

The index of a quantity in `QUANTITIES` is its id in memory and in snapshots of one release; on
the wire quantities travel by name, so the table may grow in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

FAMILIES: tuple[str, ...] = (
    "smoke",
    "firewater",
    "efire",
    "elevator",
    "ebike",
    "camera",
    "elderly",
    "water",
    "gas",
    "gateway",
)
FAMILY_INDEX = {name: i for i, name in enumerate(FAMILIES)}


class Kind(Enum):
    """What the number of a quantity is."""

    MEASURE = "measure"  # a physical value in the canonical unit
    STATE = "state"  # a level that holds until the next reading: 0/1 or an enumeration
    SIGNAL = "signal"  # an alarm bit: anything but 0 is an alarm and flushes at once
    CODE = "code"  # an enumerated code, 0 = none; anything but 0 flushes at once
    COUNTER = "counter"  # rises until it starts again


@dataclass(frozen=True, slots=True)
class Quantity:
    """One row of the table. `unit` is the canonical unit, "1" for pure numbers."""

    name: str
    unit: str
    kind: Kind
    families: tuple[str, ...]  # empty: any family
    safety: bool = False
    detector: str = ""  # the name of the detector that gives it, "" = devices send it


_M, _S, _G, _C, _N = Kind.MEASURE, Kind.STATE, Kind.SIGNAL, Kind.CODE, Kind.COUNTER

QUANTITIES: tuple[Quantity, ...] = (
    # any family
    Quantity("battery", "V", _M, ()),
    Quantity("battery_low", "1", _G, ()),
    Quantity("rssi", "dBm", _M, ()),
    Quantity("tamper", "1", _G, ()),
    Quantity("fault", "1", _G, ()),
    Quantity("self_test", "1", _G, ()),
    Quantity("online", "1", _S, ()),
    Quantity("temperature", "degC", _M, ()),
    Quantity("humidity", "%RH", _M, ()),
    Quantity("co2", "ppm", _M, ()),
    # smoke; also smoke heads inside lifts, charging sheds and cabinets
    Quantity("fire", "1", _G, (), safety=True),
    # fire water
    Quantity("static_pressure", "MPa", _M, ("firewater",)),
    Quantity("dynamic_pressure", "MPa", _M, ("firewater",)),
    Quantity("tank_level", "m", _M, ("firewater",)),
    Quantity("flow", "L/s", _M, ("firewater", "water", "elderly")),
    Quantity("pump_running", "1", _S, ("firewater",)),
    Quantity("pump_fault", "1", _G, ("firewater",)),
    # electrical fire, and electricity elsewhere
    Quantity("residual_current", "mA", _M, ("efire", "ebike")),
    Quantity("cable_temperature", "degC", _M, ("efire",)),
    Quantity("voltage", "V", _M, ()),
    Quantity("current", "A", _M, ()),
    Quantity("arc", "1", _G, ("efire",)),
    Quantity("over_limit", "1", _G, ("efire",)),
    # elevator; enumerations as in the C-attested status tables
    Quantity("position", "1", _S, ("elevator",)),
    Quantity("direction", "1", _S, ("elevator",)),
    Quantity("running_hours", "h", _N, ("elevator",)),
    Quantity("trip_counter", "1", _N, ("elevator",)),
    Quantity("service_mode", "1", _S, ("elevator",)),
    Quantity("car_moving", "1", _S, ("elevator",)),
    Quantity("door_zone", "1", _S, ("elevator",)),
    Quantity("door_closed", "1", _S, ("elevator",)),
    Quantity("passenger", "1", _S, ("elevator",)),
    Quantity("power", "1", _S, ("elevator",)),
    Quantity("speed_ratio", "1", _M, ("elevator",)),
    Quantity("fault_code", "1", _C, ("elevator",), safety=True),
    Quantity("ebike_inside", "1", _G, ("elevator",)),
    # e-bike charging
    Quantity("port_power", "W", _M, ("ebike",)),
    Quantity("port_temperature", "degC", _M, ("ebike",)),
    Quantity("session_time", "s", _M, ("ebike",)),
    Quantity("stop_reason", "1", _C, ("ebike",)),
    Quantity("relay", "1", _S, ("ebike",)),
    Quantity("smoke", "1", _G, ("ebike",), safety=True),
    Quantity("water_ingress", "1", _G, ("ebike",)),
    Quantity("door_open", "1", _S, ()),
    # camera
    Quantity("falling_object.score", "1", _M, ("camera",), detector="falling"),
    Quantity("falling_object.storeys", "1", _M, ("camera",), detector="falling"),
    Quantity("falling_object.start_storey", "1", _M, ("camera",), detector="falling"),
    Quantity("lens_blocked", "1", _G, ("camera",)),
    # homes of people living alone
    Quantity("motion", "1", _S, ("elderly",)),
    Quantity("contact", "1", _S, ("elderly",)),
    Quantity("bed_pressure", "1", _S, ("elderly",)),
    Quantity("help_button", "1", _G, ("elderly", "elevator"), safety=True),
    Quantity("water_volume", "m3", _M, ("elderly", "water")),
    Quantity("power_draw", "W", _M, ("elderly",)),
    Quantity("inactivity.p", "1", _M, ("elderly",), detector="inactivity"),
    Quantity("inactivity.minutes", "min", _M, ("elderly",), detector="inactivity"),
    Quantity("inactivity.per_30d", "1", _M, ("elderly",), detector="inactivity"),
    Quantity("inactivity.usual", "min", _M, ("elderly",), detector="inactivity"),
    Quantity("inactivity.dry", "min", _M, ("elderly",), detector="inactivity"),
    Quantity("home.state", "1", _S, ("elderly",), detector="inactivity"),
    Quantity("home.gone", "min", _M, ("elderly",), detector="inactivity"),
    Quantity("home.proven", "1", _S, ("elderly",), detector="inactivity"),
    # water and gas
    Quantity("leak", "1", _G, ("water", "gas", "elderly")),
    Quantity("gas_lel", "%LEL", _M, ("gas",)),
    Quantity("gas_volume", "m3", _M, ("gas",)),
    # the gateway as a device of its own: said by it or found out about it
    Quantity("clock_skew", "ms", _M, ("gateway",)),
    Quantity("packs_missing", "1", _M, ("gateway",)),
    Quantity("packs_evicted", "1", _G, ("gateway",)),
    Quantity("outbox_fill", "1", _M, ("gateway",)),
    Quantity("disk_full", "1", _G, ("gateway",)),
    Quantity("unverified_source", "1", _G, ("gateway",)),
)
QUANTITY_INDEX = {q.name: i for i, q in enumerate(QUANTITIES)}

URGENT: frozenset[str] = frozenset(q.name for q in QUANTITIES if q.kind in (_G, _C))
"""Quantities whose non-zero value makes an agent flush its pack at once."""

SAFETY: frozenset[str] = frozenset(q.name for q in QUANTITIES if q.safety)
