"""The registry files agree with each other and with what the simulator sends."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from edge.sources.simulate import LoadDistrict, LoadSize, demo_district, write_registry

CODE = re.compile(r"(1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-6]|71|81|82)[0-9]{13}")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("registry")
    write_registry(path, demo_district(1))
    return path


def test_grid_codes_have_fifteen_digits_and_their_parents_exist(folder: Path) -> None:
    areas = {row["code"]: row["level"] for row in table(folder / "areas.csv")}
    grids = table(folder / "grids.csv")
    assert len({grid["code"] for grid in grids}) == len(grids) >= 4
    for grid in grids:
        assert CODE.fullmatch(grid["code"])
        parents = [areas[grid["code"][:n]] for n in (6, 9, 12)]
        assert parents == ["district", "street", "community"]
    assert [grid["kind"] for grid in grids].count("dedicated") == 1


def test_devices_lie_inside_the_polygon_of_their_grid(folder: Path) -> None:
    shapes = json.loads((folder / "grids.geojson").read_text(encoding="utf-8"))
    boxes = {}
    for feature in shapes["features"]:
        ring = feature["geometry"]["coordinates"][0]
        assert ring[0] == ring[-1]
        assert len(ring) == 5
        lons, lats = zip(*ring, strict=True)
        boxes[feature["properties"]["code"]] = (min(lons), min(lats), max(lons), max(lats))
    assert set(boxes) == {grid["code"] for grid in table(folder / "grids.csv")}
    for device in table(folder / "devices.csv"):
        west, south, east, north = boxes[device["grid"]]
        assert west < float(device["lon"]) < east
        assert south < float(device["lat"]) < north


def test_each_device_that_speaks_is_registered_with_its_gateway(folder: Path) -> None:
    district = demo_district(1)
    rows = {row["device"]: row for row in table(folder / "devices.csv")}
    own = {name for name, row in rows.items() if row["family"] == "gateway"}
    assert own == set(district.gateways)
    assert len(rows) == 600 + len(own)
    for gateway, name in enumerate(district.gateways):
        batch = district.readings(district.start_ms, district.start_ms + 600_000, gateway)
        for device, family in zip(batch.devices, batch.families, strict=True):
            assert rows[device]["gateway"] == name
            assert rows[device]["family"] == family


def test_pressure_points_name_what_the_rules_choose_by(folder: Path) -> None:
    water = [row for row in table(folder / "devices.csv") if row["family"] == "firewater"]
    assert {row["point"] for row in water} == {"worst", "municipal", "indoor", "pump_room"}
    assert all(row["building_class"] for row in water)
    assert all(row["hydrant"] == "outdoor" for row in water if row["point"] == "municipal")


def test_the_same_seed_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_registry(tmp_path, demo_district(1))
    for path in folder.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_a_load_has_a_registry_too(tmp_path: Path) -> None:
    size = LoadSize(("a", "b"), devices_per_gateway=3)
    write_registry(tmp_path, LoadDistrict(1, size, start_ms=0))
    rows = table(tmp_path / "devices.csv")
    assert [row["gateway"] for row in rows] == ["a"] * 3 + ["b"] * 3 + ["a", "b"]
    assert [row["device"] for row in rows if row["family"] == "gateway"] == ["a", "b"]
