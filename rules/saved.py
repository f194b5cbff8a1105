"""Columns in snapshots: little-endian, with their dtype beside them."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray


class SavedColumn(msgspec.Struct, frozen=True, array_like=True):
    dtype: str
    data: bytes


def save(column: NDArray[np.generic]) -> SavedColumn:
    dtype = column.dtype.newbyteorder("<")
    return SavedColumn(dtype.str, column.astype(dtype, copy=False).tobytes())


def load(column: SavedColumn) -> NDArray[Any]:
    found = np.frombuffer(column.data, np.dtype(column.dtype))
    return found.astype(found.dtype.newbyteorder("="))
