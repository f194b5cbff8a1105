"""Sections: how our binary messages lay out their columns, so that columns may be added later.

A section is u16 id, u16 encoding, u32 length, then the bytes, padded with zeros to 8. A reader
skips ids that it doesn't know, and refuses an encoding that it doesn't know of a section it needs.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.rejects import Reason, Refused

SECTION = struct.Struct("<HHI")

UTF8, U8, U16, U32, I32, I64, F64, I16, BLOB = range(9)
"""Encodings. BLOB: bytes with a format of their own, which names its version itself."""

DTYPES: Final[dict[int, np.dtype[np.generic]]] = {
    U8: np.dtype("<u1"),
    U16: np.dtype("<u2"),
    U32: np.dtype("<u4"),
    I32: np.dtype("<i4"),
    I64: np.dtype("<i8"),
    F64: np.dtype("<f8"),
    I16: np.dtype("<i2"),
}

Table = dict[int, tuple[int, int, int]]
"""Section id -> (encoding, start, length)."""


def add(parts: list[bytes], section: int, encoding: int, data: bytes) -> None:
    parts.append(SECTION.pack(section, encoding, len(data)))
    parts.append(data + bytes(-len(data) % 8))


def add_column(
    parts: list[bytes], section: int, encoding: int, column: NDArray[np.generic]
) -> None:
    add(parts, section, encoding, column.astype(DTYPES[encoding], copy=False).tobytes())


def table(data: bytes, at: int, count: int) -> Table:
    """The sections from byte `at` to the end. Raises `Refused`."""
    found: Table = {}
    for _ in range(count):
        if at + SECTION.size > len(data):
            raise Refused(Reason.BAD_STRUCTURE, field="sections", detail="past the end")
        section, encoding, length = SECTION.unpack_from(data, at)
        at += SECTION.size
        if at + length > len(data):
            raise Refused(Reason.BAD_STRUCTURE, field=f"section {section}", detail="past the end")
        if section in found:
            raise Refused(Reason.BAD_STRUCTURE, field=f"section {section}", detail="twice")
        found[section] = (encoding, at, length)
        at += length + (-length % 8)
    if at != len(data):
        raise Refused(Reason.BAD_STRUCTURE, field="sections", detail="bytes after the last one")
    return found


def text(data: bytes, sections: Table, section: int) -> bytes:
    """The bytes of a text section that must be there. Raises `Refused`."""
    try:
        encoding, start, length = sections[section]
    except KeyError:
        raise Refused(Reason.BAD_STRUCTURE, field=f"section {section}", detail="absent") from None
    if encoding != UTF8:
        raise Refused(Reason.BAD_STRUCTURE, field=f"section {section}", detail="not text")
    return data[start : start + length]


def column(
    data: bytes, sections: Table, section: int, rows: int, allowed: tuple[int, ...]
) -> NDArray[np.generic]:
    """A view of a column that must be there, as it was sent. Raises `Refused`."""
    try:
        encoding, start, length = sections[section]
    except KeyError:
        raise Refused(Reason.BAD_STRUCTURE, field=f"section {section}", detail="absent") from None
    if encoding not in allowed:
        detail = f"encoding {encoding}"
        raise Refused(Reason.BAD_VERSION, field=f"section {section}", detail=detail)
    dtype = DTYPES[encoding]
    if length != rows * dtype.itemsize:
        raise Refused(Reason.BAD_STRUCTURE, field=f"section {section}", detail=f"{length} bytes")
    return np.frombuffer(data, dtype, rows, start)
