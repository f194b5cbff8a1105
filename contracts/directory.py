"""The process-wide interning of devices: registry rows first, then strangers as they come.

A row number is stable for the life of a registry version, so operators keep state in arrays
indexed by it. Strangers (devices that the registry doesn't know) are appended: their alarms
ring all the same, tagged "grid unknown".
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from contracts.groups import PREFIX, GroupDirectory
from contracts.quantities import FAMILIES, FAMILY_INDEX
from contracts.registry import Place, Registry

Int = TypeVar("Int", np.int8, np.int32)

MAX_STRANGERS = 200_000
"""Bound on devices that the registry doesn't know, against an inventive sender."""


class DeviceDirectory:
    """Device id <-> row, and per row the family and the gateway that may speak for it.

    `gateway` rows index `gateways`: registered gateways first, then strangers. A device without
    a registered gateway belongs to the one that first spoke for it; a foreign device (no
    gateway at all) is its own.

    adopted: how many registered devices have got their gateway so; it only rises.
    """

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        table = registry.devices
        self.ids: list[str] = list(table.ids)
        self.row_of: dict[str, int] = {device: i for i, device in enumerate(self.ids)}
        self.gateways: list[str] = list(table.gateways)
        self.gateway_row: dict[str, int] = {g: i for i, g in enumerate(self.gateways)}
        self._family = table.family.astype(np.int8)
        self._gateway = table.gateway.astype(np.int32)
        self.groups = GroupDirectory(self)
        self.adopted = 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def registered(self) -> int:
        """Rows below this number are in the registry."""
        return len(self.registry.devices)

    @property
    def family(self) -> NDArray[np.int8]:
        """int8[len(self)], index into `FAMILIES`. A view: don't keep it."""
        return self._family[: len(self.ids)]

    @property
    def gateway(self) -> NDArray[np.int32]:
        """int32[len(self)], row of `gateways`. A view: don't keep it."""
        return self._gateway[: len(self.ids)]

    def intern_gateway(self, gateway: str) -> int:
        row = self.gateway_row.get(gateway)
        if row is None:
            row = self.gateway_row[gateway] = len(self.gateways)
            self.gateways.append(gateway)
        return row

    def intern_device(self, device: str, family: str, gateway_row: int) -> int:
        """The row of a device; a stranger is added with the family and gateway it came with.

        Returns -1 when the bound on strangers is reached. The family must be known.
        """
        row = self.row_of.get(device)
        if row is not None:
            if self._gateway[row] < 0:
                self._gateway[row] = gateway_row
                self.adopted += 1
            return row
        row = len(self.ids)
        if row - self.registered >= MAX_STRANGERS:
            return -1
        if row >= len(self._family):
            size = max(64, row + row // 2)
            self._family = _grown(self._family, size)
            self._gateway = _grown(self._gateway, size)
        self.ids.append(device)
        self.row_of[device] = row
        self._family[row] = FAMILY_INDEX[family]
        self._gateway[row] = gateway_row
        return row

    def family_name(self, row: int) -> str:
        return FAMILIES[int(self._family[row])]

    def subject_row(self, subject: str) -> int | None:
        """The row of a device id, or of a group id among `groups`; None = not known here."""
        if subject.startswith(PREFIX):
            return self.groups.row_of.get(subject)
        return self.row_of.get(subject)

    def place(self, row: int, at_ms: int) -> Place:
        return self.registry.place(row, at_ms)

    def strangers(self) -> list[tuple[str, str, str]]:
        """(device, family, gateway) of each stranger in row order, and nothing of the registry."""
        return [
            (self.ids[row], self.family_name(row), self.gateways[int(self._gateway[row])])
            for row in range(self.registered, len(self.ids))
        ]


def _grown(column: NDArray[Int], size: int) -> NDArray[Int]:
    grown = np.full(size, -1, column.dtype)
    grown[: len(column)] = column
    return grown
