"""A loaded registry as one blob of columns, to be taken up again without its files.

Reading a million devices from CSV takes seconds, most of it for text; here every text stands once
and all else is numbers. The blob says the same as the files that it was made of: it is made of
what `load` gave, and whoever has another version than it reads the files.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.quantities import FAMILIES
from contracts.registry import Area, CodeScheme, Column, DeviceTable, Grid, Registry

VERSION = 1
_T = TypeVar("_T", bound=np.generic)


class _Column(msgspec.Struct, frozen=True, array_like=True):
    """dtype: as it is saved, little-endian; the narrowest that holds all numbers."""

    dtype: str
    data: bytes


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    version: int


class _Saved(_Head, frozen=True, kw_only=True):
    """As in `contracts.registry`. families: names of those that `family` indexes."""

    hash: str
    scheme: CodeScheme
    areas: dict[str, Area]
    grids: tuple[Grid, ...]
    families: tuple[str, ...]
    ids: tuple[str, ...]
    gateways: tuple[str, ...]
    family: _Column
    gateway: _Column
    grid: _Column
    lon: _Column
    lat: _Column
    attributes: dict[str, tuple[_Column, tuple[str, ...]]]


_head_decoder = msgspec.msgpack.Decoder(_Head)
_saved_decoder = msgspec.msgpack.Decoder(_Saved)
_encode = msgspec.msgpack.Encoder().encode


def encode(registry: Registry) -> bytes:
    """The same registry gives the same bytes."""
    table = registry.devices
    return _encode(
        _Saved(
            version=VERSION,
            hash=registry.hash,
            scheme=registry.scheme,
            areas=dict(registry.areas),
            grids=tuple(registry.grids),
            families=FAMILIES,
            ids=table.ids,
            gateways=table.gateways,
            family=_narrow(table.family),
            gateway=_narrow(table.gateway),
            grid=_narrow(table.grid),
            lon=_saved(table.lon),
            lat=_saved(table.lat),
            attributes={
                name: (_narrow(column.codes), column.values)
                for name, column in table.attributes.items()
            },
        )
    )


def decode(blob: bytes) -> Registry | None:
    """None: of another version, or of one that knows more families; read the files.

    Raises `msgspec.DecodeError` and ValueError for bytes that `encode` never gave.
    """
    if _head_decoder.decode(blob).version != VERSION:
        return None
    saved = _saved_decoder.decode(blob)
    family = _loaded(saved.family, np.int8)
    if saved.families[: len(FAMILIES)] != FAMILIES[: len(saved.families)] or (
        len(family) and int(family.max()) >= len(FAMILIES)
    ):
        return None
    table = DeviceTable(
        ids=saved.ids,
        family=family,
        gateways=saved.gateways,
        gateway=_loaded(saved.gateway, np.int32),
        grid=_loaded(saved.grid, np.int32),
        lon=_loaded(saved.lon, np.float64),
        lat=_loaded(saved.lat, np.float64),
        attributes={
            name: Column(_loaded(codes, np.int32), values)
            for name, (codes, values) in saved.attributes.items()
        },
    )
    _check(table, len(saved.grids))
    return Registry(saved.scheme, saved.areas, saved.grids, table, saved.hash)


def _check(table: DeviceTable, grids: int) -> None:
    """Raises ValueError where columns don't belong together."""
    codes = [column.codes for column in table.attributes.values()]
    columns: tuple[NDArray[Any], ...] = (
        table.family,
        table.gateway,
        table.grid,
        table.lon,
        table.lat,
        *codes,
    )
    if any(len(column) != len(table) for column in columns):
        raise ValueError("columns of a registry differ in length")
    indices: list[tuple[NDArray[Any], int]] = [
        (table.family, len(FAMILIES)),
        (table.gateway, len(table.gateways)),
        (table.grid, grids),
    ]
    indices += [(column.codes, len(column.values)) for column in table.attributes.values()]
    for index, size in indices:
        if len(index) and not -1 <= int(index.min()) <= int(index.max()) < size:
            raise ValueError("a column of a registry points beside its texts")


def _saved(column: NDArray[np.generic]) -> _Column:
    dtype = column.dtype.newbyteorder("<")
    return _Column(dtype.str, column.astype(dtype, copy=False).tobytes())


def _narrow(column: NDArray[Any]) -> _Column:
    """Integers from -1 on."""
    top = int(column.max(initial=0))
    dtype = next(kind for kind in (np.int8, np.int16, np.int32) if top <= np.iinfo(kind).max)
    return _saved(column.astype(dtype, copy=False))


def _loaded(column: _Column, dtype: type[_T]) -> NDArray[_T]:
    """A copy: what came off the wire can't be written to, and would keep all of it."""
    return np.frombuffer(column.data, np.dtype(column.dtype)).astype(dtype)
