"""What the first stage of group rules tells the second: changes of devices' predicates.

The stages may run on different partitions: between them travel these changes and how far event
time has got at each gateway. A predicate is the question inside `devices(...)` and its like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from contracts.directory import DeviceDirectory
from contracts.operator import Progress

VERSION = 1


class PredicateError(Exception):
    """Bytes that aren't a batch of predicate changes of this version."""


class Verdict(IntEnum):
    FALSE = 1
    TRUE = 2
    LOST = 3  # nothing was heard for the rule's `missing`


@dataclass(frozen=True, slots=True)
class PredicateBatch:
    """Row i is one change; the changes of a device stand in their order.

    predicate: int16 row of the rule set's list of predicates. device: int32 row of the
    directory. ts_ms: int64 event time. verdict: uint8 `Verdict`. flags: uint16, heard_ms: int64,
    position: int64, row: int32 of the deciding reading; position and row are -1 for LOST.
    """

    predicate: NDArray[np.int16]
    device: NDArray[np.int32]
    ts_ms: NDArray[np.int64]
    verdict: NDArray[np.uint8]
    flags: NDArray[np.uint16]
    heard_ms: NDArray[np.int64]
    position: NDArray[np.int64]
    row: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ts_ms)

    def take(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> PredicateBatch:
        return PredicateBatch(*(getattr(self, name)[index] for name in COLUMNS))

    @staticmethod
    def empty() -> PredicateBatch:
        return _EMPTY

    @staticmethod
    def join(parts: Sequence[PredicateBatch]) -> PredicateBatch:
        full = [part for part in parts if len(part)]
        if not full:
            return PredicateBatch.empty()
        if len(full) == 1:
            return full[0]
        return PredicateBatch(
            *(np.concatenate([getattr(part, name) for part in full]) for name in COLUMNS)
        )


COLUMNS: dict[str, type] = {
    "predicate": np.int16,
    "device": np.int32,
    "ts_ms": np.int64,
    "verdict": np.uint8,
    "flags": np.uint16,
    "heard_ms": np.int64,
    "position": np.int64,
    "row": np.int32,
}
_EMPTY = PredicateBatch(*(np.empty(0, dtype) for dtype in COLUMNS.values()))


class _Wire(msgspec.Struct, frozen=True, kw_only=True):
    """Names instead of rows; columns little-endian."""

    version: int
    position: int
    heard_ms: int
    predicates: tuple[str, ...]
    devices: tuple[str, ...]
    gateways: tuple[str, ...]
    watermark_ms: bytes
    columns: dict[str, bytes]


_wire_decoder = msgspec.msgpack.Decoder(_Wire)


def encode_predicates(
    batch: PredicateBatch,
    progress: Progress,
    *,
    predicates: Sequence[str],
    directory: DeviceDirectory,
) -> bytes:
    """The batch with the watermarks behind it, told by names. predicates: names by their rows."""
    rows, device = np.unique(batch.device, return_inverse=True)
    asked, predicate = np.unique(batch.predicate, return_inverse=True)
    told = {name: getattr(batch, name) for name in COLUMNS}
    told |= {"device": device.astype(np.int32), "predicate": predicate.astype(np.int16)}
    return msgspec.msgpack.encode(
        _Wire(
            version=VERSION,
            position=progress.position,
            heard_ms=progress.heard_ms,
            predicates=tuple(predicates[number] for number in asked.tolist()),
            devices=tuple(directory.ids[row] for row in rows.tolist()),
            gateways=tuple(directory.gateways[: len(progress.watermark_ms)]),
            watermark_ms=_little(progress.watermark_ms).tobytes(),
            columns={name: _little(column).tobytes() for name, column in told.items()},
        )
    )


def decode_predicates(
    blob: bytes, *, predicates: Mapping[str, int], directory: DeviceDirectory
) -> tuple[PredicateBatch, dict[str, int], int]:
    """(changes, watermark by gateway, how many changes are of unknown devices or predicates).

    predicates: name -> row here. The caller counts what is unknown. Raises `PredicateError`.
    """
    try:
        wire = _wire_decoder.decode(blob)
    except msgspec.DecodeError as error:
        raise PredicateError(f"no predicate changes: {error}") from None
    if wire.version != VERSION:
        raise PredicateError(f"predicate changes of version {wire.version}, this is {VERSION}")
    columns = _columns(wire)
    device = np.array([directory.row_of.get(name, -1) for name in wire.devices], np.int32)
    asked = np.array([predicates.get(name, -1) for name in wire.predicates], np.int16)
    try:
        columns["device"] = device[columns["device"]]
        columns["predicate"] = asked[columns["predicate"]]
    except IndexError:
        raise PredicateError("a row names nothing") from None
    batch = PredicateBatch(**columns)
    known = (batch.device >= 0) & (batch.predicate >= 0)
    watermarks = np.frombuffer(wire.watermark_ms, "<i8")
    if len(watermarks) != len(wire.gateways):
        raise PredicateError("watermarks and gateways differ in number")
    told = dict(zip(wire.gateways, watermarks.tolist(), strict=True))
    return batch.take(known), told, int((~known).sum())


def _columns(wire: _Wire) -> dict[str, NDArray[Any]]:
    columns: dict[str, NDArray[Any]] = {}
    for name, dtype in COLUMNS.items():
        size = np.dtype(dtype).itemsize
        data = wire.columns.get(name, b"")
        if len(data) % size:
            raise PredicateError(f"column {name} is cut off")
        columns[name] = np.frombuffer(data, np.dtype(dtype).newbyteorder("<")).astype(dtype)
    if len({len(column) for column in columns.values()}) > 1:
        raise PredicateError("columns differ in length")
    return columns


def _little(column: NDArray[Any]) -> NDArray[Any]:
    return column.astype(column.dtype.newbyteorder("<"), copy=False)
