"""Groups of devices that a rule can speak of as one: those of a building, a riser, a gateway.

A group is named by its kind and the codes that make it, so that its name outlives registry
versions: `group:building:340199001001001/3`. Its row is stable for the life of a directory.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from contracts.registry import Column, Place, Registry

GroupKind = Literal["grid", "community", "building", "unit", "riser", "floor", "gateway"]
KINDS: tuple[GroupKind, ...] = get_args(GroupKind)

PREFIX = "group:"
_MOST = 1 << 62

_NEEDED: dict[GroupKind, tuple[str, ...]] = {
    "grid": (),
    "community": (),
    "building": ("building",),
    "unit": ("building", "unit"),
    "riser": ("building", "riser"),
    "floor": ("building", "floor"),
    "gateway": (),
}
"""Attributes that a device must have to belong to a group of that kind, beside its grid."""

_PARTS = _NEEDED | {"floor": ("building", "unit", "floor")}
"""Attributes that name the group; a floor counts as one of its unit where there is one."""


def needed_attributes(kind: GroupKind) -> tuple[str, ...]:
    """Registry attributes without which a device belongs to no group of that kind."""
    return _NEEDED[kind]


class Devices(Protocol):
    """What groups are made of: the device directory."""

    registry: Registry
    gateways: list[str]

    @property
    def gateway(self) -> NDArray[np.int32]: ...

    def __len__(self) -> int: ...

    def place(self, row: int, at_ms: int) -> Place: ...


class GroupDirectory:
    """Group name <-> row, and per kind the group of each device. Grows with its directory."""

    def __init__(self, directory: Devices) -> None:
        self._directory = directory
        self.ids: list[str] = []
        self.row_of: dict[str, int] = {}
        self.kinds: list[GroupKind] = []
        self._first: list[int] = []
        self._of: dict[GroupKind, NDArray[np.int32]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def of(self, kind: GroupKind) -> NDArray[np.int32]:
        """int32 per row of the device directory: its group of that kind, -1 = none."""
        known = self._of.get(kind)
        if known is None:
            known = self._of[kind] = self._registered(kind)
        size = len(self._directory)
        if len(known) < size:
            fresh = np.full(size - len(known), -1, np.int32)
            if kind == "gateway":
                for i, gateway in enumerate(self._directory.gateway[len(known) :].tolist()):
                    fresh[i] = self._gateway_group(gateway, len(known) + i)
            known = self._of[kind] = np.concatenate([known, fresh])
        return known

    def members(self, row: int) -> NDArray[np.intp]:
        """Directory rows of the devices of one group, ascending."""
        return np.flatnonzero(self.of(self.kinds[row]) == row)

    def place(self, row: int, at_ms: int) -> Place:
        """What the places of all members have in common; a group has no coordinates."""
        kind = self.kinds[row]
        place = self._directory.place(self._first[row], at_ms)
        if kind == "gateway":
            return self._common(row, at_ms)
        blank = {name: "" for name in ("building", "unit", "floor") if name not in _PARTS[kind]}
        if kind == "community":
            blank |= {"grid": "", "grid_name": ""}
        return replace(place, **blank, lon=None, lat=None)

    def _common(self, row: int, at_ms: int) -> Place:
        table = self._directory.registry.devices
        members = self.members(row)
        members = members[members < len(table)]
        if not len(members):
            return Place()
        first = int(members[0])
        place = self._directory.place(first, at_ms)
        blank: dict[str, str] = {}
        if (table.grid[members] != table.grid[first]).any():
            return Place()
        for name in ("building", "unit", "floor"):
            column = table.attributes.get(name)
            if column is not None and (column.codes[members] != column.codes[first]).any():
                blank[name] = ""
        return replace(place, **blank, lon=None, lat=None)

    def _registered(self, kind: GroupKind) -> NDArray[np.int32]:
        """For the devices of the registry, groups interned in the order of their first device."""
        registry = self._directory.registry
        table = registry.devices
        found = np.full(len(table), -1, np.int32)
        if kind == "gateway":
            bound = np.flatnonzero(table.gateway >= 0)
            codes, first, inverse = np.unique(
                table.gateway[bound], return_index=True, return_inverse=True
            )
            groups = [
                self._gateway_group(code, int(bound[at]))
                for code, at in zip(codes.tolist(), first.tolist(), strict=True)
            ]
            found[bound] = np.array(groups, np.int32)[inverse]
            return found
        columns = [table.attributes.get(name) for name in _PARTS[kind]]
        placed = table.grid >= 0
        for name in _NEEDED[kind]:
            column = table.attributes.get(name)
            placed &= False if column is None else column.codes >= 0
        rows = np.flatnonzero(placed)
        area = self._areas(kind)
        keys: list[NDArray[Any]] = [area[table.grid[rows]]]
        keys += [np.full(len(rows), -1) if c is None else c.codes[rows] for c in columns]
        if not len(rows):
            return found
        _, first, inverse = np.unique(_as_one(keys), return_index=True, return_inverse=True)
        order = np.argsort(first, kind="stable")
        row_of = np.empty(len(order), np.int32)
        for group in order.tolist():
            device = int(rows[first[group]])
            row_of[group] = self._intern(kind, self._key(kind, device, columns), device)
        found[rows] = row_of[inverse.reshape(-1)]
        return found

    def _areas(self, kind: GroupKind) -> NDArray[np.int64]:
        """Per grid a number that is the same where the group's area is."""
        registry = self._directory.registry
        if kind != "community":
            return np.arange(len(registry.grids))
        codes = [grid.code[: registry.scheme.lengths[2]] for grid in registry.grids]
        number = {code: i for i, code in enumerate(dict.fromkeys(codes))}
        return np.array([number[code] for code in codes], np.int64)

    def _key(self, kind: GroupKind, device: int, columns: list[Column | None]) -> list[str]:
        registry = self._directory.registry
        code = registry.grids[int(registry.devices.grid[device])].code
        if kind == "community":
            code = code[: registry.scheme.lengths[2]]
        return [code, *("" if column is None else column.text(device) for column in columns)]

    def _gateway_group(self, gateway: int, device: int) -> int:
        if gateway < 0:
            return -1
        return self._intern("gateway", [self._directory.gateways[gateway]], device)

    def _intern(self, kind: GroupKind, key: list[str], first: int) -> int:
        name = f"{PREFIX}{kind}:{'/'.join(_escaped(part) for part in key)}"
        row = self.row_of.get(name)
        if row is None:
            row = self.row_of[name] = len(self.ids)
            self.ids.append(name)
            self.kinds.append(kind)
            self._first.append(first)
        return row


def _as_one(keys: list[NDArray[Any]]) -> NDArray[np.int64]:
    """A number that two rows share when all their keys are the same; keys are -1 or greater.

    Numbered anew where the product could run over.
    """
    found, span = np.zeros(len(keys[0]), np.int64), 1
    for key in keys:
        codes = key.astype(np.int64) + 1
        width = int(codes.max(initial=0)) + 1
        if span * width > _MOST:
            numbers, found = np.unique(found, return_inverse=True)
            span = len(numbers)
        found, span = found * width + codes, span * width
    return found


def group_parts(name: str) -> tuple[str, list[str]]:
    """(kind, the codes that make it) of a group's name.

    >>> group_parts("group:riser:340199001001001/3/a%2Fb")
    ('riser', ['340199001001001', '3', 'a/b'])
    """
    kind, _, key = name.removeprefix(PREFIX).partition(":")
    return kind, [part.replace("%2F", "/").replace("%25", "%") for part in key.split("/")]


def _escaped(part: str) -> str:
    return part.replace("%", "%25").replace("/", "%2F")
