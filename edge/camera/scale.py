"""The camera file: which part of the picture is the facade, and which row is which storey.

A TOML file. Without one the whole picture is watched with a default scale, and no crop or clip
leaves the gateway.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge.camera import CameraError

DEFAULT_STOREYS = 12
"""Storeys that a whole picture is taken for without a camera file (a proposal)."""

Point = tuple[float, float]


class Facade(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """polygon: corners (x, y) in pixels. storeys: (y, storey) of at least two rows of this
    facade, storey 0 being the ground; in between and beyond the rows it goes on in a line."""

    polygon: Annotated[list[Point], msgspec.Meta(min_length=3, max_length=200)]
    storeys: Annotated[list[tuple[float, float]], msgspec.Meta(min_length=2, max_length=200)]


class Ignored(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the facade that isn't watched: a tree, a flag, a lift."""

    polygon: Annotated[list[Point], msgspec.Meta(min_length=3, max_length=200)]


class CameraFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """width, height: of the picture that the polygons were drawn on."""

    width: Annotated[int, msgspec.Meta(ge=16, le=8192)]
    height: Annotated[int, msgspec.Meta(ge=16, le=8192)]
    facade: Annotated[list[Facade], msgspec.Meta(min_length=1, max_length=32)]
    ignore: list[Ignored] = []


@dataclass(frozen=True, slots=True)
class View:
    """What a camera watches. mask: bool[height, width] or None = everything.

    facade: int8[height, width], which facade a pixel belongs to, or None = the only scale.
    scales: of each facade the rows (y, rising) and their storeys.
    """

    width: int
    height: int
    mask: NDArray[np.bool_] | None
    facade: NDArray[np.int8] | None
    scales: tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]

    @property
    def is_calibrated(self) -> bool:
        return self.mask is not None

    def inside(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether points lie in what is watched."""
        col, row = np.round(x).astype(np.int64), np.round(y).astype(np.int64)
        there = (col >= 0) & (col < self.width) & (row >= 0) & (row < self.height)
        if self.mask is None:
            return there
        at = np.clip(row, 0, self.height - 1), np.clip(col, 0, self.width - 1)
        return there & self.mask[at]

    def storeys(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Height above ground of points, in storeys; all by the scale of the first point, so
        that a track that leaves a facade isn't measured by two scales."""
        which = 0
        if self.facade is not None and len(x):
            row = min(max(round(float(y[0])), 0), self.height - 1)
            which = max(int(self.facade[row, min(max(round(float(x[0])), 0), self.width - 1)]), 0)
        rows, storeys = self.scales[which]
        return _along(rows, storeys, y)


def _along(
    rows: NDArray[np.float64], storeys: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Linear between the given rows, and beyond them as in the nearest piece."""
    piece = np.clip(np.searchsorted(rows, y) - 1, 0, len(rows) - 2)
    low, high = rows[piece], rows[piece + 1]
    slope = (storeys[piece + 1] - storeys[piece]) / (high - low)
    return np.asarray(storeys[piece] + (y - low) * slope, np.float64)


def default_view(width: int, height: int) -> View:
    """The whole picture, its lower edge the ground."""
    scale = np.array([0.0, float(height)]), np.array([float(DEFAULT_STOREYS), 0.0])
    return View(width, height, None, None, (scale,))


def load_camera_file(path: Path) -> CameraFile:
    """Read and check what can be checked without a picture. Raises `CameraError`."""
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CameraError(f"{path}: {error.strerror}; give the path of a camera file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CameraError(f"{path}: not TOML: {error}; mend that line") from None
    try:
        found = msgspec.convert(raw, CameraFile)
    except msgspec.ValidationError as error:
        raise CameraError(f"{path}: {error}; mend that field (docs/camera.md)") from None
    named = [(f"facade[{n}]", one.polygon) for n, one in enumerate(found.facade)]
    named += [(f"ignore[{n}]", one.polygon) for n, one in enumerate(found.ignore)]
    for name, polygon in named:
        for x, y in polygon:
            if not (0 <= x <= found.width and 0 <= y <= found.height):
                raise CameraError(
                    f"{path}: {name}.polygon: ({x:g}, {y:g}) lies outside the picture of "
                    f"{found.width}x{found.height}; move that corner"
                )
    for n, one in enumerate(found.facade):
        rows = sorted(one.storeys)
        steps = [(b[0] - a[0], a[1] - b[1]) for a, b in pairwise(rows)]
        if any(down < 1 or storeys <= 0 for down, storeys in steps):
            raise CameraError(
                f"{path}: facade[{n}].storeys: storeys must fall as rows go down, with rows at "
                "least a pixel apart; mend that list"
            )
    return found


def make_view(camera: CameraFile, width: int, height: int, path: Path) -> View:
    """For pictures of this size. Raises `CameraError` when the file is for another."""
    if (camera.width, camera.height) != (width, height):
        raise CameraError(
            f"{path}: is for {camera.width}x{camera.height}, the picture has {width}x{height}; "
            "draw the polygons on a picture of that size"
        )
    facade = np.full((height, width), -1, np.int16)
    for number, one in enumerate(camera.facade):
        cv2.fillPoly(facade, [np.round(np.array(one.polygon)).astype(np.int32)], number)
    for hidden in camera.ignore:
        cv2.fillPoly(facade, [np.round(np.array(hidden.polygon)).astype(np.int32)], -1)
    mask = facade >= 0
    if not mask.any():
        raise CameraError(f"{path}: no facade is left to watch; mend facade or ignore")
    scales = []
    for one in camera.facade:
        rows = sorted(one.storeys)
        scales.append((np.array([y for y, _ in rows]), np.array([s for _, s in rows])))
    return View(width, height, mask, facade.astype(np.int8), tuple(scales))
