"""The quiet-home detector on the log: which devices are homes and sensors, and its scores.

In the registry a home is a device of family `elderly` whose gateway is `detector-inactivity`; its
id is the code that people know. Its sensors are devices whose attribute `home` names it; `room` and
`role` say where they hang and what they are. A contact without a role is the front door, as in the
shipped rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.alert_data import ModelRef
from contracts.batch import Flag, ReadingBatch, TaggedBatch
from contracts.detector import INNER_PREFIX
from contracts.directory import DeviceDirectory
from contracts.log import LogRecord, RecordKind
from contracts.messages import GatewayStatus
from contracts.quantities import FAMILY_INDEX, QUANTITIES, QUANTITY_INDEX
from detectors.inactivity.clock import MINUTE_MS
from detectors.inactivity.layout import ROOMS, Kind, Layout, Role, Room, role_of
from detectors.inactivity.operator import InactivityOperator
from detectors.inactivity.prior import Prior
from detectors.inactivity.silence import Infer
from detectors.inactivity.telling import news, readings

VERSION = 1
LAG_MS = 2_000
"""A tick waits so long after its minute for rows that are on their way, as timed rules do."""
STALL_MS = 5 * MINUTE_MS
"""No time mark for so long: the server itself was away (proposal)."""
HOMES_PER_PACK = 1_000

HUNG = {
    "motion": Kind.MOTION,
    "contact": Kind.CONTACT,
    "bed_pressure": Kind.PRESSURE,
    "flow": Kind.WATER,
    "water_volume": Kind.METER,
    "power_draw": Kind.POWER,
    "help_button": Kind.HELP,
}
"""Quantities that show a person. All others of a home's devices are heartbeats."""
_HEART, _LINK = "heartbeat", "link"
_status = msgspec.json.Decoder(GatewayStatus)


class QuietHomes:
    """A `contracts.detector.Detector`. zone: of all homes."""

    name = "inactivity"
    gateway = INNER_PREFIX + name

    def __init__(self, infer: Infer, prior: Prior, model: ModelRef, zone: tzinfo) -> None:
        self._infer, self._prior, self._zone = infer, prior, zone
        self.model = model
        self._marked_ms = 0
        self._operator: InactivityOperator | None = None
        self._sensor = np.full((0, len(QUANTITIES)), -1, np.int32)
        self._links: dict[str, NDArray[np.int32]] = {}

    @property
    def homes(self) -> int:
        return 0 if self._operator is None else len(self._operator.layout.homes)

    def settle(self, directory: DeviceDirectory) -> None:
        """Homes and sensors as the registry has them; what is known of them stays, by name."""
        old = self._operator
        layout = self._layout(directory)
        self._operator = InactivityOperator(layout, self._infer, self._prior)
        if old is not None:
            self._operator.restore(old.snapshot())

    def _layout(self, directory: DeviceDirectory) -> Layout:
        table = directory.registry.devices
        inner = directory.gateway_row.get(self.gateway, -1)
        elderly = table.family == FAMILY_INDEX["elderly"]
        homes = [table.ids[row] for row in np.flatnonzero(elderly & (table.gateway == inner))]
        known = dict.fromkeys(homes, self._zone)
        sensors: list[tuple[str, str, Kind, Room, Role]] = []
        self._sensor = np.full((len(table), len(QUANTITIES)), -1, np.int32)
        links: dict[str, list[int]] = {}
        for row in np.flatnonzero(elderly & (table.gateway != inner)).tolist():
            home = table.attribute("home", row)
            if home not in known:
                continue
            room = ROOMS.get(table.attribute("room", row), Room.OTHER)
            named = table.attribute("role", row)
            for quantity, kind in HUNG.items():
                role = role_of(named) if named else Role.PERSON
                if kind is Kind.CONTACT and not named:
                    role = Role.FRONT_DOOR
                self._sensor[row, QUANTITY_INDEX[quantity]] = len(sensors)
                sensors.append((home, f"{table.ids[row]}/{quantity}", kind, room, role))
            self._sensor[row, self._sensor[row] < 0] = len(sensors)
            sensors.append((home, f"{table.ids[row]}/{_HEART}", Kind.HEARTBEAT, room, Role.PERSON))
            if table.gateway[row] >= 0:
                gateway = directory.gateways[int(table.gateway[row])]
                links.setdefault(gateway, []).append(len(sensors))
                sensors.append((home, f"{table.ids[row]}/{_LINK}", Kind.LINK, room, Role.PERSON))
        self._links = {gateway: np.array(rows, np.int32) for gateway, rows in links.items()}
        return Layout.of(known, sensors)

    def on_rows(self, batch: TaggedBatch) -> None:
        if self._operator is None or not self.homes:
            return
        known = batch.device < len(self._sensor)
        sensor = np.full(len(batch), -1, np.int32)
        sensor[known] = self._sensor[batch.device[known], batch.quantity[known]]
        # A value that the device itself calls wrong or old shows nobody.
        use = (sensor >= 0) & ((batch.flags & (Flag.BAD | Flag.STALE | Flag.UNVERIFIED)) == 0)
        if use.any():
            self._operator.feed(sensor[use], batch.ts_ms[use], batch.value[use])

    def on_record(self, record: LogRecord) -> None:
        """A gateway that goes or comes back takes its homes along."""
        if record.kind is not RecordKind.STATUS or record.source not in self._links:
            return
        try:
            status = _status.decode(record.payload)
        except msgspec.DecodeError:
            return  # Admission refuses and counts it.
        self._link(self._links[record.source], record.accepted_ms, status.type != "offline")

    def _link(self, sensors: NDArray[np.int32], at_ms: int, is_up: bool) -> None:
        if self._operator is not None and len(sensors):
            count = len(sensors)
            self._operator.feed(
                sensors, np.full(count, at_ms, np.int64), np.full(count, float(is_up))
            )

    def on_mark(self, heard_ms: int) -> Sequence[ReadingBatch]:
        operator, before = self._operator, self._marked_ms
        self._marked_ms = heard_ms
        if operator is None or not self.homes:
            return ()
        if not before:
            # What is older was heard late: no days are worked off that nobody watched.
            operator.skip(heard_ms - LAG_MS - MINUTE_MS)
        elif heard_ms - before > STALL_MS:
            self._pass_over(operator, before, heard_ms)
        found: list[ReadingBatch] = []
        for scores in operator.advance(heard_ms - LAG_MS):
            told = news(operator, scores)
            for first in range(0, len(told), HOMES_PER_PACK):
                rows = told[first : first + HOMES_PER_PACK]
                found.append(readings(scores, rows, operator.layout.homes))
        return found

    def _pass_over(self, operator: InactivityOperator, from_ms: int, to_ms: int) -> None:
        """Nobody listened in between: no home was silent, and no minute is worked off."""
        every = np.concatenate([*self._links.values(), np.empty(0, np.int32)]).astype(np.int32)
        operator.advance(from_ms)
        self._link(every, from_ms, is_up=False)
        # Nobody is asked after for the time in which nobody could be heard: that would be all homes
        # at once.
        for name in ("heard_ms", "since_ms", "upto_ms"):
            known = operator.state.home[name]
            known[known > 0] += to_ms - from_ms
        operator.skip(to_ms - MINUTE_MS)
        self._link(every, to_ms - MINUTE_MS, is_up=True)

    def snapshot(self) -> bytes:
        state = b"" if self._operator is None else self._operator.snapshot()
        return msgspec.msgpack.encode((VERSION, self._marked_ms, state))

    def restore(self, blob: bytes) -> None:
        """Raises `ValueError` for another version."""
        version, self._marked_ms, state = msgspec.msgpack.decode(blob, type=tuple[int, int, bytes])
        if version != VERSION:
            raise ValueError(f"version {version}, this is {VERSION}")
        if state and self._operator is not None:
            self._operator.restore(state)
