"""grids.geojson: features with the line on which each begins, and their polygons."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ingest.registry.findings import Malformed
from ingest.registry.polygons import Ring, Rings, area

FILE = "grids.geojson"
_BLANK = re.compile(r"[ \t\n\r]*")
_decoder = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature as it stands in the file."""

    line: int
    properties: dict[str, Any]
    geometry: object


class PolygonFault(NamedTuple):
    problem: str
    mend: str


def read_features(path: Path) -> list[Feature]:
    """The features of a GeoJSON FeatureCollection. Raises `Malformed`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        mend = "correct the JSON here or just before"
        raise Malformed(FILE, error.lineno, "json", error.msg, mend) from None
    except UnicodeDecodeError as error:
        raise Malformed(FILE, 0, "file", f"not UTF-8: {error.reason}", "save as UTF-8") from None
    except RecursionError:
        raise Malformed(FILE, 0, "json", "nested too deeply", "write a FeatureCollection") from None
    except OSError as error:
        problem = error.strerror or "unreadable"
        raise Malformed(FILE, 0, "file", problem, "make it a readable file") from None
    if not isinstance(whole, dict) or whole.get("type") != "FeatureCollection":
        mend = 'write {"type": "FeatureCollection", "features": [...]}'
        raise Malformed(FILE, 1, "type", "no FeatureCollection", mend)
    if not isinstance(whole.get("features"), list):
        raise Malformed(FILE, 1, "features", "no array", 'write "features": [...]')
    features = []
    for line, feature in zip(_lines(text), whole["features"], strict=True):
        properties = feature.get("properties") if isinstance(feature, dict) else None
        if not isinstance(feature, dict) or not isinstance(properties, dict):
            mend = "give each feature its properties: code, name, kind"
            raise Malformed(FILE, line, "features", "no feature with properties", mend)
        features.append(Feature(line, properties, feature.get("geometry")))
    return features


def _lines(text: str) -> list[int]:
    """The line on which each element of the top level's last `features` begins."""
    found: list[int] = []
    at = _skip(text, _skip(text, 0) + 1)  # Behind the opening brace.
    while text[at] != "}":
        key, at = _decoder.raw_decode(text, at)
        at = _skip(text, _skip(text, at) + 1)  # Behind the colon.
        if key == "features" and text[at] == "[":
            found, at = _elements(text, at)
        else:
            _, at = _decoder.raw_decode(text, at)
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found


def _elements(text: str, at: int) -> tuple[list[int], int]:
    found: list[int] = []
    line, counted = 1, 0
    at = _skip(text, at + 1)
    while text[at] != "]":
        line += text.count("\n", counted, at)
        counted = at
        found.append(line)
        _, at = _decoder.raw_decode(text, at)
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found, at + 1


def _skip(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def read_polygon(geometry: object) -> tuple[Rings, list[PolygonFault]]:
    """The rings of a Polygon or MultiPolygon (no rings when it can't be used), and its faults."""
    if not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        return (), [PolygonFault("no Polygon or MultiPolygon", "draw the grid as a polygon")]
    coordinates = geometry.get("coordinates")
    polygons = [coordinates] if geometry["type"] == "Polygon" else coordinates
    rings: list[Ring] = []
    faults: list[PolygonFault] = []
    for polygon in polygons if isinstance(polygons, list) else [None]:
        for ring in polygon if isinstance(polygon, list) else [None]:
            good, fault = _ring(ring)
            if fault is not None:
                faults.append(fault)
            if good is not None:
                rings.append(good)
    if not rings and not faults:
        faults.append(PolygonFault("no coordinates", "draw the grid as a polygon"))
    usable = len(faults) == sum(fault.problem == _OPEN for fault in faults)
    return (tuple(rings) if usable else ()), faults


_OPEN = "polygon is not closed"


def _ring(ring: object) -> tuple[Ring | None, PolygonFault | None]:
    """A ring and what is wrong with it; an open ring can be used all the same."""
    positions = [_position(one) for one in ring] if isinstance(ring, list) else []
    if not positions or None in positions:
        return None, PolygonFault("coordinates aren't [lon, lat] pairs", "write numbers in degrees")
    corners: Ring = tuple(one for one in positions if one is not None)
    for lon, lat in corners:
        if not (-180 <= lon <= 180 and -90 <= lat <= 90):
            mend = "write longitude first, then latitude, in degrees"
            if -180 <= lat <= 180 and -90 <= lon <= 90:
                mend = "longitude and latitude are swapped: write longitude first"
            return None, PolygonFault(f"[{lon}, {lat}] is outside the earth", mend)
    if len(set(corners)) < 3 or area(corners) == 0:
        return None, PolygonFault("polygon is empty", "give it three corners or more")
    if corners[0] != corners[-1]:
        return corners, PolygonFault(_OPEN, "repeat the first position at the end of the ring")
    return corners, None


def _position(value: object) -> tuple[float, float] | None:
    if not isinstance(value, list) or len(value) < 2:
        return None
    lon, lat = value[0], value[1]
    if isinstance(lon, bool) or isinstance(lat, bool):
        return None
    if not isinstance(lon, int | float) or not isinstance(lat, int | float):
        return None
    try:
        pair = float(lon), float(lat)
    except OverflowError:
        return None
    return pair if all(map(math.isfinite, pair)) else None
