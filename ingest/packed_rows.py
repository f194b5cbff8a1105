"""Waiting rows in snapshots: many millions of them under load, so each column is made small first.

What is the same for all rows of a pack stands once for each run of rows; other integers are told
from the least one on, in as many bytes as the greatest needs. That takes a third of the bytes, and
they are copied, compressed and hashed each time that state is saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.batch import TAGGED, TaggedBatch
from ingest.ordering import runs

WORTH = 8
"""Runs are told where there are so many rows to one of them, or more."""
_WIDTHS = (np.uint8, np.uint16, np.uint32)

Saved = tuple[str, bytes]
"""dtype, little-endian, and data."""


def pack_rows(batch: TaggedBatch) -> dict[str, Any]:
    """For MessagePack; `unpack_rows` gives the same rows, to the bit."""
    return {name: pack_column(getattr(batch, name)) for name in TAGGED}


def unpack_rows(packed: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    return {name: unpack_column(packed[name], dtype) for name, dtype in TAGGED.items()}


def pack_column(column: NDArray[Any]) -> dict[str, Any]:
    """least: what is added to each number; sizes: of runs, where the column is told by them."""
    if not len(column):
        return {"least": 0, "data": _saved(column)}
    if column.dtype.kind == "f":
        # Equal isn't the same: 0 and -0, and no NaN equals itself.
        return {"least": 0, "data": _saved(column)}
    start, size = runs(column)
    if len(start) * WORTH > len(column):
        least, data = _narrow(column)
        return {"least": least, "data": data}
    least, data = _narrow(column[start])
    return {"least": least, "data": data, "sizes": _saved(size.astype(np.uint32))}


def unpack_column(packed: Mapping[str, Any], dtype: type) -> NDArray[Any]:
    column = np.frombuffer(packed["data"][1], packed["data"][0])
    found: NDArray[Any] = column.astype(dtype)
    if packed["least"]:
        found += dtype(packed["least"])
    if "sizes" in packed:
        sizes = np.frombuffer(packed["sizes"][1], packed["sizes"][0])
        found = np.repeat(found, sizes.astype(np.int64))
    return found


def _narrow(column: NDArray[Any]) -> tuple[int, Saved]:
    """Integers from the least one on, in as few bytes as do."""
    least, most = int(column.min()), int(column.max())
    for width in _WIDTHS:
        if width().itemsize < column.itemsize and most - least <= np.iinfo(width).max:
            return least, _saved((column - column.dtype.type(least)).astype(width))
    return 0, _saved(column)


def _saved(column: NDArray[Any]) -> Saved:
    dtype = column.dtype.newbyteorder("<")
    return dtype.str, column.astype(dtype, copy=False).tobytes()
