"""The newest readings of quantities that texts name beside the one that decided.

A rule may say `{inactivity.usual}` in its texts. What it says is the newest value by event time of
that quantity of the alert's device, among all that stood in the log before the change. So it is the
same however the log was cut.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.batch import Flag, TaggedBatch
from contracts.directory import DeviceDirectory
from contracts.quantities import QUANTITIES, QUANTITY_INDEX
from contracts.rulebook import RuleCard

_NEVER_MS = np.iinfo(np.int64).min
_UNFIT = Flag.BAD | Flag.UNVERIFIED


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One quantity in a snapshot: device, value and event time of each that has one."""

    quantity: str
    devices: tuple[str, ...]
    values: tuple[float, ...]
    times_ms: tuple[int, ...]


class Beside:
    """Columns by directory row, for the quantities that cards name; see the top of this module."""

    def __init__(self, cards: Iterable[RuleCard], directory: DeviceDirectory) -> None:
        self._directory = directory
        self._value: dict[int, NDArray[np.float64]] = {}
        self._ts: dict[int, NDArray[np.int64]] = {}
        self._fresh: TaggedBatch | None = None
        self.want(cards)

    def want(self, cards: Iterable[RuleCard]) -> None:
        """What these cards name is kept from now on; the rest is forgotten."""
        names = {QUANTITY_INDEX[name] for card in cards for name in card.tells}
        for quantity in sorted(names):
            self._value.setdefault(quantity, np.empty(0))
            self._ts.setdefault(quantity, np.empty(0, np.int64))
        for quantity in set(self._value) - names:
            del self._value[quantity], self._ts[quantity]

    def hear(self, batch: TaggedBatch | None) -> None:
        """The rows that the next changes may be in; None: the next are later than all rows."""
        if self._fresh is not None:
            self._keep(self._fresh)
        self._fresh = batch if self._value else None

    def _keep(self, batch: TaggedBatch) -> None:
        fit = (batch.flags & _UNFIT) == 0
        for quantity in self._value:
            rows = np.flatnonzero((batch.quantity == quantity) & fit)
            if not len(rows):
                continue
            self._make_room(quantity, int(batch.device[rows].max()) + 1)
            value, ts = self._value[quantity], self._ts[quantity]
            rows = rows[np.argsort(batch.ts_ms[rows], kind="stable")]
            rows = rows[batch.ts_ms[rows] >= ts[batch.device[rows]]]
            value[batch.device[rows]] = batch.value[rows]
            ts[batch.device[rows]] = batch.ts_ms[rows]

    def _make_room(self, quantity: int, rows: int) -> None:
        more = max(rows, len(self._directory.ids)) - len(self._value[quantity])
        if rows > len(self._value[quantity]):
            self._value[quantity] = np.append(self._value[quantity], np.full(more, np.nan))
            self._ts[quantity] = np.append(self._ts[quantity], np.full(more, _NEVER_MS))

    def at(self, names: Iterable[str], device: int, position: int, row: int) -> dict[str, float]:
        """The values as of this place in the log; what was never heard is left out."""
        found = {}
        for name in names:
            value = self._at(QUANTITY_INDEX[name], device, position, row)
            if np.isfinite(value):
                found[name] = value
        return found

    def _at(self, quantity: int, device: int, position: int, row: int) -> float:
        value, ts = float("nan"), _NEVER_MS
        if 0 <= device < len(self._value.get(quantity, ())):
            value, ts = float(self._value[quantity][device]), int(self._ts[quantity][device])
        batch = self._fresh
        if batch is None:
            return value
        mine = (batch.device == device) & (batch.quantity == quantity)
        mine &= (batch.flags & _UNFIT) == 0
        mine &= (batch.position < position) | ((batch.position == position) & (batch.row <= row))
        rows = np.flatnonzero(mine)
        if len(rows):
            newest = rows[np.argsort(batch.ts_ms[rows], kind="stable")[-1]]
            if batch.ts_ms[newest] >= ts:
                value = float(batch.value[newest])
        return value

    def state(self) -> tuple[Told, ...]:
        if self._fresh is not None:
            self._keep(self._fresh)
            self._fresh = None
        found = []
        for quantity, value in self._value.items():
            rows = np.flatnonzero(np.isfinite(value)).tolist()
            found.append(
                Told(
                    quantity=QUANTITIES[quantity].name,
                    devices=tuple(self._directory.ids[row] for row in rows),
                    values=tuple(value[rows].tolist()),
                    times_ms=tuple(self._ts[quantity][rows].tolist()),
                )
            )
        return tuple(found)

    def restore(self, state: Iterable[Told]) -> None:
        self._fresh = None
        for told in state:
            quantity = QUANTITY_INDEX.get(told.quantity, -1)
            if quantity not in self._value:
                continue
            there = [self._directory.row_of.get(device, -1) for device in told.devices]
            rows = np.array(there, np.intp)
            known = rows >= 0
            self._make_room(quantity, int(rows.max(initial=-1)) + 1)
            self._value[quantity][rows[known]] = np.array(told.values)[known]
            self._ts[quantity][rows[known]] = np.array(told.times_ms, np.int64)[known]
