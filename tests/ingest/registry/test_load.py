"""A registry folder becomes places for alerts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from contracts.directory import DeviceDirectory
from contracts.quantities import FAMILY_INDEX
from contracts.registry import Place
from ingest.registry import RegistryError, check, load, load_with_findings
from tests.ingest.registry.folders import AREAS, DEVICES, GRIDS, collection, square, write

NOW = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1000)


def test_the_good_folder_is_good(tmp_path: Path) -> None:
    assert check(write(tmp_path)) == []


def test_devices_are_columns(tmp_path: Path) -> None:
    registry = load(write(tmp_path))
    table = registry.devices

    assert table.ids == ("sm-0001", "fw-0012", "ext-1")
    assert table.family.dtype == np.int8
    assert table.family.tolist() == [FAMILY_INDEX[f] for f in ("smoke", "firewater", "elevator")]
    assert table.gateways == ("gw-1",)
    assert table.gateway.tolist() == [0, 0, -1]
    assert [registry.grids[i].code[-3:] for i in table.grid] == ["001", "002", "002"]
    assert {column.dtype.type for column in (table.gateway, table.grid)} == {np.int32}
    assert {column.dtype.type for column in (table.lon, table.lat)} == {np.float64}
    assert table.attribute("height_class", 1) == "low"
    assert table.attribute("building", 1) == ""
    assert DeviceDirectory(registry).row_of["ext-1"] == 2


def test_a_place_has_codes_and_names_of_all_levels(tmp_path: Path) -> None:
    assert load(write(tmp_path)).place(0, NOW) == Place(
        grid="340111002001001",
        grid_name="滨湖家园",
        community="340111002001",
        community_name="滨湖社区",
        street="340111002",
        street_name="骆岗街道",
        district="340111",
        district_name="包河区",
        building="3栋",
        unit="2",
        floor="12",
        lon=117.25,
        lat=31.75,
    )


def test_a_grid_is_named_only_while_it_is_valid(tmp_path: Path) -> None:
    registry = load(write(tmp_path))
    start = int(datetime(2023, 12, 31, 16, tzinfo=UTC).timestamp() * 1000)  # 2024-01-01 +08:00
    assert registry.grids[0].valid_from_ms == start
    assert registry.place(0, start).grid == "340111002001001"
    assert registry.place(0, start - 1).grid == ""
    assert registry.place(0, start - 1).building == "3栋"


def test_grid_rows(tmp_path: Path) -> None:
    grids = load(write(tmp_path)).grids
    assert [(g.kind, g.void, g.void_reason) for g in grids] == [
        ("residential", False, ""),
        ("dedicated", False, ""),
        ("base", True, "并入 001"),
    ]
    assert len(grids[0].polygon[0]) == 5
    assert grids[2].polygon == ()


def test_geojson_alone_is_enough(tmp_path: Path) -> None:
    one = square("340111002001001", 117.2)
    one["properties"] |= {"name": "甲", "kind": "基础", "valid_to": "2030-01-01T00:00:00Z"}
    devices = "device,family,lon,lat\nsm-1,smoke,117.25,31.75\n"
    folder = write(tmp_path, polygons=collection(one), devices=devices)
    (folder / "grids.csv").unlink()

    assert check(folder) == []
    registry = load(folder)
    assert (registry.grids[0].name, registry.grids[0].kind) == ("甲", "base")
    assert registry.devices.grid.tolist() == [0]


def test_a_byte_order_mark_and_windows_lines_make_no_difference(tmp_path: Path) -> None:
    plain = load(write(tmp_path / "plain"))
    marked = load(
        write(
            tmp_path / "marked",
            areas=b"\xef\xbb\xbf" + AREAS.replace("\n", "\r\n").encode(),
            grids=b"\xef\xbb\xbf" + GRIDS.replace("\n", "\r\n").encode(),
            devices=b"\xef\xbb\xbf" + DEVICES.replace("\n", "\r\n").encode(),
        )
    )
    assert marked.areas == plain.areas
    assert marked.grids == plain.grids
    assert marked.devices.ids == plain.devices.ids
    assert marked.devices.grid.tolist() == plain.devices.grid.tolist()


def test_other_lengths_and_a_marker(tmp_path: Path) -> None:
    toml = '[codes]\nlengths = [6, 9, 12, 17]\ndedicated_marker = "Z[0-9]{4}"\n'
    grids = (
        "code,name,kind\n34011100200100001,甲,居民区\n340111002001Z0001,乙,专属\n"
        "340111002001Z0002,丙,居民区\n"
    )
    devices = "device,family,grid\nsm-1,smoke,340111002001Z0001\n"
    folder = write(tmp_path, toml=toml, grids=grids, devices=devices, polygons=collection())
    assert [str(one) for one in check(folder)] == [
        "grids.csv:4: kind: warning: the code says dedicated, the kind says residential; mend: "
        "correct the kind, the code, or codes.dedicated_marker in registry.toml"
    ]
    place = load(folder).place(0, NOW)
    assert (place.grid, place.community) == ("340111002001Z0001", "340111002001")


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    first = load(write(tmp_path / "a")).hash
    assert first == load(write(tmp_path / "b")).hash
    changed = DEVICES.replace("3栋", "4栋")
    assert first != load(write(tmp_path / "c", devices=changed)).hash
    assert len(first) == 64


def test_a_device_keeps_its_place_without_a_grid(tmp_path: Path) -> None:
    devices = "device,family,grid,building\nsm-1,smoke,340111002001009,3栋\n"
    registry, findings = load_with_findings(write(tmp_path, devices=devices))
    assert registry.devices.grid.tolist() == [-1]
    assert registry.place(0, NOW) == Place(building="3栋")
    assert [one.field for one in findings] == ["grid"]


def test_bad_rows_are_left_out_and_the_others_stay(tmp_path: Path) -> None:
    devices = DEVICES + "sm 2,smoke,,,,,,,,\nsm-3,toaster,,,,,,,,\nsm-0001,gas,,,,,,,,\nx,y\n"
    registry, findings = load_with_findings(write(tmp_path, devices=devices))
    assert registry.devices.ids == ("sm-0001", "fw-0012", "ext-1")
    assert registry.devices.family[0] == FAMILY_INDEX["smoke"]
    assert sorted(one.line for one in findings) == [5, 6, 7, 8]


def test_rows_keep_their_lines_over_chunks(tmp_path: Path) -> None:
    rows = "".join(f'd-{i},smoke,"a\nb"\n' for i in range(9_000))
    devices = f"device,family,note\n{rows}\n\nd-0,smoke,\nd!,smoke,\n"
    registry, findings = load_with_findings(write(tmp_path, devices=devices))
    assert len(registry.devices) == 9_000
    assert registry.devices.attribute("note", 8_999) == "a\nb"
    no_id = [one for one in findings if one.field == "device"]
    assert [one.line for one in no_id] == [18_004, 18_005]


def test_the_valid_grid_wins_over_the_void_one(tmp_path: Path) -> None:
    grids = GRIDS.replace("340111002001003,旧", "340111002001001,旧")
    registry = load(write(tmp_path, grids=grids))
    assert registry.grids[int(registry.devices.grid[0])].name == "滨湖家园"


@pytest.mark.parametrize("missing", ["areas.csv", "devices.csv"])
def test_missing_files(tmp_path: Path, missing: str) -> None:
    folder = write(tmp_path)
    (folder / missing).unlink()
    with pytest.raises(RegistryError, match=f"{missing}:0: file: missing") as error:
        load(folder)
    assert error.value.findings == check(folder)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no such folder"):
        load(tmp_path / "nowhere")
