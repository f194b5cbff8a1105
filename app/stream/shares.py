"""A registry cut into the shares of partitions: each holds the rows of its own cells only.

A share is a registry folder of its own. It is read back and compared with the whole: a device must
look in its share just as it does in the whole registry, or alerts would differ from one box's.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.content import ContentError, pack_files, unpack_registry, with_columns
from contracts.registry import Column, Registry
from ingest.registry import areas, devices, geojson, grids, options

Rows = list[list[str]]


def shares(
    folder: Path,
    registry: Registry,
    of_device: NDArray[np.int32],
    of_grid: dict[str, int],
    partitions: int,
) -> list[bytes]:
    """The content of each partition. of_device: partition of each row of the device table.
    of_grid: grid code -> partition. Raises `ContentError`."""
    contents = [
        pack_files(share) for share in _files(folder, registry, of_device, of_grid, partitions)
    ]
    return [
        _proven(registry, np.flatnonzero(of_device == partition), content)
        for partition, content in enumerate(contents)
    ]


def share_of(
    folder: Path, registry: Registry, chosen: NDArray[np.bool_], of_grid: dict[str, int], own: int
) -> bytes:
    """The content of these devices alone, of their grids and of those that stand in `own`.

    Raises `ContentError`."""
    table = registry.devices
    rows = np.flatnonzero(chosen)
    codes = {code for code, partition in of_grid.items() if partition == own}
    codes |= {registry.grids[grid].code for grid in set(table.grid[rows].tolist()) if grid >= 0}
    of_device = np.where(chosen, 0, 1).astype(np.int32)
    files, _ = _files(folder, registry, of_device, dict.fromkeys(codes, 0), 2)
    return _proven(registry, rows, pack_files(files))


def _files(
    folder: Path,
    registry: Registry,
    of_device: NDArray[np.int32],
    of_grid: dict[str, int],
    partitions: int,
) -> list[dict[str, bytes]]:
    files: list[dict[str, bytes]] = [{} for _ in range(partitions)]
    for name in (options.FILE, areas.FILE):
        if (folder / name).exists():
            for share in files:
                share[name] = (folder / name).read_bytes()
    for share, text in zip(files, _devices(folder, registry, of_device, partitions), strict=True):
        share[devices.FILE] = text
    if (folder / grids.FILE).exists():
        for share, text in zip(files, _grids(folder, of_grid, partitions), strict=True):
            share[grids.FILE] = text
    if (folder / geojson.FILE).exists():
        for share, text in zip(files, _features(folder, of_grid, partitions), strict=True):
            share[geojson.FILE] = text
    return files


def _devices(
    folder: Path, registry: Registry, of_device: NDArray[np.int32], partitions: int
) -> list[bytes]:
    """The rows that are in the device table, each with its grid written out: the polygons of
    others, which may have decided it, aren't in the share."""
    table = registry.devices
    codes = [grid.code for grid in registry.grids]
    row_of = {device: row for row, device in enumerate(table.ids)}
    header, rows = _read(folder / devices.FILE)
    width = len(header)
    if "grid" not in header:
        header.append("grid")
    device_at, grid_at = header.index("device"), header.index("grid")
    parts: list[Rows] = [[] for _ in range(partitions)]
    for cells in rows:
        # A row that the loader left out isn't there, the second of a device neither.
        row = row_of.pop(cells[device_at], None) if len(cells) == width else None
        if row is None:
            continue
        cells += [""] * (len(header) - width)
        if table.grid[row] >= 0:
            cells[grid_at] = codes[table.grid[row]]
        parts[of_device[row]].append(cells)
    return [_written(header, part) for part in parts]


def _grids(folder: Path, of_grid: dict[str, int], partitions: int) -> list[bytes]:
    header, rows = _read(folder / grids.FILE)
    at = header.index("code")
    parts: list[Rows] = [[] for _ in range(partitions)]
    for cells in rows:
        if len(cells) == len(header) and cells[at] in of_grid:
            parts[of_grid[cells[at]]].append(cells)
    return [_written(header, part) for part in parts]


def _features(folder: Path, of_grid: dict[str, int], partitions: int) -> list[bytes]:
    whole = json.loads((folder / geojson.FILE).read_text(encoding="utf-8-sig"))
    parts: list[list[Any]] = [[] for _ in range(partitions)]
    for feature in whole["features"]:
        code = feature["properties"].get("code")
        if code in of_grid:
            parts[of_grid[code]].append(feature)
    return [
        json.dumps({"type": "FeatureCollection", "features": part}, ensure_ascii=False).encode()
        for part in parts
    ]


def _read(path: Path) -> tuple[list[str], Rows]:
    """(header, rows) of a file that the loader has read already."""
    with path.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, strict=True)
        return next(reader), [cells for cells in reader if cells]


def _written(header: Sequence[str], rows: Rows) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue().encode()


def _proven(whole: Registry, rows: NDArray[np.intp], content: bytes) -> bytes:
    """With what it came to when it was read back. Raises `ContentError`."""
    share = unpack_registry(content)
    _prove(whole, rows, share)
    return with_columns(content, share)


def _prove(whole: Registry, rows: NDArray[np.intp], share: Registry) -> None:
    """Raises `ContentError` naming the first device that would look otherwise."""
    if len(rows) != len(share.devices):
        raise ContentError(f"a share holds {len(share.devices)} devices, not {len(rows)}")
    if not len(rows):
        return  # Then the share names no attributes.
    differs = np.zeros(len(rows), np.bool_)
    for wanted, found in _looks(whole, rows, share):
        differs |= wanted != found
    if differs.any():
        device = whole.devices.ids[int(rows[int(differs.argmax())])]
        raise ContentError(
            f"devices.csv: {device} would look otherwise in its share; "
            "run gridwarden registry check"
        )


def _looks(
    whole: Registry, rows: NDArray[np.intp], share: Registry
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """What is said of each device of the share, in the whole and there: numbers that are the same
    where the texts are."""
    table, own = whole.devices, share.devices
    ids = table.ids
    yield np.array([ids[row] for row in rows.tolist()], object), np.array(own.ids, object)
    yield table.family[rows], own.family
    yield _alike(table.gateway[rows], table.gateways, own.gateway, own.gateways)
    codes, own_codes = ([grid.code for grid in one.grids] for one in (whole, share))
    yield _alike(table.grid[rows], codes, own.grid, own_codes)
    for point, own_point in ((table.lon, own.lon), (table.lat, own.lat)):
        # To the bit; what isn't known is all one.
        yield _bits(point[rows]), _bits(own_point)
    for name in sorted({*table.attributes, *own.attributes}):
        column, other = (one.attributes.get(name, _NO_COLUMN) for one in (table, own))
        wanted = column.codes[rows] if len(column.codes) else np.full(len(rows), -1)
        found = other.codes if len(other.codes) else np.full(len(rows), -1)
        yield _alike(wanted, column.values, found, other.values)


_NO_COLUMN = Column(np.empty(0, np.int32), ())


def _alike(
    codes: NDArray[Any], names: Sequence[str], own: NDArray[Any], own_names: Sequence[str]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Codes of two dictionaries as those of one."""
    number = {name: n for n, name in enumerate(dict.fromkeys((*names, *own_names)))}
    of, own_of = (np.array([*map(number.__getitem__, one), -1]) for one in (names, own_names))
    return of[codes], own_of[own]


def _bits(degrees: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.where(np.isnan(degrees), np.nan, degrees).view(np.int64)
