"""Sorting of integer keys at a cost that doesn't depend on how mixed up they are.

numpy sorts 16-bit keys stably by radix at about 8 ns a row, wider ones at 35 to 60; so wide keys
are sorted 16 bits at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_DIGIT = 16
_MASK = (1 << _DIGIT) - 1
FEW = 256
"""Of so few rows a plain sort costs less than finding out how to sort them better."""


def stable_order(key: NDArray[np.int64], bits: int) -> NDArray[np.intp]:
    """The permutation that sorts `key` (0 <= key < 2**bits), equal keys in their old order."""
    if len(key) <= FEW:
        return np.argsort(key, kind="stable")
    order = np.argsort((key & _MASK).astype(np.uint16), kind="stable")
    for shift in range(_DIGIT, bits, _DIGIT):
        digit = ((key[order] >> shift) & _MASK).astype(np.uint16)
        order = order[np.argsort(digit, kind="stable")]
    return order


def event_order(
    ts_ms: NDArray[np.int64],
    order: NDArray[np.int64],
    position: NDArray[np.int64],
    row: NDArray[np.int32],
) -> NDArray[np.intp] | None:
    """The permutation into (ts, order, position, row), the order of timed rules; None: sorted.

    All arrays have the same length. (position, row) names a row, so the order is total and
    doesn't depend on the order in which rows are given.
    """
    if len(ts_ms) < 2:
        return None
    if len(ts_ms) <= FEW:
        return np.lexsort((row, position, order, ts_ms))
    first_ms = int(ts_ms.min())
    first_position = int(position.min())
    records = int(position.max()) - first_position + 1
    ts_bits = (int(ts_ms.max()) - first_ms).bit_length()
    row_bits = int(row.max()).bit_length()
    record_bits = records.bit_length()
    bits = ts_bits + record_bits + row_bits
    if bits > 62 or records > 4 * len(ts_ms) + 65_536:
        return np.lexsort((row, position, order, ts_ms))
    # A record's rows share its `order`: ranking the records is cheaper than comparing rows.
    relative = position - first_position
    order_of = np.full(records, np.iinfo(np.int64).max)
    order_of[relative] = order
    rank_of = np.empty(records, np.int64)
    rank_of[np.argsort(order_of, kind="stable")] = np.arange(records)
    key = (ts_ms - first_ms) << (record_bits + row_bits)
    key |= rank_of[relative] << row_bits
    key |= row
    if bool((key[1:] >= key[:-1]).all()):
        return None
    return stable_order(key, bits)


def runs(column: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(where each run of equal entries begins, how long it is); the column isn't empty."""
    begins = np.empty(len(column), np.bool_)
    begins[0] = True
    np.not_equal(column[1:], column[:-1], out=begins[1:])
    start = begins.nonzero()[0]
    size = np.empty(len(start), np.intp)
    np.subtract(start[1:], start[:-1], out=size[:-1])
    size[-1] = len(column) - start[-1]
    return start, size


def ranges(start: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """start[0], start[0]+1, .. (count[0] of them), start[1], ..: the index of several slices."""
    total = int(count.sum())
    ends = np.cumsum(count)
    index: NDArray[np.int64] = np.arange(total) + np.repeat(start - (ends - count), count)
    return index
