"""The `[source]` options of the simulator: their names, defaults and bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from edge.sources import SourceError
from edge.sources.simulate.district import DEMO_RATES, District
from edge.sources.simulate.layout import Size
from edge.sources.simulate.load import LoadDistrict, LoadSize
from edge.sources.simulate.schedule import QUIET, Rates

Positive = Annotated[int, msgspec.Meta(ge=1)]
Rate = Annotated[float, msgspec.Meta(ge=0)]
Profile = Literal["district", "demo", "quiet", "load"]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a simulator can be told.

    profile: `district` (realistic rates), `demo` (more incidents), `quiet` (none), `load` (many
    devices, simple values). start: "now", or RFC 3339 with an offset. end: RFC 3339, "" = never.
    speed: simulated seconds per second; above 1 the simulator catches up with the wall clock and
    then keeps pace with it, so that nothing is stamped in the future; 0 = as fast as it is
    pulled, which needs `end`. step_ms: rows are drawn once so many ms of simulated time.
    gateways, devices, homes, grids: size of the whole district, of which one agent may speak for
    a part. devices_per_gateway, period_ms, quantities, fire_every_ms: of the load profile only,
    whose gateways are those of the agent.
    """

    profile: Profile = "district"
    seed: Annotated[int, msgspec.Meta(ge=0)] = 1
    start: str = "now"
    end: str = ""
    speed: Rate = 1.0
    step_ms: Annotated[int, msgspec.Meta(ge=10, le=60_000)] = 250
    truth_file: str = ""
    gateways: Positive = 8
    devices: Positive = 600
    homes: Annotated[int, msgspec.Meta(ge=0)] | None = None
    grids: Annotated[int, msgspec.Meta(ge=1, le=900)] = 5
    incidents_per_hour: Rate | None = None
    near_misses_per_hour: Rate | None = None
    sensor_faults_per_hour: Rate | None = None
    first_incident_s: Annotated[float, msgspec.Meta(ge=-1)] | None = None
    devices_per_gateway: Positive = 50
    period_ms: Positive = 1_000
    quantities: Annotated[int, msgspec.Meta(ge=1, le=2)] = 1
    fire_every_ms: Annotated[int, msgspec.Meta(ge=0)] = 0


def parse_options(table: Mapping[str, Any]) -> Options:
    """Check the table. Raises `SourceError` naming the field."""
    try:
        options = msgspec.convert(dict(table), Options)
    except msgspec.ValidationError as error:
        raise SourceError(f"source (simulate): {error}") from None
    if options.start != "now":
        instant_ms("start", options.start)
    if options.end:
        instant_ms("end", options.end)
    if options.speed == 0 and not options.end:
        raise SourceError("source.speed: 0 (as fast as it is pulled) needs an `end`")
    return options


def instant_ms(field: str, text: str) -> int:
    """Unix ms of RFC 3339 with an offset. Raises `SourceError`."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        mend = 'like "2026-03-01T08:00:00+08:00"'
        raise SourceError(f"source.{field}: {text!r} is no time with an offset; write it {mend}")
    return round(at.timestamp() * 1000)


def rates_of(options: Options) -> Rates:
    """The profile's rates, with those that were given in their place; -1 = no first incident."""
    base = {"quiet": QUIET, "demo": DEMO_RATES}.get(options.profile, Rates())
    first = options.first_incident_s
    return Rates(
        incidents=_given(options.incidents_per_hour, base.incidents),
        near_misses=_given(options.near_misses_per_hour, base.near_misses),
        sensor_faults=_given(options.sensor_faults_per_hour, base.sensor_faults),
        first_incident_s=base.first_incident_s
        if first is None
        else (first if first >= 0 else None),
    )


def make_district(
    options: Options, start_ms: int, gateways: Sequence[str] = ()
) -> District | LoadDistrict:
    """The district of the options; `gateways` name those of a load."""
    if options.profile == "load":
        size = LoadSize(
            tuple(gateways) or tuple(f"gw-{i + 1:04d}" for i in range(options.gateways)),
            options.devices_per_gateway,
            options.period_ms,
            options.quantities,
            fire_every_ms=options.fire_every_ms,
        )
        return LoadDistrict(options.seed, size, start_ms=start_ms)
    size_ = Size(options.gateways, options.devices, options.grids, options.homes)
    return District(options.seed, size_, rates_of(options), start_ms=start_ms)


def _given(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value
