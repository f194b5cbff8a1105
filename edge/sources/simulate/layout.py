"""The made-up district: streets, communities, grids, buildings, gateways and devices.

Everything here is fictional. Codes begin with 340199, which no county of the real province 34
carries in the area table that we know of; names say 示范 (demonstration).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edge.sources.simulate.draws import draw, key_of

DISTRICT_CODE = "340199"
STREET_CODE = "340199001"
ORIGIN = (117.3000, 31.8000)
"""Lon, lat in degrees of the south-west corner."""
CELL = 0.006
"""Side of a grid in degrees, about 600 m."""
GRIDS_PER_COMMUNITY = 3
BUILDINGS_PER_GRID = 6

SHARES: dict[str, float] = {
    "smoke": 0.32,
    "firewater": 0.17,
    "efire": 0.13,
    "elevator": 0.05,
    "ebike": 0.12,
    "elderly": 0.08,
    "camera": 0.03,
    "water": 0.06,
    "gas": 0.04,
}
"""Share of each family. Smoke, electrical fire and fire water stand to each other about as in
the published counts of one area of 2020 (2861, 2113, 430); the rest is a proposal."""

PREFIX = {
    "smoke": "sm",
    "firewater": "fw",
    "efire": "ef",
    "elevator": "lift",
    "ebike": "eb",
    "camera": "cam",
    "elderly": "home",
    "water": "wt",
    "gas": "gs",
}

GridKind = Literal["residential", "dedicated"]


@dataclass(frozen=True, slots=True)
class Size:
    """How large the district is. The last grid is the dedicated (专属) one when grids > 1.

    homes: homes of people living alone; None = the family's share of `devices`.
    """

    gateways: int = 8
    devices: int = 600
    grids: int = 5
    homes: int | None = None

    def __post_init__(self) -> None:
        if self.grids < 1 or self.gateways < 1 or self.devices < 1:
            raise ValueError("a district has at least one grid, one gateway and one device")
        if self.grids > 900:
            raise ValueError("at most 900 grids")


@dataclass(frozen=True, slots=True)
class GridPlan:
    """One grid: a square cell. west, south in degrees."""

    code: str
    name: str
    kind: GridKind
    west: float
    south: float

    def ring(self) -> list[tuple[float, float]]:
        """The closed outer ring, counter-clockwise."""
        w, s, e, n = self.west, self.south, self.west + CELL, self.south + CELL
        return [(w, s), (e, s), (e, n), (w, n), (w, s)]


@dataclass(frozen=True, slots=True)
class Building:
    """A building of a grid; `klass` decides which pressure limit holds (GB 50974 5.2.2)."""

    name: str
    grid: int
    klass: str
    floors: int
    lon: float
    lat: float


@dataclass(frozen=True, slots=True)
class Device:
    """One device; its row in `Layout.devices` is its number everywhere in the simulator."""

    id: str
    family: str
    gateway: int
    grid: int
    building: int
    unit: str
    floor: str
    lon: float
    lat: float
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layout:
    areas: tuple[tuple[str, str, str], ...]
    grids: tuple[GridPlan, ...]
    buildings: tuple[Building, ...]
    gateways: tuple[str, ...]
    devices: tuple[Device, ...]


def plan_layout(seed: int, size: Size) -> Layout:
    """The whole layout; a pure function of its arguments."""
    grids = _grids(size.grids)
    buildings = _buildings(seed, grids)
    gateways = tuple(f"gw-{i + 1:02d}" for i in range(size.gateways))
    return Layout(
        areas=_areas(grids),
        grids=grids,
        buildings=buildings,
        gateways=gateways,
        devices=tuple(_devices(seed, size, buildings)),
    )


def plan_grids(size: Size) -> tuple[tuple[tuple[str, str, str], ...], tuple[GridPlan, ...]]:
    """Areas (code, level, name) and grids only."""
    grids = _grids(size.grids)
    return _areas(grids), grids


def _areas(grids: tuple[GridPlan, ...]) -> tuple[tuple[str, str, str], ...]:
    communities = dict.fromkeys(grid.code[:12] for grid in grids)
    return (
        (DISTRICT_CODE, "district", "示范区"),
        (STREET_CODE, "street", "一号街道"),
        *((code, "community", f"示范第{int(code[9:])}社区") for code in communities),
    )


def _grids(count: int) -> tuple[GridPlan, ...]:
    plans = []
    for i in range(count):
        community, sequence = i // GRIDS_PER_COMMUNITY + 1, i % GRIDS_PER_COMMUNITY + 1
        dedicated = count > 1 and i == count - 1
        number = 900 + sequence if dedicated else sequence
        name = "示范商务楼专属网格" if dedicated else f"示范小区{i + 1}号网格"
        plans.append(
            GridPlan(
                code=f"{STREET_CODE}{community:03d}{number:03d}",
                name=name,
                kind="dedicated" if dedicated else "residential",
                west=round(ORIGIN[0] + CELL * (i % 10), 6),
                south=round(ORIGIN[1] + CELL * (i // 10), 6),
            )
        )
    return tuple(plans)


def _buildings(seed: int, grids: tuple[GridPlan, ...]) -> tuple[Building, ...]:
    buildings = []
    for g, grid in enumerate(grids):
        count = 2 if grid.kind == "dedicated" else BUILDINGS_PER_GRID
        for b in range(count):
            key = key_of(seed, "building", grid.code, b)
            klass, floors = _building_class(grid.kind, b, draw(key, 0))
            buildings.append(
                Building(
                    name=f"{b + 1}号楼",
                    grid=g,
                    klass=klass,
                    floors=floors,
                    lon=round(grid.west + CELL * (0.15 + 0.7 * draw(key, 1)), 6),
                    lat=round(grid.south + CELL * (0.15 + 0.7 * draw(key, 2)), 6),
                )
            )
    return tuple(buildings)


def _building_class(kind: GridKind, number: int, u: float) -> tuple[str, int]:
    """(building_class, floors). A residential compound of towers with one low block."""
    if kind == "dedicated":
        if number == 0:
            return "over_100m", 32
        return "class1_highrise_public", 16 + int(u * 8)
    if number == BUILDINGS_PER_GRID - 1:
        return "multi_storey", 5 + int(u * 2)
    return "highrise_residential", 11 + int(u * 16)


def _devices(seed: int, size: Size, buildings: tuple[Building, ...]) -> list[Device]:
    devices: list[Device] = []
    for family, count in _counts(size).items():
        homes = [
            i
            for i, building in enumerate(buildings)
            if family not in ("elderly", "elevator") or _suits(family, building)
        ] or list(range(len(buildings)))
        for n in range(count):
            b = homes[n % len(homes)]
            devices.append(_device(seed, family, n, n // len(homes), b, buildings, size.gateways))
    return devices


def _suits(family: str, building: Building) -> bool:
    residential = building.klass in ("highrise_residential", "multi_storey")
    return residential if family == "elderly" else building.klass != "multi_storey"


def _counts(size: Size) -> dict[str, int]:
    counts = {family: int(share * size.devices) for family, share in SHARES.items()}
    if size.homes is not None:
        counts["elderly"] = size.homes
    counts["smoke"] = max(0, size.devices - sum(counts.values()) + counts["smoke"])
    return counts


def _device(
    seed: int,
    family: str,
    number: int,
    lap: int,
    building: int,
    buildings: tuple[Building, ...],
    gateways: int,
) -> Device:
    at = buildings[building]
    key = key_of(seed, "device", family, number)
    floor, attributes = _spot(family, lap, at, draw(key, 0))
    jitter = 0.0002
    return Device(
        id=f"{PREFIX[family]}-{number + 1:04d}",
        family=family,
        gateway=building % gateways,
        grid=at.grid,
        building=building,
        unit=f"{1 + lap % 2}单元",
        floor=floor,
        lon=round(at.lon + jitter * (draw(key, 1) - 0.5), 6),
        lat=round(at.lat + jitter * (draw(key, 2) - 0.5), 6),
        attributes={"building_class": at.klass, **attributes},
    )


def _spot(family: str, lap: int, building: Building, u: float) -> tuple[str, dict[str, str]]:
    """Floor and the attributes by which rules choose devices."""
    floor = str(1 + int(u * building.floors))
    if family == "firewater":
        kinds = (
            (str(building.floors), {"point": "worst", "hydrant": "indoor"}),
            ("1", {"point": "municipal", "hydrant": "outdoor"}),
            (floor, {"point": "indoor", "hydrant": "indoor"}),
            ("0", {"point": "pump_room"}),
        )
        return kinds[lap % len(kinds)]
    if family == "elevator":
        return "1", {"floors": str(building.floors)}
    if family == "ebike":
        return "0", {"place": "shed"}
    if family == "elderly":
        return floor, {"home": "alone"}
    if family in ("camera", "efire"):
        return "1", {}
    return floor, {}
