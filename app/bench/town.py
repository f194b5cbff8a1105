"""A made-up town of any number of devices: its registry on disk, and what its devices say."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from contracts.batch import ReadingBatch
from contracts.log import LogRecord, RecordKind
from contracts.pack import Pack, PackHeader, encode
from contracts.quantities import FAMILIES
from contracts.registry import DeviceTable

SIDE = 32
"""Grids stand in a square of so many by so many: 1024."""
CORNERS = 21
DEVICES_EACH = 50
"""Devices of one gateway."""
START_MS = 1_767_225_600_000

_WEST, _SOUTH, _CELL = 117.0, 31.5, 0.01
_DISTRICT, _STREETS, _COMMUNITIES = "340111", 4, 16
_SHARE = {
    "smoke": 0.4,
    "firewater": 0.15,
    "efire": 0.15,
    "ebike": 0.1,
    "elevator": 0.05,
    "elderly": 0.05,
    "water": 0.05,
    "gas": 0.05,
}
CALM: dict[str, dict[str, float]] = {
    "smoke": {"fire": 0, "fault": 0, "battery": 3.1, "rssi": -75},
    "firewater": {"static_pressure": 0.35, "flow": 0, "battery": 3.5, "rssi": -80},
    "efire": {"residual_current": 120, "cable_temperature": 31, "arc": 0, "voltage": 221},
    "ebike": {"port_power": 180, "port_temperature": 29, "smoke": 0, "water_ingress": 0},
    "elevator": {"position": 3, "car_moving": 0, "door_zone": 1, "passenger": 0, "power": 1},
    "elderly": {"motion": 1, "contact": 0, "help_button": 0, "battery": 3.0},
    "water": {"flow": 0, "water_volume": 40, "leak": 0, "battery": 3.6},
    "gas": {"gas_lel": 0, "leak": 0, "battery": 3.6},
}
"""What the devices of a family say when all is well; none of it begins an episode."""


def write_town(folder: Path, devices: int, seed: int) -> None:
    """Write areas.csv, grids.geojson and devices.csv. Half of the devices have a point and no
    grid. 11 columns a device. Raises OSError."""
    folder.mkdir(parents=True)
    codes = list(_grid_codes())
    _write_areas(folder / "areas.csv", codes)
    _write_grids(folder / "grids.geojson", codes)
    _write_devices(folder / "devices.csv", codes, devices, np.random.default_rng(seed))


def _grid_codes() -> Iterator[str]:
    each = SIDE * SIDE // (_STREETS * _COMMUNITIES)
    for number in range(SIDE * SIDE):
        street, rest = divmod(number, _COMMUNITIES * each)
        community, grid = divmod(rest, each)
        yield f"{_DISTRICT}{street + 1:03d}{community + 1:03d}{grid + 1:03d}"


def _write_areas(path: Path, codes: list[str]) -> None:
    streets = dict.fromkeys(code[:9] for code in codes)
    communities = dict.fromkeys(code[:12] for code in codes)
    lines = ["code,level,name", f"{_DISTRICT},district,测试区"]
    lines += [f"{code},street,第{code[6:]}街道" for code in streets]
    lines += [f"{code},community,第{code[9:]}社区" for code in communities]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_grids(path: Path, codes: list[str]) -> None:
    features = [
        {
            "type": "Feature",
            "properties": {"code": code, "name": f"网格{code[6:]}", "kind": "residential"},
            "geometry": {"type": "Polygon", "coordinates": [_ring(*divmod(number, SIDE))]},
        }
        for number, code in enumerate(codes)
    ]
    whole = {"type": "FeatureCollection", "features": features}
    path.write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")


def _ring(row: int, column: int) -> list[list[float]]:
    """A round block inside its cell, closed: `CORNERS` positions."""
    lon, lat = _WEST + (column + 0.5) * _CELL, _SOUTH + (row + 0.5) * _CELL
    angles = [2 * math.pi * n / (CORNERS - 1) for n in range(CORNERS - 1)]
    ring = [
        [round(lon + 0.49 * _CELL * math.cos(a), 7), round(lat + 0.49 * _CELL * math.sin(a), 7)]
        for a in angles
    ]
    return [*ring, ring[0]]


def _write_devices(path: Path, codes: list[str], devices: int, dice: np.random.Generator) -> None:
    names = list(_SHARE)
    family = dice.choice(len(names), devices, p=list(_SHARE.values())).tolist()
    cell = dice.integers(0, SIDE * SIDE, devices)
    # 0.3 of a cell from its middle lies well inside the round block.
    shift = dice.uniform(-0.3, 0.3, (2, devices))
    lon = (_WEST + (cell % SIDE + 0.5 + shift[0]) * _CELL).tolist()
    lat = (_SOUTH + (cell // SIDE + 0.5 + shift[1]) * _CELL).tolist()
    where = cell.tolist()
    with path.open("w", encoding="utf-8") as out:
        out.write("device,family,gateway,grid,lon,lat,building,unit,floor,height_class,model\n")
        for n in range(devices):
            spot = f",{lon[n]:.6f},{lat[n]:.6f}" if n % 2 else f"{codes[where[n]]},,"
            out.write(
                f"dev-{n:07d},{names[family[n]]},gw-{n // DEVICES_EACH:05d},{spot},"
                f"{n % 40 + 1}栋,{n % 4 + 1},{n % 33 + 1},{'high' if n % 3 else 'low'},m{n % 7}\n"
            )


def calm_packs(table: DeviceTable, first: int, gateways: int, at_ms: int) -> list[LogRecord]:
    """Packs of `gateways` gateways from the one of device row `first`, without positions: each of
    their devices says once that all is well."""
    last = min(first + gateways * DEVICES_EACH, len(table))
    return [_calm_pack(table, row, at_ms) for row in range(first, last, DEVICES_EACH)]


def _calm_pack(table: DeviceTable, first: int, at_ms: int) -> LogRecord:
    said = []
    for row in range(first, min(first + DEVICES_EACH, len(table))):
        family = FAMILIES[int(table.family[row])]
        said += [(table.ids[row], family, q, at_ms, value, 0) for q, value in CALM[family].items()]
    gateway = table.gateways[int(table.gateway[first])]
    header = PackHeader(gateway, 1 << 32, 1, at_ms, 1_000)
    return LogRecord(RecordKind.PACK, at_ms, gateway, encode(Pack(header, ReadingBatch.of(said))))
