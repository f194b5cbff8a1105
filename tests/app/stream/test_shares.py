"""A registry in shares: each device looks there as it does in the whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.content import (
    ContentError,
    content_hash,
    pack_files,
    pack_registry,
    unpack_files,
    unpack_registry,
    with_columns,
)
from app.stream.cells import Plan, between, cells_of, partition_of_devices, plan
from app.stream.shares import share_of, shares
from contracts.registry import Registry
from ingest.registry import load
from tests.ingest.registry.test_columns import assert_same

PARTITIONS = 4
GRIDS = tuple(f"34011100200100{n}" for n in range(1, 7))


def square(lon: float) -> object:
    ring = [[lon, 31.0], [lon + 0.1, 31.0], [lon + 0.1, 31.1], [lon, 31.1], [lon, 31.0]]
    return {"type": "Polygon", "coordinates": [ring]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "areas.csv").write_text(
        "code,level,name\n340111,district,包河区\n"
        "340111002,street,骆岗街道\n340111002001,community,滨湖社区\n"
    )
    lines = [f"{code},网格,residential" for code in GRIDS]
    (tmp_path / "grids.csv").write_text("\n".join(["code,name,kind", *lines]) + "\n")
    features = [
        {"type": "Feature", "properties": {"code": code}, "geometry": square(117 + n / 10)}
        for n, code in enumerate(GRIDS)
    ]
    whole = {"type": "FeatureCollection", "features": features}
    (tmp_path / "grids.geojson").write_text(json.dumps(whole))
    rows = ["lon,device,family,gateway,grid,lat,building"]
    for n, code in enumerate(GRIDS):
        rows.append(f",pump-{n},firewater,gw-{n},{code},,{n}栋")
        rows.append(f"{117.05 + n / 10},placed-{n},smoke,gw-{n},,31.05,")
        rows.append(f',own-{n},gas,,{code},,"a, ""b"""')
    rows += [
        ",pump-0,firewater,gw-5,,,",  # Twice: the first counts.
        ",strange,nonsense,gw-1,,,",
        ",short,smoke",
        ",nowhere,smoke,,,,",
    ]
    (tmp_path / "devices.csv").write_text("\ufeff" + "\n".join(rows) + "\n")
    return tmp_path


def cut(
    folder: Path, whole: Registry | None = None
) -> tuple[Registry, list[Registry], list[bytes]]:
    whole = whole or load(folder)
    cells = cells_of(whole)
    planned = plan(cells, {}, PARTITIONS, move=False)
    of_device = partition_of_devices(whole, cells, planned.partitions, PARTITIONS)
    pairs = zip(cells, planned.partitions, strict=True)
    of_grid = {code: partition for cell, partition in pairs for code in cell.grids}
    contents = shares(folder, whole, of_device, of_grid, PARTITIONS)
    return whole, [unpack_registry(content) for content in contents], contents


def test_every_device_is_in_one_share_as_it_was(folder: Path) -> None:
    whole, parts, _ = cut(folder)
    assert sorted(device for part in parts for device in part.devices.ids) == sorted(
        whole.devices.ids
    )
    assert len(whole.devices) == 19
    for part in parts:
        for row, device in enumerate(part.devices.ids):
            before = whole.devices.ids.index(device)
            at_ms = 1_780_000_000_000
            assert part.place(row, at_ms) == whole.place(before, at_ms)
            table, old = part.devices, whole.devices
            gateway = int(table.gateway[row])
            assert (table.gateways[gateway] if gateway >= 0 else "") == (
                old.gateways[old.gateway[before]] if old.gateway[before] >= 0 else ""
            )
            assert table.attribute("building", row) == old.attribute("building", before)
    assert sorted(grid.code for part in parts for grid in part.grids) == sorted(GRIDS)
    assert all(len(grid.polygon) for part in parts for grid in part.grids)


def test_a_share_holds_columns_that_say_what_its_files_say(folder: Path, tmp_path: Path) -> None:
    """Whoever doesn't know of columns, as an older worker, reads the files before them."""
    _, parts, contents = cut(folder)
    for number, (part, content) in enumerate(zip(parts, contents, strict=True)):
        own = tmp_path / str(number)
        own.mkdir()
        for name, data in unpack_files(content).items():
            (own / name).write_bytes(data)
        assert_same(part, load(own))
        files = pack_registry(own)
        assert content.startswith(files)
        assert with_columns(files, load(own)) == content


def test_columns_are_taken_and_the_files_left_alone(folder: Path) -> None:
    _, parts, contents = cut(folder)
    files = pack_files({"devices.csv": b"no registry"})
    assert_same(unpack_registry(with_columns(files, parts[0])), parts[0])
    damaged = bytearray(contents[0])
    damaged[-30] ^= 255
    with pytest.raises(ContentError, match="columns of a registry are damaged"):
        unpack_registry(bytes(damaged))


def test_another_device_changes_only_its_own_share(folder: Path) -> None:
    _, _, before = cut(folder)
    with (folder / "devices.csv").open("a") as file:
        file.write(f",new,smoke,gw-0,{GRIDS[0]},,\n")
    _, _, after = cut(folder)
    changed = [content_hash(a) != content_hash(b) for a, b in zip(before, after, strict=True)]
    assert sum(changed) == 1


def test_a_share_that_would_differ_is_refused(folder: Path) -> None:
    """As when a file is written anew while it is read."""
    whole = load(folder)
    text = (folder / "devices.csv").read_text()
    (folder / "devices.csv").write_text(text.replace("3栋", "4栋"))
    with pytest.raises(ContentError, match="pump-3 would look otherwise"):
        cut(folder, whole)


def test_a_share_for_the_time_between_holds_the_devices_of_both(folder: Path) -> None:
    """One partition gets the second grid's cell and gives the first one up."""
    whole = load(folder)
    cells = cells_of(whole)
    of_grid = {code: n for n, cell in enumerate(cells) for code in cell.grids}
    known = {key: n for n, cell in enumerate(cells) for key in cell.keys}
    changes = dict.fromkeys(cells[1].keys, 0) | dict.fromkeys(cells[0].keys, 3)
    chosen = (3, 0, *range(2, len(cells)))
    of_device = partition_of_devices(whole, cells, chosen, len(cells))
    passing = between(whole, of_device, known, Plan(chosen, changes, ()))
    assert list(passing) == [0]
    content = share_of(folder, whole, passing[0], of_grid, 0)
    ids = unpack_registry(content).devices.ids
    assert set(ids) == {f"{kind}-{n}" for kind in ("pump", "placed", "own") for n in (0, 1)}
