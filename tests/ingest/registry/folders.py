"""A small good registry, to be made bad one fault at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

AREAS = """\
code,level,name
340111,district,包河区
340111002,街道,骆岗街道
340111002001,community,滨湖社区
"""
GRIDS = """\
code,name,kind,valid_from,valid_to,state,reason
340111002001001,滨湖家园,居民区,2024-01-01,,有效,
340111002001002,万达广场,专属,,,valid,
340111002001003,旧网格,基础网格,2020-01-01,2024-01-01,作废,并入 001
"""
DEVICES = """\
device,family,gateway,grid,lon,lat,building,unit,floor,height_class
sm-0001,smoke,gw-1,340111002001001,117.25,31.75,3栋,2,12,high
fw-0012,firewater,gw-1,,117.35,31.75,,,,low
ext-1,elevator,,340111002001002,,,5栋,1,,high
"""


def square(code: str, west: float, south: float = 31.7, size: float = 0.1) -> dict[str, Any]:
    east, north = west + size, south + size
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return feature(code, [ring])


def feature(code: str, coordinates: Any, kind: str = "Polygon") -> dict[str, Any]:
    return {
        "type": "Feature",
        "properties": {"code": code},
        "geometry": {"type": kind, "coordinates": coordinates},
    }


def collection(*features: Any) -> str:
    """A FeatureCollection with the n-th feature on line n + 2."""
    lines = ",\n".join(json.dumps(one, ensure_ascii=False) for one in features)
    return '{"type": "FeatureCollection",\n"features": [\n' + lines + "\n]}"


POLYGONS = collection(square("340111002001001", 117.2), square("340111002001002", 117.3))


def write(folder: Path, **files: str | bytes | None) -> Path:
    """The good files, with those named (areas, grids, polygons, devices, toml) replaced."""
    names = {
        "areas": "areas.csv",
        "grids": "grids.csv",
        "polygons": "grids.geojson",
        "devices": "devices.csv",
        "toml": "registry.toml",
    }
    good: dict[str, str | bytes | None] = {
        "areas": AREAS,
        "grids": GRIDS,
        "polygons": POLYGONS,
        "devices": DEVICES,
        "toml": None,
    }
    folder.mkdir(exist_ok=True)
    for name, content in (good | files).items():
        if isinstance(content, str):
            content = content.encode()
        if content is not None:
            (folder / names[name]).write_bytes(content)
    return folder
