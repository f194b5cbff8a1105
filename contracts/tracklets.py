"""Tracklets: what a camera front end saw move, as columns, and their wire form.

A tracklet is one thing that moved for a while: its points in camera time, with the size and the
contrast of the thing at each. Kilobytes, not video. Pictures come along only as small crops of
what lies inside a facade mask; without a mask there are none.

Wire form, little-endian::

    0   4  magic "GWTK"
    4   1  version (1)
    5   1  zero
    6   2  number of sections
    8   4  length of the whole in bytes
    12  4  CRC-32 (as in zlib) of all bytes but these four
    16  4  number of tracklets
    20  4  number of points, of all tracklets
    24  4  number of crops
    28  4  zero
    32  .. sections, see `contracts.sections`

Coordinates travel as eighths of a pixel, contrasts as quarters of a grey level, heights as 1/64
of a storey; `quantised` rounds a batch to that, and the codec is exact for what it gives.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts import sections
from contracts.rejects import Reason, Refused
from contracts.sections import I16, I64, U8, U16, U32, UTF8, Table
from contracts.topics import ID

MAGIC = b"GWTK"
VERSION = 1
HEADER = struct.Struct("<4sBBHIIIIII")
MAX_BYTES = 2 << 20
MAX_CAMERAS = 1000
MAX_TRACKLETS = 4096
MAX_POINTS = 65_536
MAX_CROPS = 4096
CROP = 16
"""Pixels of a crop's side."""
PIXEL, GREY, STOREY = 8.0, 4.0, 64.0
"""Steps of the wire in a pixel, a grey level, a storey."""


class Trait(IntFlag):
    """Bits of the `traits` column."""

    CALIBRATED = 1  # storeys come from a camera file, not from the default scale
    MASKED = 2  # the camera file names a facade, and the tracklet lies in it
    CUT = 4  # ended at the edge of the picture or of the facade: it went on unseen
    LONG = 8  # ended because it has as many points as a tracklet may have


@dataclass(frozen=True, slots=True)
class TrackletBatch:
    """n tracklets with m points in all, and k crops.

    cameras: device ids, one entry per camera of this batch.
    camera: int32[n], row of `cameras`. number: int64[n], counts the camera's tracklets of one run.
    start_ms: int64[n], camera time of the first point (unix ms).
    width, height: int32[n], of the picture in pixels. traits: uint8[n], `Trait`.
    crowd: int32[n], things that moved in the picture in a frame of its life, on average: many in
    rain, one or two on a calm day.
    count: int32[n], points of each, at least 1; they stand behind one another in the columns below.
    dt_us: int64[m], microseconds since the tracklet's `start_ms`, rising.
    x, y: float64[m], centre in pixels from the top left, in the stabilised picture.
    w, h: float64[m], extent in pixels. area: int32[m], pixels that moved.
    contrast: float64[m], grey levels against what was there before and after, signed.
    storey: float64[m], height above ground in storeys.
    crop_point: int32[k], row of the point columns. crops: uint8[k, 16, 16], luma.
    """

    cameras: tuple[str, ...]
    camera: NDArray[np.int32]
    number: NDArray[np.int64]
    start_ms: NDArray[np.int64]
    width: NDArray[np.int32]
    height: NDArray[np.int32]
    traits: NDArray[np.uint8]
    crowd: NDArray[np.int32]
    count: NDArray[np.int32]
    dt_us: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    w: NDArray[np.float64]
    h: NDArray[np.float64]
    area: NDArray[np.int32]
    contrast: NDArray[np.float64]
    storey: NDArray[np.float64]
    crop_point: NDArray[np.int32]
    crops: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.count)

    @property
    def first(self) -> NDArray[np.int64]:
        """int64[n]: row of each tracklet's first point."""
        return np.cumsum(self.count, dtype=np.int64) - self.count

    @staticmethod
    def empty() -> TrackletBatch:
        columns: dict[str, Any] = {name: np.empty(0, kind) for name, kind in _KEPT.items()}
        columns["crops"] = np.empty((0, CROP, CROP), np.uint8)
        return TrackletBatch((), **columns)

    def take(self, rows: NDArray[np.intp]) -> TrackletBatch:
        """Only these tracklets, in this order; the dictionary of cameras stays whole."""
        first, count = self.first[rows], self.count[rows]
        begins = np.cumsum(count) - count
        points = np.arange(int(count.sum())) + np.repeat(first - begins, count)
        back = np.full(len(self.x), -1, np.int64)
        back[points] = np.arange(len(points))
        kept = back[self.crop_point] >= 0
        columns: dict[str, Any] = {name: getattr(self, name)[rows] for name in _OF_TRACKLET}
        columns |= {name: getattr(self, name)[points] for name in _OF_POINT}
        columns["crop_point"] = back[self.crop_point][kept].astype(np.int32)
        return TrackletBatch(self.cameras, **columns, crops=self.crops[kept])

    @staticmethod
    def join(parts: Sequence[TrackletBatch]) -> TrackletBatch:
        """One batch of all tracklets, in order."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return TrackletBatch.empty()
        known: dict[str, int] = {}
        camera, crop_point, points = [], [], 0
        for part in parts:
            row = [known.setdefault(name, len(known)) for name in part.cameras]
            camera.append(np.array(row, np.int32)[part.camera])
            crop_point.append(part.crop_point + np.int32(points))
            points += len(part.x)
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in (*_OF_TRACKLET, *_OF_POINT, "crops")
        }
        joined["camera"] = np.concatenate(camera)
        joined["crop_point"] = np.concatenate(crop_point)
        return TrackletBatch(tuple(known), **joined)

    def quantised(self) -> TrackletBatch:
        """Rounded to the steps of the wire, and held inside its bounds."""
        rounded: dict[str, Any] = {
            name: np.clip(np.round(getattr(self, name) * step), low, high) / step
            for name, (step, low, high) in _STEPS.items()
        }
        whole: dict[str, Any] = {
            name: getattr(self, name)
            for name in (*_OF_TRACKLET, "dt_us", "area", "crop_point", "crops")
        }
        whole["area"] = np.minimum(self.area, 0xFFFF).astype(np.int32)
        return TrackletBatch(self.cameras, **whole, **rounded)


_OF_TRACKLET = ("camera", "number", "start_ms", "width", "height", "traits", "crowd", "count")
_OF_POINT = ("dt_us", "x", "y", "w", "h", "area", "contrast", "storey")
_STEPS = {
    "x": (PIXEL, 0, 0xFFFF),
    "y": (PIXEL, 0, 0xFFFF),
    "w": (PIXEL, 0, 0xFFFF),
    "h": (PIXEL, 0, 0xFFFF),
    "contrast": (GREY, -0x7FFF, 0x7FFF),
    "storey": (STOREY, -0x7FFF, 0x7FFF),
}
_KEPT: dict[str, type] = {
    "camera": np.int32, "number": np.int64, "start_ms": np.int64, "width": np.int32,
    "height": np.int32, "traits": np.uint8, "crowd": np.int32, "count": np.int32, "dt_us": np.int64,
    "x": np.float64, "y": np.float64, "w": np.float64, "h": np.float64, "area": np.int32,
    "contrast": np.float64, "storey": np.float64, "crop_point": np.int32, "crops": np.uint8,
}  # fmt: skip
_SENT: dict[str, int] = {
    "camera": U16, "number": I64, "start_ms": I64, "width": U16, "height": U16, "traits": U8,
    "crowd": U16, "count": U16, "dt_us": U32, "x": U16, "y": U16, "w": U16, "h": U16, "area": U16,
    "contrast": I16, "storey": I16, "crop_point": U32, "crops": U8,
}  # fmt: skip
_CAMERAS = 1
_ID = {name: i for i, name in enumerate(_SENT, 2)}
"""Section ids; new columns are added behind the last."""


def encode(batch: TrackletBatch) -> bytes:
    """Encode; ValueError when the batch is beyond the `MAX_` bounds or doesn't hang together."""
    _check_batch(batch)
    parts = [b""]
    sections.add(parts, _CAMERAS, UTF8, "\n".join(batch.cameras).encode())
    for name, encoding in _SENT.items():
        column = getattr(batch, name)
        if name in _STEPS:
            step, low, high = _STEPS[name]
            column = np.clip(np.round(column * step), low, high)
        sections.add_column(parts, _ID[name], encoding, column)
    body = b"".join(parts)
    length = HEADER.size + len(body)
    if length > MAX_BYTES:
        raise ValueError(f"tracklets take at most {MAX_BYTES} bytes, not {length}")
    head = HEADER.pack(
        MAGIC, VERSION, 0, (len(parts) - 1) // 2, length, 0,
        len(batch), len(batch.x), len(batch.crop_point), 0,
    )  # fmt: skip
    return head[:12] + struct.pack("<I", _crc(head, body)) + head[16:] + body


def _crc(head: bytes, body: bytes | memoryview) -> int:
    return zlib.crc32(body, zlib.crc32(head[16:], zlib.crc32(head[:12])))


def _check_batch(batch: TrackletBatch) -> None:
    for count, limit, what in (
        (len(batch.cameras), MAX_CAMERAS, "cameras"),
        (len(batch), MAX_TRACKLETS, "tracklets"),
        (len(batch.x), MAX_POINTS, "points"),
        (len(batch.crop_point), MAX_CROPS, "crops"),
    ):
        if count > limit:
            raise ValueError(f"a batch holds at most {limit} {what}, not {count}")
    for name in batch.cameras:
        if not ID.fullmatch(name):
            raise ValueError(f"{name!a} is no device id")
    columns = {name: getattr(batch, name) for name in _SENT}
    why = _fault(columns, len(batch.cameras))
    if why:
        raise ValueError(f"{why[0]}: {why[1]}")


def decode(data: bytes) -> TrackletBatch:
    """Decode and check. Raises `Refused` with the reason, never anything else."""
    tracklets, points, crops, found = _opened(data)
    cameras = _cameras(data, found)
    columns: dict[str, NDArray[Any]] = {}
    for name, encoding in _SENT.items():
        rows = tracklets if name in _OF_TRACKLET else points if name in _OF_POINT else crops
        rows *= CROP * CROP if name == "crops" else 1
        sent = sections.column(data, found, _ID[name], rows, (encoding,))
        columns[name] = sent.astype(_KEPT[name])
        if name in _STEPS:
            columns[name] = columns[name] / _STEPS[name][0]
    columns["crops"] = columns["crops"].reshape(-1, CROP, CROP)
    why = _fault(columns, len(cameras))
    if why:
        raise Refused(Reason.BAD_STRUCTURE, field=why[0], detail=why[1])
    return TrackletBatch(cameras, **columns)


def _opened(data: bytes) -> tuple[int, int, int, Table]:
    """(tracklets, points, crops, sections) of bytes whose frame is right."""
    if len(data) < HEADER.size:
        raise Refused(Reason.TRUNCATED, field="tracks", detail=f"{len(data)} bytes")
    if len(data) > MAX_BYTES:
        raise Refused(Reason.TOO_LARGE, field="tracks", detail=f"{len(data)} bytes")
    magic, version, _, count, length, crc, tracklets, points, crops, _ = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise Refused(Reason.BAD_MAGIC, field="tracks", detail=magic.hex())
    if version != VERSION:
        raise Refused(Reason.BAD_VERSION, field="tracks", detail=str(version))
    if length != len(data):
        reason = Reason.TRUNCATED if length > len(data) else Reason.BAD_STRUCTURE
        raise Refused(reason, field="tracks", detail=f"says {length}, has {len(data)}")
    if _crc(data[: HEADER.size], memoryview(data)[HEADER.size :]) != crc:
        raise Refused(Reason.BAD_CHECKSUM, field="tracks")
    if tracklets > MAX_TRACKLETS or points > MAX_POINTS or crops > MAX_CROPS:
        detail = f"{tracklets} tracklets, {points} points, {crops} crops"
        raise Refused(Reason.TOO_LARGE, field="tracks", detail=detail)
    return tracklets, points, crops, sections.table(data, HEADER.size, count)


def _cameras(data: bytes, found: Table) -> tuple[str, ...]:
    raw = sections.text(data, found, _CAMERAS)
    if len(raw) > MAX_CAMERAS * 65:
        raise Refused(Reason.TOO_LARGE, field="cameras", detail=f"{len(raw)} bytes")
    names = tuple(raw.decode("ascii", "backslashreplace").split("\n")) if raw else ()
    if len(names) > MAX_CAMERAS:
        raise Refused(Reason.TOO_LARGE, field="cameras", detail=f"{len(names)} names")
    for name in names:
        if not ID.fullmatch(name):
            raise Refused(Reason.BAD_FIELD, field="cameras", detail=ascii(name)[:80])
    if len(set(names)) != len(names):
        raise Refused(Reason.BAD_FIELD, field="cameras", detail="one is named twice")
    return names


def _fault(columns: dict[str, NDArray[Any]], cameras: int) -> tuple[str, str] | None:
    """(field, what is wrong) of columns that don't hang together."""
    of = {name: np.asarray(column) for name, column in columns.items()}
    for names in (_OF_TRACKLET, _OF_POINT, ("crop_point", "crops")):
        for name in names:
            if len(of[name]) != len(of[names[0]]):
                return name, "another number of rows than its neighbours"
    count, camera = of["count"].astype(np.int64), of["camera"].astype(np.int64)
    points = len(of["x"])
    if int(count.sum()) != points or np.any(count < 1):
        return "count", f"doesn't add up to {points} points"
    if len(camera) and not (int(camera.min()) >= 0 and int(camera.max()) < cameras):
        return "camera", "outside its dictionary"
    if len(of["crop_point"]) and int(of["crop_point"].astype(np.int64).max()) >= points:
        return "crop_point", "outside the points"
    dt = of["dt_us"].astype(np.int64)
    inside = np.ones(points, bool)
    inside[np.cumsum(count) - count] = False
    if points and (np.any(np.diff(dt, prepend=0)[inside] <= 0) or np.any(dt[~inside] != 0)):
        return "dt_us", "doesn't rise from 0"
    return None
