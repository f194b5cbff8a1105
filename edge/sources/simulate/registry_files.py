"""The registry of a simulated district as the CSV and GeoJSON files of `docs/registry.md`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from edge.sources.simulate.layout import Layout

ATTRIBUTES = ("point", "hydrant", "building_class", "floors", "place", "home")
"""Attribute columns of devices.csv, in their order."""


class HasLayout(Protocol):
    @property
    def layout(self) -> Layout: ...


def write_registry(folder: Path, district: HasLayout) -> None:
    """Write areas.csv, grids.csv, grids.geojson and devices.csv into `folder` (made if missing).

    UTF-8, LF. Raises OSError.
    """
    layout = district.layout
    folder.mkdir(parents=True, exist_ok=True)
    _table(folder / "areas.csv", ("code", "level", "name"), layout.areas)
    _table(
        folder / "grids.csv",
        ("code", "name", "kind", "valid_from", "valid_to", "state", "reason"),
        [
            (g.code, g.name, g.kind, "2025-01-01T00:00:00+08:00", "", "valid", "")
            for g in layout.grids
        ],
    )
    text = json.dumps(_features(layout), ensure_ascii=False, indent=1)
    (folder / "grids.geojson").write_text(text + "\n", encoding="utf-8")
    _table(folder / "devices.csv", _DEVICE_COLUMNS, _devices(layout))


_DEVICE_COLUMNS = (
    "device",
    "family",
    "gateway",
    "grid",
    "lon",
    "lat",
    "building",
    "unit",
    "floor",
    *ATTRIBUTES,
)


def _devices(layout: Layout) -> Iterable[Sequence[str]]:
    for device in layout.devices:
        yield (
            device.id,
            device.family,
            layout.gateways[device.gateway],
            layout.grids[device.grid].code,
            f"{device.lon:.6f}",
            f"{device.lat:.6f}",
            layout.buildings[device.building].name,
            device.unit,
            device.floor,
            *(device.attributes.get(name, "") for name in ATTRIBUTES),
        )
    yield from _gateways(layout)


def _gateways(layout: Layout) -> Iterable[Sequence[str]]:
    """The gateways as devices of their own, each where its first device is."""
    first = {device.gateway: device for device in reversed(layout.devices)}
    for number, device in sorted(first.items()):
        name = layout.gateways[number]
        yield (
            name,
            "gateway",
            name,
            layout.grids[device.grid].code,
            f"{device.lon:.6f}",
            f"{device.lat:.6f}",
            layout.buildings[device.building].name,
            *("" for _ in range(2 + len(ATTRIBUTES))),
        )


def _features(layout: Layout) -> dict[str, object]:
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": {"code": grid.code},
                "geometry": {
                    "type": "Polygon",
                    "coordinates": [[[round(x, 6), round(y, 6)] for x, y in grid.ring()]],
                },
            }
            for grid in layout.grids
        ],
    }


def _table(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
