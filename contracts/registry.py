"""The registry as data: areas, grids and devices. Loading and checking live in ingest.

Codes are text, never integers. A grid's parents are prefixes of its code: with the default
`CodeScheme`, 15 digits = 6 district + 3 street + 3 community + 3 sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Level = Literal["district", "street", "community", "grid"]
GridKind = Literal["residential", "base", "dedicated"]
"""居民区网格, 基础网格 and 专属网格."""


@dataclass(frozen=True, slots=True)
class CodeScheme:
    """How a city writes its codes. `lengths` are the digits at district, street, community, grid.

    dedicated_marker: a regular expression that the grid's own part matches when the grid is a
    dedicated one (专属); empty when the code doesn't tell.
    """

    lengths: tuple[int, int, int, int] = (6, 9, 12, 15)
    dedicated_marker: str = ""


@dataclass(frozen=True, slots=True)
class Area:
    """A district, street or community."""

    code: str
    level: Level
    name: str


@dataclass(frozen=True, slots=True)
class Grid:
    """valid_from_ms <= t < valid_to_ms is when the code may be used; None = no bound.

    polygon: rings of (lon, lat) in degrees, WGS 84 or CGCS2000 (the same within 1 m), outer
    first; empty when the grid has none.
    """

    code: str
    name: str
    kind: GridKind
    valid_from_ms: int | None = None
    valid_to_ms: int | None = None
    void: bool = False
    void_reason: str = ""
    polygon: tuple[tuple[tuple[float, float], ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where an alert is: codes and names of the four levels and the spot. "" = not known."""

    grid: str = ""
    grid_name: str = ""
    community: str = ""
    community_name: str = ""
    street: str = ""
    street_name: str = ""
    district: str = ""
    district_name: str = ""
    building: str = ""
    unit: str = ""
    floor: str = ""
    lon: float | None = None
    lat: float | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A dictionary-encoded text column: `codes[i]` is the row of `values`, -1 = empty."""

    codes: NDArray[np.int32]
    values: tuple[str, ...]

    def text(self, row: int) -> str:
        code = int(self.codes[row])
        return "" if code < 0 else self.values[code]


@dataclass(frozen=True, slots=True)
class DeviceTable:
    """Registered devices as columns; row i is one device.

    family: int8 index into `quantities.FAMILIES`. gateway: int32 row of `gateways`, -1 = none
    (a foreign device speaks for itself). grid: int32 row of `Registry.grids`, -1 = unknown.
    lon, lat: float64 degrees, NaN = unknown. attributes: one `Column` per attribute name, all
    of the length of the table; building, unit and floor are among them.
    """

    ids: tuple[str, ...] = ()
    family: NDArray[np.int8] = field(default_factory=lambda: np.empty(0, np.int8))
    gateways: tuple[str, ...] = ()
    gateway: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    grid: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    lon: NDArray[np.float64] = field(default_factory=lambda: np.empty(0, np.float64))
    lat: NDArray[np.float64] = field(default_factory=lambda: np.empty(0, np.float64))
    attributes: Mapping[str, Column] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def attribute(self, name: str, row: int) -> str:
        column = self.attributes.get(name)
        return "" if column is None else column.text(row)


@dataclass(frozen=True, slots=True)
class Registry:
    """All four levels and the devices. `hash` is the SHA-256 of the files it was loaded from."""

    scheme: CodeScheme = CodeScheme()
    areas: Mapping[str, Area] = field(default_factory=dict)
    grids: Sequence[Grid] = ()
    devices: DeviceTable = field(default_factory=DeviceTable)
    hash: str = ""

    def place(self, row: int, at_ms: int) -> Place:
        """The place of device `row`; a grid that is void or not valid at `at_ms` stays unnamed."""
        table = self.devices
        if not 0 <= row < len(table):
            return Place()
        lon, lat = float(table.lon[row]), float(table.lat[row])
        spot = {
            "building": table.attribute("building", row),
            "unit": table.attribute("unit", row),
            "floor": table.attribute("floor", row),
        }
        point = (None, None) if np.isnan(lon) or np.isnan(lat) else (lon, lat)
        index = int(table.grid[row])
        if index < 0 or not valid_at(self.grids[index], at_ms):
            return Place(**spot, lon=point[0], lat=point[1])
        grid = self.grids[index]
        district, street, community, _ = self.scheme.lengths
        return Place(
            grid=grid.code,
            grid_name=grid.name,
            community=grid.code[:community],
            community_name=self._name(grid.code[:community]),
            street=grid.code[:street],
            street_name=self._name(grid.code[:street]),
            district=grid.code[:district],
            district_name=self._name(grid.code[:district]),
            **spot,
            lon=point[0],
            lat=point[1],
        )

    def _name(self, code: str) -> str:
        area = self.areas.get(code)
        return "" if area is None else area.name


def valid_at(grid: Grid, at_ms: int) -> bool:
    """Whether the grid's code may be used for something that happened at `at_ms`."""
    if grid.valid_from_ms is not None and at_ms < grid.valid_from_ms:
        return False
    if grid.valid_to_ms is not None and at_ms >= grid.valid_to_ms:
        return False
    return not grid.void or grid.valid_to_ms is not None
